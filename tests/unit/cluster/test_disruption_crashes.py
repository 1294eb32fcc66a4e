"""I8 and I2 under crashes, paused leaders and lost ledgers: at every write, and in every order that a machine finds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jil.api import kinds, labels
from jil.cluster.disruption import Gate, TakeBack
from jil.cluster.errors import Conflict, NotFound
from jil.cluster.grant import Grant
from jil.cluster.ledger import FencedError, LedgerMissingError
from jil.plan.acts import Act
from jil.plan.verdict import Deny, Impossible
from tests.unit.cluster.conftest import Bed
from tests.unit.cluster.memory_api import NAMESPACE, NETWORK, SYSTEM, Crash

WRITES_OF_A_RUN = 6


async def reach_the_end(bed: Bed, gate: Gate) -> None:
    """What a controller does, from wherever it finds the world: take validator 0 down once, bring it back, give back."""
    for _ in range(10):
        held = await gate.open_grants(NETWORK, node=f"{NAMESPACE}/{bed.node(0)}")
        done = any(name == bed.pod(0) for _, name, _ in bed.api.acts)
        if not done:
            answer = await bed.ask(gate, 0, Act.DELETE_POD)
            if isinstance(answer, Grant):
                await bed.api.act(answer)
            bed.blocks()
        elif not bed.up(0):
            bed.come_back(0)
            bed.blocks()
        elif held:
            await gate.release(NETWORK, held[0], why="ready and signing")
        else:
            return
    raise AssertionError("never came to an end")


@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("write", range(1, WRITES_OF_A_RUN + 1))
async def test_i8_killed_at_any_write_the_next_leader_comes_to_the_same_end(write: int, after: bool) -> None:
    bed = Bed()
    bed.api.crash_at, bed.api.crash_after_write = write, after
    fence = 1
    try:
        await reach_the_end(bed, bed.gate(fence))
        crashed = False
    except Crash:
        crashed = True
        bed.blocks()
        await reach_the_end(bed, bed.gate(fence + 1))
    assert crashed
    assert [name for _, name, _ in bed.api.acts] == [bed.pod(0)], "the act happened exactly once"
    assert bed.api.ledger().open == ()
    assert bed.up(0)
    [(_, _, used)] = bed.api.acts
    assert used in [one.id for one in bed.api.ledger().closed], "the act has its grant in the ledger"
    bed.blocks()
    bed.api.crash_at = None
    assert isinstance(await bed.ask(bed.gate(fence + 2), 1), Grant), "nothing is leaked: the budget is free again"


async def test_i8_a_whole_run_has_exactly_the_writes_that_are_crashed_above() -> None:
    bed = Bed()
    await reach_the_end(bed, bed.gate())
    assert bed.api.writes == WRITES_OF_A_RUN


async def test_i2_two_gates_that_race_for_the_last_place_give_exactly_one_grant() -> None:
    for _ in range(20):
        bed = Bed()
        gates = [bed.gate(1, "one-process"), bed.gate(1, "one-process")]
        read = bed.api.get

        async def slow_get(*args: Any) -> dict[str, Any]:
            answer = await read(*args)  # noqa: B023
            await asyncio.sleep(0)  # both have read before either writes
            return answer

        bed.api.get = slow_get  # type: ignore[method-assign, assignment]
        answers = await asyncio.gather(bed.ask(gates[0], 0), bed.ask(gates[1], 1))
        assert [isinstance(answer, Grant) for answer in answers].count(True) == 1
        assert len(bed.api.ledger().open) == 1


class Leaders(RuleBasedStateMachine):
    """Seven validators, of which two may be away; leaders come, are paused and resumed; ledgers are lost.

    A paused leader keeps its Grants in hand and tries to use them at any later time. Nobody but the gate's grants takes a
    validator down, so whatever happens never more than two may be down at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.bed = Bed(size=7, existed=True)
        self.fence = 1
        self.gates = [self.bed.gate(1)]
        self.hands: list[Grant] = []
        self.run(self.gates[0].establish(NETWORK, ledger_existed=False))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.loop.close()

    @property
    def leader(self) -> Gate:
        return self.gates[-1]

    @rule()
    @precondition(lambda self: len(self.gates) < 4)
    def another_leader_is_elected(self) -> None:
        self.fence += 1
        self.gates.append(self.bed.gate(self.fence))
        self.run(self.leader.establish(NETWORK, ledger_existed=True))

    @rule(
        who=st.integers(0, 3),
        index=st.integers(0, 6),
        act=st.sampled_from([Act.STOP, Act.DISARM, Act.DELETE_POD, Act.DRAIN]),
    )
    def somebody_asks(self, who: int, index: int, act: Act) -> None:
        if not self.bed.up(index):
            return
        answer = self.run(self.bed.ask(self.gates[who % len(self.gates)], index, act))
        if isinstance(answer, Grant):
            self.hands.append(answer)
        else:
            assert isinstance(answer, Deny | Impossible)

    @rule(which=st.integers(0, 20))
    @precondition(lambda self: self.hands)
    def a_grant_in_hand_is_used_however_old_it_is(self, which: int) -> None:
        grant = self.hands[which % len(self.hands)]
        try:
            self.run(self.bed.api.act(grant))
        except (Conflict, NotFound):
            return
        assert grant.id in {one.id for one in self.ledger_open()}, "an act without an open grant"

    @rule(index=st.integers(0, 6))
    def a_validator_is_started_again(self, index: int) -> None:
        if not self.bed.up(index):
            self.bed.come_back(index)

    @rule(count=st.sampled_from([1, 5, 10, 20]))
    def blocks_are_made(self, count: int) -> None:
        self.bed.blocks(count)

    @rule(who=st.integers(0, 3), which=st.integers(0, 6))
    def somebody_releases_what_is_up(self, who: int, which: int) -> None:
        gate = self.gates[who % len(self.gates)]
        for entry in self.ledger_open()[which : which + 1]:
            index = next(i for i in range(7) if entry.node.endswith(self.bed.node(i)))
            if self.bed.up(index):
                try:
                    self.run(gate.release(NETWORK, entry, why="it is up"))
                except FencedError:
                    assert gate is not self.leader

    @rule(which=st.integers(0, 6))
    def the_leader_takes_back(self, which: int) -> None:
        for entry in self.ledger_open()[which : which + 1]:
            try:
                answer = self.run(self.leader.take_back(NETWORK, entry, why="no longer wanted"))
            except LedgerMissingError:
                return
            still_open = entry.id in {one.id for one in self.ledger_open()}
            assert still_open is (answer is TakeBack.HAPPENED)

    @rule()
    def the_ledger_is_lost_and_rebuilt(self) -> None:
        before = {one.id for one in self.ledger_open()}
        self.bed.api.remove(kinds.CONFIG_MAP, labels.ledger_config_map(NETWORK), SYSTEM)
        assert isinstance(self.run(self.bed.ask(self.leader, 0)), Deny) or not self.bed.up(0)
        self.run(self.leader.rebuild(NETWORK, [NAMESPACE]))
        assert {one.id for one in self.ledger_open()} == before

    def ledger_open(self) -> Any:
        return self.bed.api.ledger().open

    @invariant()
    def i2_never_more_than_two_of_seven_are_down_by_our_own_hand(self) -> None:
        down = [index for index in range(7) if not self.bed.up(index)]
        assert len(down) <= 2, f"down: {down}"

    @invariant()
    def at_most_one_open_grant_per_validator(self) -> None:
        nodes = [one.node for one in self.ledger_open()]
        assert len(nodes) == len(set(nodes))


TestI2LeadersThatPauseAndLedgersThatAreLost = Leaders.TestCase
TestI2LeadersThatPauseAndLedgersThatAreLost.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
