"""Time as an argument: what decides takes a Clock, tests pass one that they move by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

#: Counts through a suspended machine, which CLOCK_MONOTONIC does not: a lease must not look fresh after a nap.
_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """Wall clock for people and objects, monotonic seconds for every comparison."""

    def now(self) -> datetime:
        """Current time, aware, UTC."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back, goes on while the machine sleeps."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Current time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since boot, suspension included where the platform can tell."""
        return time.clock_gettime(_BOOT_CLOCK) if _BOOT_CLOCK is not None else time.monotonic()
