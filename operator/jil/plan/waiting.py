"""How long what a node waits for may take before somebody should hear of it. A deadline tells; it never grants anything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from jil.api.conditions import Reason

LIMITS: Final[Mapping[str, timedelta]] = {
    Reason.WAITING_FOR_POD: timedelta(minutes=10),
    Reason.WAITING_FOR_VOLUME: timedelta(minutes=10),
    Reason.WAITING_FOR_DEPENDENCY: timedelta(minutes=15),
    Reason.WAITING_FOR_PERMIT: timedelta(minutes=5),
    Reason.HEALTH_UNREADABLE: timedelta(minutes=5),
    Reason.UNHEALTHY: timedelta(minutes=5),
    Reason.STOPPING: timedelta(minutes=15),
}
"""Waits that end by themselves when all is well. A grant, a founder's key or a chain that catches up takes what it takes."""


def deadline(reason: str, since: datetime) -> datetime | None:
    """When the wait is overdue; None for one without limit."""
    limit = LIMITS.get(reason)
    return since + limit if limit is not None else None
