"""Merging conditions: full set, stable times, retired types, bugs of the caller."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jil.api.conditions import (
    JURISDICTION_CONDITIONS,
    MESSAGE_MAX,
    NETWORK_CONDITIONS,
    NODE_CONDITIONS,
    OPERATION_CONDITIONS,
    RELEASE_CONDITIONS,
    Condition,
    ConditionStatus,
    ConditionType,
    Finding,
    Reason,
    false,
    find,
    is_true,
    merge,
    true,
    unknown,
)

T0 = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
T1 = T0 + timedelta(minutes=5)
DATABASE, READY = ConditionType.DATABASE_READY, ConditionType.READY


def _merge(
    stored: tuple[Condition, ...], *found: Finding, at: datetime = T0, generation: int = 1
) -> tuple[Condition, ...]:
    return merge(stored, found, full_set=NODE_CONDITIONS, generation=generation, now=at)


def test_first_write_has_the_full_set_in_its_order() -> None:
    conditions = _merge((), true(DATABASE, Reason.READY))
    assert [c.type for c in conditions] == [t.value for t in NODE_CONDITIONS]
    others = [c for c in conditions if c.type != DATABASE]
    assert {(c.status, c.reason) for c in others} == {(ConditionStatus.UNKNOWN, "NotReconciled")}


def test_time_stands_still_while_the_status_does() -> None:
    before = _merge((), false(READY, Reason.PROGRESSING, "The database starts."))
    after = _merge(before, false(READY, Reason.POD_FAILED, "It keeps ending."), at=T1, generation=2)
    condition = find(after, READY)
    assert condition is not None
    assert condition.last_transition_time == T0.replace(microsecond=0)
    assert (condition.reason, condition.message, condition.observed_generation) == ("PodFailed", "It keeps ending.", 2)


def test_time_moves_when_the_status_does() -> None:
    before = _merge((), false(READY, Reason.PROGRESSING, "The database starts."))
    after = find(_merge(before, true(READY, Reason.READY), at=T1), READY)
    assert after is not None
    assert after.last_transition_time == T1.replace(microsecond=0)


def test_unknown_is_a_status_of_its_own() -> None:
    before = _merge((), true(DATABASE, Reason.READY))
    after = find(_merge(before, unknown(DATABASE, Reason.HEALTH_UNREADABLE, "No answer."), at=T1), DATABASE)
    assert after is not None
    assert (after.status, after.last_transition_time) == (ConditionStatus.UNKNOWN, T1.replace(microsecond=0))


def test_type_without_a_finding_keeps_what_was_known() -> None:
    before = _merge((), true(DATABASE, Reason.READY, "15.18"), generation=1)
    after = _merge(before, true(READY, Reason.READY), at=T1, generation=2)
    assert find(after, DATABASE) == find(before, DATABASE)


def test_same_findings_later_give_the_same_conditions() -> None:
    findings = [true(type_, Reason.READY) for type_ in NODE_CONDITIONS]
    before = _merge((), *findings)
    assert _merge(before, *findings, at=T1) == before


def test_what_was_stored_and_read_back_is_unchanged() -> None:
    before = _merge((), true(READY, Reason.READY))
    stored = tuple(Condition.model_validate(c.wire()) for c in before)
    assert _merge(stored, true(READY, Reason.READY), at=T1) == before


def test_retired_type_disappears() -> None:
    retired = Condition(type="OldThing", status=ConditionStatus.TRUE, last_transition_time=T0, reason="Ready")
    assert find(_merge((retired,)), ConditionType.READY) is not None
    assert "OldThing" not in {c.type for c in _merge((retired,))}


def test_reason_of_a_newer_operator_is_read_and_replaced() -> None:
    newer = Condition(type="Ready", status=ConditionStatus.FALSE, last_transition_time=T0, reason="Eclipsed")
    after = find(_merge((newer,), false(READY, Reason.PROGRESSING, "Starts."), at=T1), READY)
    assert after is not None
    assert (after.reason, after.last_transition_time) == ("Progressing", T0)


def test_foreign_condition_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="GenesisReady does not belong to this kind"):
        _merge((), true(ConditionType.GENESIS_READY, Reason.READY))


def test_two_findings_of_one_type_are_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="two findings for condition Ready"):
        _merge((), true(READY, Reason.READY), false(READY, Reason.PROGRESSING, "Starts."))


def test_long_message_is_cut_to_what_the_schema_admits() -> None:
    condition = find(_merge((), false(READY, Reason.POD_FAILED, "x" * (MESSAGE_MAX + 1))), READY)
    assert condition is not None
    assert len(condition.message) == MESSAGE_MAX
    assert condition.message.endswith("…")


def test_is_true_needs_a_condition_that_is_there_and_true() -> None:
    conditions = _merge((), true(DATABASE, Reason.READY), false(READY, Reason.PROGRESSING, "Starts."))
    assert is_true(conditions, DATABASE)
    assert not is_true(conditions, READY)
    assert not is_true(conditions, ConditionType.SERVING)
    assert not is_true((), DATABASE)


@pytest.mark.parametrize(
    "full_set",
    [NODE_CONDITIONS, NETWORK_CONDITIONS, JURISDICTION_CONDITIONS, RELEASE_CONDITIONS, OPERATION_CONDITIONS],
)
def test_every_kind_sums_up_in_ready_and_begins_with_its_spec(full_set: tuple[ConditionType, ...]) -> None:
    assert full_set[0] is ConditionType.SPEC_VALID
    assert full_set[-1] is ConditionType.READY
    assert len(set(full_set)) == len(full_set)


@pytest.mark.parametrize("word", [*Reason, *ConditionType])
def test_every_word_is_camel_case_and_explained(word: Reason | ConditionType) -> None:
    assert word.value.isalpha()
    assert word.value[0].isupper()
    assert word.name.replace("_", "").lower() == word.value.lower()
    assert word.meaning.endswith(".")
    assert str(word) == f"{word}" == word.value
