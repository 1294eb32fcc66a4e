"""I2, I8, I9: what the gate grants, writes down and gives back."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from jil.api import kinds, labels
from jil.cluster.disruption import Disruption, Gate, TakeBack
from jil.cluster.errors import Conflict, NotFound
from jil.cluster.grant import Grant
from jil.cluster.ledger import CLOSED_MAX, Leadership, Outcome
from jil.cluster.stamps import STAMP, read_stamp
from jil.plan.acts import Act
from jil.plan.verdict import Deny, DenyReason, Impossible, ImpossibleReason
from jil.plan.voting import NO_CONSENSUS_KEY, PodState
from tests.unit.cluster.conftest import Bed, address
from tests.unit.cluster.memory_api import NAMESPACE, NETWORK, SYSTEM


def granted(answer: Grant | Deny | Impossible) -> Grant:
    assert isinstance(answer, Grant), answer
    return answer


def reason(answer: Grant | Deny | Impossible) -> DenyReason:
    assert isinstance(answer, Deny), answer
    return answer.reason


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


# -- asking again ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("act", [Act.STOP, Act.DELETE_POD])
async def test_i8_asking_again_finds_the_same_grant_and_writes_nothing(bed: Bed, act: Act) -> None:
    gate = bed.gate()
    first = granted(await bed.ask(gate, 0, act))
    writes = bed.api.writes
    second = granted(await bed.ask(gate, 0, act))
    assert second == first
    assert bed.api.writes == writes


async def test_i8_a_grant_found_again_is_decided_anew_because_the_world_went_on(bed: Bed) -> None:
    gate = bed.gate()
    granted(await bed.ask(gate, 0))
    bed.api.remove(kinds.POD, bed.pod(1))  # somebody else failed meanwhile
    bed.blocks()
    assert reason(await bed.ask(gate, 0)) is DenyReason.QUORUM
    assert len(bed.api.ledger().open) == 1, "still counted as away until it is taken back"


async def test_i2_a_second_act_on_the_same_validator_takes_the_place_of_the_first(bed: Bed) -> None:
    gate = bed.gate()
    drain = granted(await bed.ask(gate, 0, Act.DRAIN))
    bed.blocks()
    stop = granted(await bed.ask(gate, 0, Act.STOP))
    ledger = bed.api.ledger()
    assert [one.id for one in ledger.open] == [stop.id]
    assert (ledger.closed[-1].id, ledger.closed[-1].outcome) == (drain.id, Outcome.SUPERSEDED)
    with pytest.raises(Conflict):
        await bed.api.act(drain)
    await bed.api.act(stop)


async def test_i3_a_stuck_pod_is_repaired_while_others_are_away(bed: Bed) -> None:
    gate = bed.gate()
    disarm = granted(await bed.ask(gate, 0, Act.DISARM))
    await bed.api.act(disarm)
    bed.api.remove(kinds.POD, bed.pod(1))
    bed.come_back(0)
    answer = await bed.ask(gate, 0, Act.DELETE_POD, pod=PodState.DOWN)
    assert [one.id for one in bed.api.ledger().open] == [granted(answer).id]


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


# -- giving back -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("act", [Act.STOP, Act.DISARM, Act.DELETE_POD, Act.DELETE_WORKLOAD])
async def test_i8_a_grant_that_is_taken_back_can_no_longer_be_used(bed: Bed, act: Act) -> None:
    gate = bed.gate()
    grant = granted(await bed.ask(gate, 0, act))
    assert await gate.take_back(NETWORK, grant, why="the spec says Running again") is TakeBack.TAKEN_BACK
    assert bed.api.ledger().open == ()
    assert STAMP not in bed.api.live(kinds.STATEFUL_SET, bed.workload(0))["metadata"]["annotations"]
    with pytest.raises(Conflict):
        await bed.api.act(grant)
    assert await gate.take_back(NETWORK, grant, why="again") is TakeBack.NOT_OPEN


async def test_i8_a_grant_that_is_taken_back_a_second_time_is_as_dead_as_the_first(bed: Bed) -> None:
    gate = bed.gate()
    for _ in range(2):
        grant = granted(await bed.ask(gate, 0, Act.DELETE_POD))
        bed.blocks()
        assert await gate.take_back(NETWORK, grant, why="no longer wanted") is TakeBack.TAKEN_BACK
        with pytest.raises(Conflict):
            await bed.api.act(grant)


@pytest.mark.parametrize("act", [Act.STOP, Act.DISARM, Act.DELETE_POD, Act.DELETE_WORKLOAD])
async def test_i8_an_act_that_happened_cannot_be_taken_back(bed: Bed, act: Act) -> None:
    gate = bed.gate()
    grant = granted(await bed.ask(gate, 0, act))
    await bed.api.act(grant)
    assert await gate.take_back(NETWORK, grant, why="too late") is TakeBack.HAPPENED
    assert [one.id for one in bed.api.ledger().open] == [grant.id]


async def test_i8_a_release_shuts_out_an_act_that_is_still_under_way(bed: Bed) -> None:
    paused, leader = bed.gate(1), bed.gate(2)
    late = granted(await bed.ask(paused, 0, Act.DELETE_POD))
    [entry] = await leader.open_grants(NETWORK)
    assert await leader.release(NETWORK, entry, why="it is healthy, so it must be back")
    with pytest.raises(Conflict):
        await bed.api.act(late)
    assert bed.up(0)


async def test_i8_a_release_is_idempotent_and_removes_the_stamp(bed: Bed) -> None:
    gate = bed.gate()
    grant = granted(await bed.ask(gate, 0))
    await bed.api.act(grant)
    bed.come_back(0)
    assert await gate.release(NETWORK, grant, why="ready")
    assert not await gate.release(NETWORK, grant, why="ready")
    assert read_stamp(bed.api.live(kinds.STATEFUL_SET, bed.workload(0))) is None
    [entry] = bed.api.ledger().closed
    assert (entry.outcome, entry.note) == (Outcome.RETURNED, "ready")


async def test_i8_a_release_outlives_its_workload(bed: Bed) -> None:
    gate = bed.gate()
    grant = granted(await bed.ask(gate, 0, Act.DELETE_WORKLOAD))
    await bed.api.act(grant)
    assert await gate.release(NETWORK, grant, why="its key has left the set")


async def test_open_grants_are_found_by_node(bed: Bed) -> None:
    gate = bed.gate()
    assert await gate.open_grants(NETWORK) == ()
    grant = granted(await bed.ask(gate, 2))
    assert [one.id for one in await gate.open_grants(NETWORK)] == [grant.id]
    assert [one.id for one in await gate.open_grants(NETWORK, node=f"{NAMESPACE}/{bed.node(2)}")] == [grant.id]
    assert await gate.open_grants(NETWORK, node=f"{NAMESPACE}/{bed.node(1)}") == ()


# -- the ledger --------------------------------------------------------------------------------------------------------
async def test_i2_a_ledger_that_is_missing_although_it_existed_denies_everything(bed: Bed) -> None:
    bed.existed = True
    gate = bed.gate()
    answer = await bed.ask(gate, 0)
    assert reason(answer) is DenyReason.LEDGER_MISSING
    refused = await gate.establish(NETWORK, ledger_existed=True)
    assert refused is not None
    assert refused.reason is DenyReason.LEDGER_MISSING
    with pytest.raises(NotFound):
        bed.api.ledger()


async def test_i2_a_lost_ledger_is_rebuilt_from_stamps_and_what_it_had_granted_can_no_longer_happen(bed: Bed) -> None:
    gate = bed.gate()
    grant = granted(await bed.ask(gate, 0, Act.DELETE_POD))
    before = bed.api.ledger().open
    bed.api.remove(kinds.CONFIG_MAP, labels.ledger_config_map(NETWORK), SYSTEM)
    bed.existed = True
    assert reason(await bed.ask(gate, 1)) is DenyReason.LEDGER_MISSING
    assert await gate.rebuild(NETWORK, [NAMESPACE]) == before
    assert bed.api.ledger().open == before
    with pytest.raises(Conflict):
        await bed.api.act(grant)
    bed.blocks(50)
    assert reason(await bed.ask(gate, 1)) is DenyReason.QUORUM


@pytest.mark.parametrize("text", ["", "{", "{}", '{"version":2}', '{"network":"x","seal":{"holder":"h","fence":1}}'])
async def test_i2_a_ledger_that_cannot_be_read_denies_everything(bed: Bed, text: str) -> None:
    gate = bed.gate()
    granted(await bed.ask(gate, 0))
    bed.api.live(kinds.CONFIG_MAP, labels.ledger_config_map(NETWORK), SYSTEM)["data"]["ledger"] = text
    answer = await bed.ask(gate, 1)
    assert reason(answer) is DenyReason.LEDGER_UNREADABLE
    assert isinstance(answer, Deny)
    assert "deleted so that the ledger is rebuilt" in answer.until


async def test_i2_a_new_leader_seals_the_ledger_and_the_old_one_is_shut_out(bed: Bed) -> None:
    old, new = bed.gate(1), bed.gate(2)
    assert await old.establish(NETWORK, ledger_existed=False) is None
    assert await new.establish(NETWORK, ledger_existed=True) is None
    assert bed.api.ledger().seal.model_dump() == {"holder": "process-2", "fence": 2}
    assert reason(await bed.ask(old, 0)) is DenyReason.FENCED
    granted(await bed.ask(new, 0))


async def test_i2_of_two_holders_with_one_fence_only_the_first_may_write(bed: Bed) -> None:
    first, second = bed.gate(3, "process-a"), bed.gate(3, "process-b")
    assert await first.establish(NETWORK, ledger_existed=False) is None
    answer = await second.establish(NETWORK, ledger_existed=True)
    assert answer is not None
    assert answer.reason is DenyReason.FENCED


async def test_i2_a_ledger_that_always_changes_is_busy_not_permission(bed: Bed) -> None:
    gate = bed.gate()
    await gate.establish(NETWORK, ledger_existed=False)
    original = bed.api.replace

    async def contested(kind: Any, manifest: dict[str, Any]) -> dict[str, Any]:
        raise Conflict("PUT", manifest["metadata"]["name"])

    bed.api.replace = contested  # type: ignore[method-assign]
    assert reason(await bed.ask(gate, 0)) is DenyReason.LEDGER_BUSY
    bed.api.replace = original  # type: ignore[method-assign]
    granted(await bed.ask(gate, 0))


async def test_a_process_that_does_not_lead_grants_nothing(bed: Bed) -> None:
    class NotLeading(Exception):
        pass

    def leadership() -> Leadership:
        raise NotLeading

    gate = Gate(bed.api, system_namespace=SYSTEM, clock=bed.clock, leadership=leadership)
    with pytest.raises(NotLeading):
        await bed.ask(gate, 0)
    assert bed.api.writes == 0


# -- the audit log -----------------------------------------------------------------------------------------------------
def audit_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.audit for record in caplog.records if record.name == "jil.audit"]  # type: ignore[attr-defined]


async def test_i9_every_grant_refusal_and_return_says_who_what_why_before_and_after(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jil.audit")
    gate = bed.gate()
    grant = granted(await bed.ask(gate, 0, requested_by="alice"))
    await bed.ask(gate, 1)
    await bed.api.act(grant)
    bed.come_back(0)
    await gate.release(NETWORK, grant, why="ready and signing")
    await bed.ask(gate, 0, consensus_address=None)
    lines = audit_lines(caplog)
    assert [line["action"] for line in lines] == [
        "ledger.created",
        "disruption.granted",
        "disruption.denied",
        "disruption.returned",
        "disruption.denied",
    ]
    given, denied, returned = lines[1:4]
    assert given["who"] == "alice"
    assert given["what"] == f"Stop StatefulSet {NAMESPACE}/{bed.workload(0)} of JILNode {NAMESPACE}/{bed.node(0)}"
    assert given["why"] == "spec.state is Stopped"
    assert given["before"] == {"total": 4, "quorum": 3, "reserve": 0, "away": 0}
    assert given["after"] == {"total": 4, "quorum": 3, "reserve": 0, "away": 1}
    assert given["grant"] == returned["grant"] == grant.id
    assert denied["refusal"] is DenyReason.QUORUM
    assert (denied["before"]["away"], denied["after"]["away"]) == (1, 2)
    assert {"who", "what", "why", "before", "after", "network"} <= set(returned)


async def test_i9_a_refusal_that_is_asked_for_again_and_again_is_written_every_ten_minutes(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    bed.readable = False
    gate = bed.gate()
    await gate.establish(NETWORK, ledger_existed=False)
    caplog.set_level(logging.INFO, "jil.audit")
    for _ in range(30):
        await bed.ask(gate, 0)
        bed.clock.advance(40)
    assert len(audit_lines(caplog)) == 2
    await bed.ask(gate, 1)
    assert len(audit_lines(caplog)) == 3, "another question has its own line"


async def test_i9_handing_out_the_same_grant_again_is_not_another_event(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    gate = bed.gate()
    await bed.ask(gate, 0)
    caplog.set_level(logging.INFO, "jil.audit")
    await bed.ask(gate, 0)
    assert audit_lines(caplog) == []
    await bed.ask(bed.gate(2), 0)
    assert [line["action"] for line in audit_lines(caplog)] == ["ledger.sealed", "disruption.granted"]
