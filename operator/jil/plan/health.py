"""A node's health as it was read at its health endpoint: plain values that plans are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jil.plan.chain import ChainReading

STALE_AFTER = timedelta(seconds=60)
"""A reading older than this says nothing about now."""


@dataclass(frozen=True)
class ComponentHealth:
    ok: bool
    version: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class ChainHealth:
    ok: bool
    height: int = 0
    catching_up: bool = False
    peers: int = 0
    address: str = ""
    peer_id: str = ""
    voting_power: int = 0
    version: str | None = None
    error: str | None = None
    reading: ChainReading | None = None
    """What the node says of everybody's signatures, as evidence for the gate; None when it does not tell."""
    reading_error: str | None = None


@dataclass(frozen=True)
class HealthReading:
    """One answer of ``GET /v1/health``. ``error`` is set when there was no usable answer."""

    at: datetime
    components: Mapping[str, ComponentHealth] = field(default_factory=dict)
    chain: ChainHealth | None = None
    error: str | None = None

    def fresh(self, now: datetime) -> bool:
        return now - self.at <= STALE_AFTER
