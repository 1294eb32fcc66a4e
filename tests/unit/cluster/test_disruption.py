"""I2: what the gate grants and writes down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jil.api import kinds, labels
from jil.cluster.errors import Conflict
from jil.cluster.ledger import CLOSED_MAX, Outcome
from jil.cluster.request import Disruption
from jil.cluster.stamps import read_stamp
from jil.plan.acts import Act
from jil.plan.verdict import DenyReason, Impossible, ImpossibleReason
from jil.plan.voting import NO_CONSENSUS_KEY, NetworkFacts
from tests.unit.cluster.conftest import Bed, address, granted, reason
from tests.unit.cluster.memory_api import NAMESPACE, NETWORK, SYSTEM


# -- granting ----------------------------------------------------------------------------------------------------------
async def test_i2_a_grant_stands_in_the_ledger_and_on_the_workload_before_anybody_can_act(bed: Bed) -> None:
    grant = granted(await bed.ask(bed.gate(), 0))
    [entry] = bed.api.ledger().open
    assert (entry.id, entry.act, entry.address) == (grant.id, Act.STOP, address(0))
    assert entry.height == bed.height
    assert read_stamp(bed.api.live(kinds.STATEFUL_SET, bed.workload(0))) == entry
    assert grant.target == bed.api.ref(kinds.STATEFUL_SET, bed.workload(0)), "the version after the stamp"
    assert bed.up(0)
    await bed.api.act(grant)
    assert not bed.up(0)


@pytest.mark.parametrize("act", [Act.STOP, Act.DISARM, Act.DELETE_WORKLOAD, Act.DELETE_POD, Act.DRAIN])
async def test_i2_one_of_four_may_be_away_and_the_next_one_waits_until_it_is_back(bed: Bed, act: Act) -> None:
    gate = bed.gate()
    first = granted(await bed.ask(gate, 0, act))
    assert reason(await bed.ask(gate, 1, act)) is DenyReason.QUORUM
    await bed.api.act(first)
    bed.blocks()
    assert reason(await bed.ask(gate, 1, act)) is DenyReason.QUORUM
    bed.come_back(0)
    bed.blocks()
    assert reason(await bed.ask(gate, 1, act)) is DenyReason.QUORUM, "back and signing, but nobody has said so"
    assert await gate.release(NETWORK, first, why="ready and signing")
    granted(await bed.ask(gate, 1, act))


async def test_i2_a_step_needs_blocks_after_the_step_before(bed: Bed) -> None:
    bed = Bed(size=7)
    gate = bed.gate()
    granted(await bed.ask(gate, 0))
    assert reason(await bed.ask(gate, 1)) is DenyReason.CHAIN_NOT_ADVANCED
    bed.blocks(10)
    granted(await bed.ask(gate, 1))


async def test_i2_a_chain_that_cannot_be_read_is_no_permission(bed: Bed) -> None:
    bed.readable = False
    assert reason(await bed.ask(bed.gate(), 0)) is DenyReason.CHAIN_UNKNOWN
    assert bed.api.ledger().open == ()


async def test_i2_a_single_validator_stops_only_where_halts_are_allowed() -> None:
    bed = Bed(size=1, readable=False)
    answer = await bed.ask(bed.gate(), 0)
    assert isinstance(answer, Impossible)
    assert answer.reason is ImpossibleReason.CAN_LOSE_NOBODY
    bed.allow_halt = True
    await bed.api.act(granted(await bed.ask(bed.gate(), 0)))
    assert not bed.up(0)


async def test_i2_after_a_step_at_an_unknown_height_blocks_count_from_the_first_reading() -> None:
    bed = Bed(size=7)
    gate = bed.gate()
    grant = granted(await bed.ask(gate, 0))
    await bed.api.act(grant)
    bed.api.remove(kinds.CONFIG_MAP, labels.ledger_config_map(NETWORK), SYSTEM)
    await gate.rebuild(NETWORK, [NAMESPACE])
    bed.blocks(100)
    assert reason(await bed.ask(gate, 1)) is DenyReason.CHAIN_NOT_ADVANCED
    bed.blocks(9)
    assert reason(await bed.ask(gate, 1)) is DenyReason.CHAIN_NOT_ADVANCED
    bed.blocks(1)
    granted(await bed.ask(gate, 1))


def off(facts: NetworkFacts, **heights: int) -> NetworkFacts:
    """The facts as told by one reader for each of ``heights``, how many blocks above the truth it says to be."""
    base = facts.readings[0]
    told = [
        replace(
            base,
            source=source,
            height=base.height + by,
            commits=tuple(replace(one, height=one.height + by) for one in base.commits),
        )
        for source, by in heights.items()
    ]
    return replace(facts, readings=tuple(told))


@pytest.mark.parametrize("heights", [{"liar": 2**61}, {"liar": 2**61, "third": 0}, {"liar": 2**61, "also": 2**61}])
async def test_i2_a_height_that_was_made_up_once_does_not_hold_back_every_step_after_it(
    heights: dict[str, int],
) -> None:
    bed = Bed(size=7)
    gate = bed.gate()
    granted(await gate.request(bed.disruption(0), off(bed.facts(), true=0, **heights), ledger_existed=False))
    bed.blocks(10)
    await bed.ask(gate, 1)  # where the height was believed, blocks count from here
    bed.blocks(10)
    granted(await bed.ask(gate, 1))


@pytest.mark.parametrize("heights", [{"third": 0}, {"third": 0, "fourth": 0}])
async def test_i2_one_liar_among_three_or_more_moves_the_booked_height_in_no_direction(heights: dict[str, int]) -> None:
    for lie in (2**61, -900):
        bed = Bed(size=7)
        gate = bed.gate()
        granted(
            await gate.request(bed.disruption(0), off(bed.facts(), liar=lie, true=0, **heights), ledger_existed=False)
        )
        step = bed.api.ledger().last_step
        assert step is not None
        assert step.height == bed.height


@pytest.mark.parametrize("low", [-500, -990])
async def test_i2_a_node_that_lies_low_makes_no_room_for_the_next_step(low: int) -> None:
    bed = Bed(size=7)
    gate = bed.gate()
    granted(await gate.request(bed.disruption(0), off(bed.facts(), liar=low, true=0), ledger_existed=False))
    assert reason(await bed.ask(gate, 1)) is DenyReason.CHAIN_NOT_ADVANCED


async def test_i2_a_step_at_a_height_that_nobody_has_counts_from_now_and_waits_m_blocks_again() -> None:
    bed = Bed(size=7, height=5_000)
    gate = bed.gate()
    granted(await bed.ask(gate, 0))
    bed.height = 2_000  # the chain began anew
    assert reason(await bed.ask(gate, 1)) is DenyReason.CHAIN_NOT_ADVANCED
    bed.blocks(9)
    assert reason(await bed.ask(gate, 1)) is DenyReason.CHAIN_NOT_ADVANCED
    bed.blocks(1)
    granted(await bed.ask(gate, 1))


async def test_i2_nodes_that_are_cut_off_or_one_that_is_behind_change_no_booked_height() -> None:
    bed = Bed(size=7, height=5_000)
    gate = bed.gate()
    granted(await bed.ask(gate, 0))
    for facts in (off(bed.facts(), true=0, liar=-2_000), _old(off(bed.facts(), a=-2_000, b=-2_000), bed.clock.ms)):
        answer = await gate.request(bed.disruption(1), facts, ledger_existed=False)
        assert reason(answer) in (DenyReason.CHAIN_NOT_ADVANCED, DenyReason.CHAIN_STALLED)
        step = bed.api.ledger().last_step
        assert step is not None
        assert step.height == 5_000


def _old(facts: NetworkFacts, now_ms: int) -> NetworkFacts:
    return replace(facts, readings=tuple(replace(one, block_time_ms=now_ms - 60_000) for one in facts.readings))


# -- what costs nothing is recorded and not held -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("act", "component", "kind", "name"),
    [
        (Act.STOP, "database", kinds.STATEFUL_SET, "ch-zug-00-database"),
        (Act.DELETE_POD, "broker", kinds.POD, "ch-zug-00-broker-0"),
        (Act.SERVING_OFF, "transfers", kinds.POD, "ch-zug-00-transfers-abc"),
        (Act.PRUNE, "transfers", kinds.SERVICE, "ch-zug-00-transfers"),
        (Act.DELETE_WORKLOAD, "transfers", kinds.DEPLOYMENT, "ch-zug-00-transfers"),
    ],
)
async def test_i2_an_act_that_stops_no_validator_is_recorded_and_closed_at_once(
    bed: Bed, act: Act, component: str, kind: Any, name: str
) -> None:
    bed.readable = False
    target = bed.api.put(kind, name, spec={})
    wanted = bed.disruption(0, act=Act.STOP)
    wanted = Disruption(act, NETWORK, wanted.node, component, target, wanted.consensus_address, "test")
    gate = bed.gate()
    grant = granted(await gate.request(wanted, bed.facts(), ledger_existed=False))
    assert grant.target == target
    assert bed.api.ledger().open == ()
    [entry] = bed.api.ledger().closed
    assert (entry.id, entry.act, entry.outcome) == (grant.id, act, Outcome.RECORDED)
    assert not await gate.release(NETWORK, grant, why="nothing to give back")


async def test_i2_a_validator_without_a_key_holds_nothing(bed: Bed) -> None:
    bed.readable = False
    granted(await bed.ask(bed.gate(), 0, consensus_address=NO_CONSENSUS_KEY))
    assert bed.api.ledger().open == ()


async def test_i2_a_validator_cannot_be_passed_off_as_something_else(bed: Bed) -> None:
    for act in (Act.STOP, Act.DELETE_POD):
        with pytest.raises(ValueError, match="is the validator of"):
            bed.disruption(0, act, component="database")


async def test_i2_what_merely_bears_the_validators_name_is_no_validator(bed: Bed) -> None:
    target = bed.api.put(kinds.POD_DISRUPTION_BUDGET, bed.workload(0))
    wanted = Disruption(Act.PRUNE, NETWORK, f"{NAMESPACE}/{bed.node(0)}", "budget", target, address(0), "left over")
    granted(await bed.gate().request(wanted, bed.facts(), ledger_existed=False))
    assert bed.api.ledger().open == ()


async def test_i2_the_closed_grants_are_kept_up_to_a_bound(bed: Bed) -> None:
    gate = bed.gate()
    target = bed.api.put(kinds.SERVICE, "old")
    for _ in range(CLOSED_MAX + 5):
        wanted = Disruption(Act.PRUNE, NETWORK, f"{NAMESPACE}/ch-zug-00", "transfers", target, None, "x" * 1_000)
        last = granted(await gate.request(wanted, bed.facts(), ledger_existed=False))
    closed = bed.api.ledger().closed
    assert len(closed) == CLOSED_MAX
    assert closed[-1].id == last.id
    stored = bed.api.live(kinds.CONFIG_MAP, labels.ledger_config_map(NETWORK), SYSTEM)
    assert len(stored["data"]["ledger"]) < 500_000, "far below the 1 MiB of a ConfigMap"


# -- the target --------------------------------------------------------------------------------------------------------
async def test_i2_a_target_that_changed_since_it_was_looked_at_is_looked_at_again(bed: Bed) -> None:
    wanted = bed.disruption(0)
    bed.api.start_validator(bed.node(0))  # a new version
    gate = bed.gate()
    assert reason(await gate.request(wanted, bed.facts(), ledger_existed=False)) is DenyReason.TARGET_CHANGED
    assert bed.api.ledger().open == ()
    bed.api.remove(kinds.STATEFUL_SET, bed.workload(0))
    assert reason(await gate.request(wanted, bed.facts(), ledger_existed=False)) is DenyReason.TARGET_CHANGED


async def test_i2_a_grant_works_once(bed: Bed) -> None:
    grant = granted(await bed.ask(bed.gate(), 0))
    await bed.api.act(grant)
    with pytest.raises(Conflict):
        await bed.api.act(grant)
