"""I2, I8: many acts that cost nothing are one write of the ledger, and nothing that could cost power is among them."""

from __future__ import annotations

import pytest

from jil.api import kinds
from jil.cluster.errors import Conflict
from jil.cluster.grant import Grant
from jil.cluster.ledger import CLOSED_MAX, Outcome
from jil.cluster.request import Disruption
from jil.plan.acts import Act
from jil.plan.verdict import Deny, DenyReason
from tests.unit.cluster.conftest import Bed, address, reason
from tests.unit.cluster.memory_api import NAMESPACE, NETWORK


def _stops(bed: Bed, count: int) -> list[Disruption]:
    return [
        Disruption(
            Act.STOP,
            NETWORK,
            f"{NAMESPACE}/ch-zug-00",
            f"svc-{number}",
            bed.api.put(kinds.DEPLOYMENT, f"ch-zug-00-svc-{number}", spec={"replicas": 1}),
            address(0),
            "the node is deleted",
        )
        for number in range(count)
    ]


async def test_i8_many_free_acts_are_one_write_of_the_ledger_and_each_has_its_grant(bed: Bed) -> None:
    gate = bed.gate()
    await gate.establish(NETWORK, ledger_existed=False)
    wanted = _stops(bed, 50)
    before = bed.api.writes
    grants = await gate.request_free(wanted, bed.facts(), ledger_existed=True)
    assert isinstance(grants, tuple)
    assert bed.api.writes == before + 1
    closed = bed.api.ledger().closed
    assert [entry.id for entry in closed] == [grant.id for grant in grants]
    assert {entry.outcome for entry in closed} == {Outcome.RECORDED}
    assert [grant.target for grant in grants] == [one.target for one in wanted]
    assert bed.api.ledger().open == ()


async def test_i2_a_target_that_changed_meanwhile_is_refused_by_the_request_itself(bed: Bed) -> None:
    wanted = _stops(bed, 2)
    bed.api.put(kinds.DEPLOYMENT, "ch-zug-00-svc-1", spec={"replicas": 3})
    grants = await bed.gate().request_free(wanted, bed.facts(), ledger_existed=False)
    assert isinstance(grants, tuple)
    await bed.api.act(grants[0])
    with pytest.raises(Conflict):
        await bed.api.act(grants[1])


@pytest.mark.parametrize("act", [Act.STOP, Act.DISARM, Act.DELETE_WORKLOAD, Act.DELETE_POD, Act.DRAIN])
async def test_i2_what_could_cost_power_is_never_asked_for_together_with_others(bed: Bed, act: Act) -> None:
    gate = bed.gate()
    with pytest.raises(ValueError, match="may cost consensus power"):
        await gate.request_free([*_stops(bed, 1), bed.disruption(0, act)], bed.facts(), ledger_existed=False)
    assert bed.api.writes == 0


async def test_i2_no_more_are_granted_at_once_than_a_ledger_keeps(bed: Bed) -> None:
    with pytest.raises(ValueError, match="keeps the last"):
        await bed.gate().request_free(_stops(bed, CLOSED_MAX + 1), bed.facts(), ledger_existed=False)


async def test_i2_without_its_ledger_nothing_is_granted_not_even_what_is_free(bed: Bed) -> None:
    answer = await bed.gate().request_free(_stops(bed, 3), bed.facts(), ledger_existed=True)
    assert isinstance(answer, Deny)
    assert reason(answer) is DenyReason.LEDGER_MISSING


async def test_i2_an_old_leader_is_given_nothing_free_either(bed: Bed) -> None:
    old, new = bed.gate(1), bed.gate(2)
    await old.establish(NETWORK, ledger_existed=False)
    await new.establish(NETWORK, ledger_existed=True)
    answer = await old.request_free(_stops(bed, 3), bed.facts(), ledger_existed=True)
    assert not isinstance(answer, tuple)
    assert reason(answer) is DenyReason.FENCED


async def test_i8_losing_the_swap_once_the_grants_are_written_on_what_is_there_now(bed: Bed) -> None:
    first, second = bed.gate(1, "process-1"), bed.gate(1, "process-1")
    one = await first.request_free(_stops(bed, 2), bed.facts(), ledger_existed=False)
    two = await second.request_free(_stops(bed, 2), bed.facts(), ledger_existed=True)
    given = [grant.id for grants in (one, two) for grant in grants if isinstance(grant, Grant)]  # type: ignore[union-attr]
    assert [entry.id for entry in bed.api.ledger().closed] == given
