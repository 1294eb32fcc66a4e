"""Writes an event into the outbox, within the transaction of the change that it tells of.

The sequence number comes from one row per source, locked until the transaction ends: numbers have no gap (a rolled back
transaction gives its number back) and committed order is their order. A PostgreSQL sequence would leave gaps, which
readers would take for lost events. The lock makes the transactions of one node commit one after the other, so it is
taken last, by ``append``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg

from jil.node.events.envelope import Envelope, EventDraft, uuid7

_NEXT = """
INSERT INTO events.sources AS s (source_id, last_sequence) VALUES (%s, 1)
ON CONFLICT (source_id) DO UPDATE SET last_sequence = s.last_sequence + 1
RETURNING last_sequence
"""

_INSERT = """
INSERT INTO events.outbox
  (source_id, sequence, event_id, topic, entity_key, entity_version, classification, envelope, recorded_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def _now() -> datetime:
    return datetime.now(UTC)


class Outbox:
    """The outbox of one node."""

    def __init__(
        self,
        source_id: str,
        *,
        now: Callable[[], datetime] = _now,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._source_id = source_id
        self._now = now
        self._random_bytes = random_bytes

    async def append(self, connection: psycopg.AsyncConnection[Any], draft: EventDraft) -> Envelope:
        """Give the draft its number, id and time and store it; the last statement before the caller commits."""
        cursor = await connection.execute(_NEXT, (self._source_id,))
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101  INSERT ... RETURNING gives a row or raises
        at = self._now()
        envelope = Envelope(
            event_id=uuid7(at, self._random_bytes(10)),
            source_id=self._source_id,
            timestamp=at,
            sequence=row[0],
            **draft.model_dump(),
        )
        await connection.execute(
            _INSERT,
            (
                envelope.source_id,
                envelope.sequence,
                envelope.event_id,
                envelope.topic,
                envelope.entity_key,
                envelope.entity_version,
                envelope.classification.value,
                envelope.wire(),
                at,
            ),
        )
        return envelope
