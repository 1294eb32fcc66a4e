"""JILOperation BreakGlass on an API server in memory: once, until its end, whoever applies it how often."""

from __future__ import annotations

import itertools
import logging

import pytest

from jil.api import kinds
from jil.cluster.allowlist import allowed
from jil.cluster.claim import ClaimUnreadableError, claim_name
from jil.engine.outcome import Result
from jil.engine.queue import Key
from tests.cluster.api.case import BASES, TRUST, changed
from tests.unit.cluster.memory_api import SYSTEM, Crash
from tests.unit.controller.operation_rig import FENCING, SPACE, A, B, Rig


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.begin()
    return made


async def test_the_digest_is_let_in_until_its_time_is_over(rig: Rig) -> None:
    key = rig.apply(hours=4)
    assert await rig.reconcile(key) == Result(4 * 3600.0)
    assert rig.open
    assert rig.says() == ("Active", "True", "BreakGlassOpen")
    started = rig.status().started_at
    rig.clock.advance(4 * 3600 - 1)
    assert await rig.reconcile(key) == Result(1.0)
    assert rig.open
    rig.clock.advance(1)
    assert await rig.reconcile(key) == Result()
    assert not rig.open
    assert allowed(rig.list, A)
    assert rig.says() == ("Succeeded", "True", "Expired")
    status = rig.status()
    assert (status.started_at, status.completed_at) == (started, rig.clock.now())
    (target,) = status.targets
    assert (target.name, target.phase) == (B, "Succeeded")


async def test_nothing_is_written_while_nothing_happens(rig: Rig) -> None:
    key = rig.apply()
    await rig.reconcile(key)
    writes, told = rig.api.writes, len(rig.told.events)
    for _ in range(3):
        rig.clock.advance(60)
        await rig.reconcile(key)
    assert (rig.api.writes, len(rig.told.events)) == (writes, told)


async def test_the_event_of_a_broken_glass_is_a_warning_that_says_who_and_why(rig: Rig) -> None:
    key = rig.apply()
    await rig.reconcile(key)
    ((kind, reason, note),) = rig.told.events
    assert (kind, reason) == ("Warning", "BreakGlassOpen")
    assert f"{B} may run in namespace {SPACE} until" in note
    assert "because ops-lead said: the signer is down" in note
    rig.clock.advance(4 * 3600)
    await rig.reconcile(key)
    assert rig.told.events[1][:2] == ("Normal", "Expired")


async def test_i9_beginning_and_end_are_audit_lines_with_who_what_and_why(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jil.audit")
    key = rig.apply()
    await rig.reconcile(key)
    rig.clock.advance(4 * 3600)
    await rig.reconcile(key)
    lines = [record.audit for record in caplog.records if record.name == "jil.audit"]  # type: ignore[attr-defined]
    assert [line["action"] for line in lines] == ["operation.start", "image.allow", "image.allow", "operation.end"]
    for line in (lines[0], lines[3]):
        assert (line["requestedBy"], line["requestId"], line["type"]) == ("ops-lead", "INC-1", "BreakGlass")
        assert line["why"].startswith("the signer is down")
    assert lines[0]["spec"]["breakGlass"]["digest"] == B
    assert (lines[1]["added"].keys(), lines[2]["removed"]) == ({B}, [B])


async def test_an_operation_that_is_deleted_ends_early(rig: Rig) -> None:
    key = rig.apply()
    await rig.reconcile(key)
    rig.delete()
    await rig.reconcile(key)
    assert not rig.open


@pytest.mark.parametrize("name", ["inc-1", "other-name"])
async def test_a_request_never_runs_twice_however_often_it_is_applied_again(rig: Rig, name: str) -> None:
    key = rig.apply()
    spec = (rig.store.get(kinds.JIL_OPERATION, SPACE, "inc-1") or {})["spec"]
    await rig.reconcile(key)
    rig.delete()
    await rig.reconcile(key)
    for _ in range(3):
        again = rig.apply(name, **spec)
        await rig.reconcile(again)
        assert not rig.open
        assert rig.says(name) == ("Succeeded", "True", "AlreadyRan")
        rig.delete(name)
        await rig.reconcile(again)


async def test_an_object_that_git_makes_anew_before_anybody_looked_ends_the_glass_of_its_forerunner(rig: Rig) -> None:
    key = rig.apply()
    spec = (rig.store.get(kinds.JIL_OPERATION, SPACE, "inc-1") or {})["spec"]
    await rig.reconcile(key)
    rig.delete()
    rig.apply("inc-1", **spec)
    await rig.reconcile(key)
    assert not rig.open
    assert rig.says() == ("Succeeded", "True", "AlreadyRan")


async def test_a_used_id_with_another_command_is_refused(rig: Rig) -> None:
    await rig.reconcile(rig.apply())
    other = rig.apply("inc-2", reason="something else")
    await rig.reconcile(other)
    assert rig.says("inc-2") == ("Refused", "False", "AlreadyRan")
    assert "for another command (JILOperation inc-1): an id runs once. Use another requestId" in (
        rig.status("inc-2").targets[0].message
    )
    assert rig.open


async def test_the_same_id_in_another_namespace_is_another_request() -> None:
    assert claim_name("jil-ch-finma", "INC-1") != claim_name("jil-sg-mas", "INC-1")


async def test_two_requests_for_one_digest_end_each_for_itself(rig: Rig) -> None:
    one, two = rig.apply(hours=1), rig.apply("inc-2", hours=2, requestId="INC-2")
    await rig.reconcile(one)
    await rig.reconcile(two)
    rig.clock.advance(3600)
    await rig.reconcile(one)
    assert rig.open
    rig.clock.advance(3600)
    await rig.reconcile(two)
    assert not rig.open


async def test_what_was_over_before_the_operator_took_it_up_is_not_let_in(rig: Rig) -> None:
    key = rig.apply(hours=1)
    rig.clock.advance(3600)
    assert await rig.reconcile(key) == Result()
    assert not rig.open
    assert rig.says() == ("Refused", "False", "Expired")
    assert "nothing was let in" in rig.status().targets[0].message


async def test_without_a_policy_there_is_no_glass_and_no_list_is_made() -> None:
    rig = Rig(trust=False, has_list=False)
    await rig.reconcile(rig.apply())
    assert rig.says() == ("Refused", "False", "NoPolicy")
    assert rig.api.all(kinds.JIL_IMAGE_ALLOW_LIST) == []


async def test_i1_what_was_refused_stays_refused_when_what_stood_in_its_way_is_gone() -> None:
    rig = Rig(trust=False, has_list=False)
    key = rig.apply(hours=48)
    await rig.reconcile(key)
    refused = rig.status()
    rig.put(kinds.JIL_NETWORK, changed(BASES["JILNetwork"], {"metadata/name": "jil-devnet", "spec/trust": TRUST}))
    rig._has_list = True
    await rig.begin()
    rig.clock.advance(3600)
    for _ in range(2):
        assert await rig.reconcile(key) == Result()
        assert not rig.open
        assert rig.says() == ("Refused", "False", "NoPolicy")
        rig.restart()  # a new leader looks at every operation
    assert refused.completed_at is not None
    assert rig.status().completed_at == refused.completed_at
    spec = (rig.store.get(kinds.JIL_OPERATION, SPACE, "inc-1") or {})["spec"]
    await rig.reconcile(rig.apply("inc-2", **spec))
    assert not rig.open
    assert rig.says("inc-2") == ("Refused", "False", "AlreadyRan"), "what was refused has not succeeded"


@pytest.mark.parametrize("after", [False, True])
async def test_i1_i8_killed_while_it_is_refused_it_is_refused_or_not_looked_at_yet(after: bool) -> None:
    rig = Rig(trust=False, has_list=False)
    key = rig.apply()
    rig.api.crash_at, rig.api.crash_after_write = rig.api.writes + 1, after
    with pytest.raises(Crash):
        await rig.reconcile(key)
    rig.api.crash_at = None
    rig._has_list = True
    rig.restart()
    await rig.begin()
    await rig.reconcile(key)
    # One write takes the id and says how it ended: no half of it can be carried on as a command that was accepted.
    assert rig.open is not after
    assert rig.says()[0] == ("Refused" if after else "Active")


async def test_i9_a_refusal_is_an_audit_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jil.audit")
    rig = Rig(trust=False, has_list=False)
    await rig.reconcile(rig.apply())
    (line,) = [record.audit for record in caplog.records if record.name == "jil.audit"]  # type: ignore[attr-defined]
    assert (line["action"], line["phase"], line["reason"]) == ("operation.end", "Refused", "NoPolicy")
    assert line["requestedBy"] == "ops-lead"


async def test_a_list_that_is_on_its_way_is_waited_for() -> None:
    rig = Rig(has_list=False)
    key = rig.apply()
    result = await rig.reconcile(key)
    assert rig.says() == ("Pending", "False", "Progressing")
    assert result.requeue_after is not None
    rig._has_list = True
    await rig.begin()
    await rig.reconcile(key)
    assert rig.open


async def test_i8_killed_at_any_write_it_converges_and_runs_once() -> None:
    clean = Rig()
    await clean.begin()
    before = clean.api.writes
    await clean.reconcile(clean.apply())
    clean.clock.advance(4 * 3600)
    await clean.reconcile(Key(kinds.JIL_OPERATION.kind, SPACE, "inc-1"))
    writes = clean.api.writes - before
    assert writes == 4  # the claim, in, out, the result
    for number, after in itertools.product(range(1, writes + 1), (False, True)):
        rig = Rig()
        await rig.begin()
        key = rig.apply()
        rig.api.crash_at, rig.api.crash_after_write = rig.api.writes + number, after
        crashes = 0
        for passes in range(6):
            try:
                await rig.reconcile(key)
            except Crash:
                crashes += 1
                rig.api.crash_at = None
                rig.restart()
            if passes == 2:
                assert rig.open, (number, after)
                rig.clock.advance(4 * 3600)
        assert crashes == 1, (number, after)
        assert not rig.open
        assert rig.says() == ("Succeeded", "True", "Expired")


async def test_entries_of_operations_that_went_while_no_operator_ran_are_taken_out_at_the_start(rig: Rig) -> None:
    await rig.reconcile(rig.apply())
    kept = rig.apply("inc-2", requestId="INC-2")
    await rig.reconcile(kept)
    rig.delete()
    rig.restart()
    await rig.glass.lead()
    assert [glass.operation for glass in rig.list.break_glass] == ["inc-2"]


async def test_a_claim_that_somebody_edited_is_no_permission(rig: Rig) -> None:
    key = rig.apply()
    await rig.reconcile(key)
    name = claim_name(SPACE, "INC-1")
    damaged = {**rig.api.live(kinds.CONFIG_MAP, name, SYSTEM), "data": {"claim": "{}"}}
    rig.put(kinds.CONFIG_MAP, damaged)
    with pytest.raises(ClaimUnreadableError, match="Restore it from a backup"):
        await rig.reconcile(key)


async def test_a_spec_that_this_operator_cannot_read_lets_nothing_in(rig: Rig) -> None:
    key = rig.apply(type="Halt")
    await rig.reconcile(key)
    assert not rig.open
    assert rig.says() == ("Refused", "False", "SpecUnreadable")


async def test_i6_another_operation_of_the_same_name_does_not_keep_the_glass_of_its_forerunner(rig: Rig) -> None:
    key = rig.apply()
    await rig.reconcile(key)
    rig.delete()
    # One event for both, as the queue has it: nobody looked in between.
    rig.apply(requestId="INC-2", type="ConfirmFencing", breakGlass=None, confirmFencing=FENCING)
    await rig.reconcile(key)
    assert rig.says() == ("Pending", "False", "Progressing")
    assert not rig.open
    rig.delete()
    await rig.reconcile(rig.apply(requestId="INC-3"))
    assert rig.open
    (entry,) = rig.list.break_glass
    assert entry.operation_uid == "op-3"


@pytest.mark.parametrize("how", ["its time is over", "made anew", "of another type", "deleted"])
async def test_i6_entries_that_nothing_stands_behind_are_swept_with_every_look_at_an_operation(
    rig: Rig, how: str
) -> None:
    await rig.reconcile(rig.apply(hours=1))
    if how != "its time is over":
        rig.delete()
    if how == "made anew":
        rig.apply()
    elif how == "of another type":
        rig.apply(type="ConfirmFencing", breakGlass=None, confirmFencing=FENCING)
    rig.clock.advance(3601 if how == "its time is over" else 0)
    other = rig.apply("inc-2", requestId="INC-2", hours=9)
    await rig.reconcile(other)
    assert [glass.operation for glass in rig.list.break_glass] == ["inc-2"]


async def test_i6_a_list_that_cannot_be_written_or_read_keeps_no_operator_from_leading(rig: Rig) -> None:
    await rig.reconcile(rig.apply())
    rig.delete()
    for name, spec in (("a-terminating", None), ("b-unreadable", {"network": 7})):
        live = rig.api.live(kinds.JIL_IMAGE_ALLOW_LIST, SPACE, "")
        metadata = {**live["metadata"], "name": name, "uid": name}
        rig.put(kinds.JIL_IMAGE_ALLOW_LIST, {**live, "metadata": metadata, "spec": spec or live["spec"]})
        if spec is None:
            await rig.api.create(kinds.JIL_IMAGE_ALLOW_LIST, {**live, "metadata": metadata})
    await rig.glass.lead()
    assert not rig.open
