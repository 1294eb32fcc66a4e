"""I2, I9: a ledger that is missing, unreadable, contested or sealed by another leader; and the lines of the audit log."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from jil.api import kinds, labels
from jil.cluster.disruption import Gate
from jil.cluster.errors import Conflict, NotFound
from jil.cluster.ledger import Leadership
from jil.plan.acts import Act
from jil.plan.verdict import Deny, DenyReason
from tests.unit.cluster.conftest import Bed, granted, reason
from tests.unit.cluster.memory_api import NAMESPACE, NETWORK, SYSTEM


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
