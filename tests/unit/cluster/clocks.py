"""Clocks for tests: one that is moved by hand, one that follows the event loop's (virtual) time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

_START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Stands still until ``forward``."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def forward(self, seconds: float) -> None:
        self.seconds += seconds

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return _START + timedelta(seconds=self.seconds)


class LoopClock:
    """The running loop's time, plus what the test adds to it: a process that was stopped sees its clock jump."""

    def __init__(self) -> None:
        self.jumped = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.jumped

    def now(self) -> datetime:
        return _START + timedelta(seconds=self.monotonic())
