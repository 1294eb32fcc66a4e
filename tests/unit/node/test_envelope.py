"""The event envelope: its fields, its ids, and readers and writers of different versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jil.node.events.envelope import Classification, Envelope, uuid7

AT = datetime(2026, 11, 21, 10, 0, 0, 123_000, tzinfo=UTC)


def envelope(**changes: Any) -> Envelope:
    fields: dict[str, Any] = {
        "event_id": uuid7(AT, bytes(10)),
        "source_id": "CH-ZUG-01",
        "timestamp": AT,
        "sequence": 1,
        "correlation_id": "request-1",
        "entity_key": "account/alice",
        "entity_version": 1,
        "classification": Classification.GLOBAL,
        "payload": {"type": "account.opened", "account": {"balance": 2**53 - 1}},
    }
    return Envelope(**(fields | changes))


def test_the_wire_format_is_exactly_this() -> None:
    assert json.loads(envelope().wire()) == {
        "event_id": "01a1fd8c-697b-7000-8000-000000000000",
        "source_id": "CH-ZUG-01",
        "topic": "jil.events",
        "timestamp": "2026-11-21T10:00:00.123000Z",
        "sequence": 1,
        "schema_version": 1,
        "correlation_id": "request-1",
        "causation_id": None,
        "entity_key": "account/alice",
        "entity_version": 1,
        "classification": "global",
        "payload": {"type": "account.opened", "account": {"balance": 9007199254740991}},
    }


def test_reading_gives_back_what_was_written() -> None:
    assert Envelope.model_validate_json(envelope().wire()) == envelope()


def test_an_older_reader_keeps_the_fields_of_a_newer_writer() -> None:
    newer = json.loads(envelope().wire()) | {"schema_version": 2, "signature": "abc"}
    read = Envelope.model_validate(newer)
    assert read.schema_version == 2
    assert json.loads(read.wire())["signature"] == "abc"


def test_a_timestamp_is_written_in_utc_and_needs_a_zone() -> None:
    zurich = AT.astimezone(timezone(timedelta(hours=1)))
    assert envelope(timestamp=zurich).wire() == envelope().wire()
    with pytest.raises(ValidationError, match="time zone"):
        envelope(timestamp=AT.replace(tzinfo=None))


@pytest.mark.parametrize(
    "wrong",
    [
        {"sequence": 0},
        {"entity_version": 0},
        {"source_id": ""},
        {"entity_key": "x" * 201},
        {"classification": "everywhere"},
        {"payload": {}},
        {"payload": {"type": ""}},
    ],
)
def test_a_field_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        envelope(**wrong)


def test_an_envelope_does_not_change() -> None:
    with pytest.raises(ValidationError):
        envelope().sequence = 2  # type: ignore[misc]


@given(
    st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2200, 1, 1)), st.binary(min_size=10, max_size=10)
)
def test_an_event_id_is_a_version_7_uuid_that_carries_its_millisecond(at: datetime, noise: bytes) -> None:
    at = at.replace(tzinfo=UTC)
    made = uuid7(at, noise)
    assert (made.version, made.variant) == (7, UUID(int=2 << 62).variant)
    assert made.int >> 80 == int(at.timestamp() * 1000)


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_two_ids_of_one_millisecond_are_equal_only_for_equal_randomness(one: bytes, other: bytes) -> None:
    # 74 of the 80 bits are used: the six highest are cut off.
    used = [int.from_bytes(noise, "big") & (1 << 74) - 1 for noise in (one, other)]
    assert (uuid7(AT, one) == uuid7(AT, other)) == (used[0] == used[1])


def test_too_little_randomness_and_an_impossible_time_are_refused() -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        uuid7(AT, bytes(9))
    with pytest.raises(ValueError, match="does not fit"):
        uuid7(datetime(1960, 1, 1, tzinfo=UTC), bytes(10))
