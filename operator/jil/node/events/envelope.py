"""The event envelope of topic ``jil.events``: who says what about which entity, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, field_validator

TOPIC = "jil.events"
SCHEMA_VERSION = 1

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Classification(StrEnum):
    """How far an event may travel. It is enforced where the event comes from."""

    GLOBAL = "global"  # to every node of the network
    JURISDICTION = "jurisdiction"  # to nodes of the same jurisdiction
    NODE = "node"  # nowhere: it stays in the node's own log


class Envelope(BaseModel):
    """One immutable event.

    ``source_id``: nodeId of the node where it happened. ``sequence``: 1, 2, 3... per source_id without a gap, so that a
    reader can tell that it has missed one. ``timestamp``: wall clock, UTC, for people; order is ``sequence``.
    ``entity_key`` and ``entity_version``: what the event is about, and its state counted from 1. ``correlation_id``:
    the request behind it; ``causation_id``: the event that caused this one. ``payload`` carries a ``type`` and the
    state after the change, so that a reader never has to ask back.

    Fields that a newer version adds are kept, not dropped, so that an older reader passes an event on unharmed.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    event_id: UUID
    source_id: Name
    topic: Name = TOPIC
    timestamp: datetime
    sequence: int = Field(ge=1)
    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    correlation_id: Name
    causation_id: UUID | None = None
    entity_key: Name
    entity_version: int = Field(ge=1)
    classification: Classification
    payload: dict[str, JsonValue]

    @field_validator("timestamp")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("must carry a time zone")
        return value.astimezone(UTC)

    @field_validator("payload")
    @classmethod
    def _has_a_type(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if not isinstance(value.get("type"), str) or not value["type"]:
            raise ValueError("must have a `type`, a non-empty string")
        return value

    def wire(self) -> str:
        """The JSON text as it is stored and published."""
        return self.model_dump_json()


class EventDraft(BaseModel):
    """What the author of an event knows; the outbox adds source, sequence, id and time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entity_key: Name
    entity_version: int = Field(ge=1)
    classification: Classification
    correlation_id: Name
    causation_id: UUID | None = None
    payload: Mapping[str, Any]


def uuid7(at: datetime, randomness: bytes) -> UUID:
    """A version 7 UUID (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits from 10 bytes.

    Sorted by time to the millisecond, which keeps the unique index compact.
    """
    if len(randomness) != 10:
        raise ValueError(f"10 random bytes are needed, {len(randomness)} are given")
    milliseconds = int(at.timestamp() * 1000)
    if not 0 <= milliseconds < 1 << 48:
        raise ValueError(f"{at.isoformat()} does not fit into a version 7 UUID")
    noise = int.from_bytes(randomness, "big")
    value = milliseconds << 80 | 0x7 << 76 | (noise >> 62 & 0xFFF) << 64 | 0b10 << 62 | noise & (1 << 62) - 1
    return UUID(int=value)
