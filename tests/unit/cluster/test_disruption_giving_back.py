"""I2, I8: asking again, taking back, and giving back when the validator is back."""

from __future__ import annotations

import pytest

from jil.api import kinds
from jil.cluster.disruption import TakeBack
from jil.cluster.errors import Conflict
from jil.cluster.ledger import Outcome
from jil.cluster.stamps import STAMP, read_stamp
from jil.plan.acts import Act
from jil.plan.verdict import DenyReason
from jil.plan.voting import PodState
from tests.unit.cluster.conftest import Bed, granted, reason
from tests.unit.cluster.memory_api import NAMESPACE, NETWORK


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


# -- which pod -----------------------------------------------------------------------------------------------------------
async def test_i8_a_grant_says_which_pod_was_the_validators_when_it_was_given(bed: Bed) -> None:
    gate = bed.gate()
    granted(await bed.ask(gate, 0, pod_uid="first-pod"))
    [entry] = bed.api.ledger().open
    assert entry.pod == "first-pod"
    assert read_stamp(bed.api.live(kinds.STATEFUL_SET, bed.workload(0))) == entry, "a rebuilt ledger knows it too"


async def test_i8_a_grant_that_is_handed_out_again_is_about_the_pod_that_is_there_now(bed: Bed) -> None:
    """The pod may have been replaced before the act: then that one, and not its successor, is ended by it."""
    gate = bed.gate()
    first = granted(await bed.ask(gate, 0, pod_uid="first-pod"))
    again = granted(await bed.ask(gate, 0, pod_uid="second-pod"))
    assert again.id == first.id
    assert [entry.pod for entry in bed.api.ledger().open] == ["second-pod"]


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
