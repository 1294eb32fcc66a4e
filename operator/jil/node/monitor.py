"""Checks of the components a program depends on, refreshed in the background so that reading a result is instant.

Every check has a loop, a deadline and a result of its own: one component that hangs delays nobody else's result, and
its own turns to "no answer" at the deadline. A result that nobody refreshes any more stops counting as good.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

INTERVAL_SECONDS = 2.0
DEADLINE_SECONDS = 1.5


class Check(Protocol[T_co]):
    """Asks one component how it is. Any exception means: not well, for the reason that the exception says."""

    @property
    def name(self) -> str:
        """The component's name in results, logs and metrics."""

    async def observe(self) -> T_co:
        """Ask now. May hang: the monitor gives up waiting at its deadline."""

    def abort(self) -> None:
        """Called when the deadline has passed: make a hanging ``observe`` end soon. Must not block."""

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True)
class Result(Generic[T]):
    """What the last check said. ``value`` is set exactly when ``ok``; times are in seconds."""

    ok: bool
    value: T | None
    error: str | None
    took: float | None
    age: float | None


class Monitor(Generic[T]):
    """Keeps one component's result fresh."""

    def __init__(
        self,
        check: Check[T],
        *,
        interval: float = INTERVAL_SECONDS,
        deadline: float = DEADLINE_SECONDS,
        redact: Callable[[str], str] = str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.check = check
        self._interval = interval
        self._deadline = deadline
        self._redact = redact
        self._monotonic = monotonic
        self._result: Result[T] = Result(False, None, "not checked yet: the program has just started", None, None)
        self._checked_at: float | None = None
        self._hanging: tuple[asyncio.Task[T], float] | None = None
        self._was_ok: bool | None = None

    @property
    def name(self) -> str:
        return self.check.name

    @property
    def deadline(self) -> float:
        return self._deadline

    def result(self) -> Result[T]:
        """The last result with its age; not ok when it is too old to be believed (the refresh itself has stopped)."""
        last = self._result
        if self._checked_at is None:
            return last
        age = self._monotonic() - self._checked_at
        limit = 3 * (self._interval + self._deadline)
        if last.ok and age > limit:
            return Result(False, None, f"last checked {age:.0f} s ago, older than {limit:.0f} s", last.took, age)
        return Result(last.ok, last.value, last.error, last.took, age)

    async def refresh(self) -> None:
        """Ask once and keep the answer; returns after the deadline at the latest."""
        started = self._monotonic()
        if self._hanging is not None and not self._hanging[0].done():
            waiting = started - self._hanging[1]
            self._keep(False, None, f"no answer for {waiting:.1f} s to the check that is still under way", started)
            return
        self._hanging = None
        task = asyncio.ensure_future(self.check.observe())
        try:
            await asyncio.wait({task}, timeout=self._deadline)
        except asyncio.CancelledError:
            self._give_up(task)
            raise
        if not task.done():
            self._give_up(task)
            self._hanging = (task, started)
            self._keep(False, None, f"no answer within {self._deadline:g} s", started)
            return
        error = task.exception()
        if error is None:
            self._keep(True, task.result(), None, started)
        else:
            self._keep(False, None, describe(error), started)

    async def run(self) -> None:
        """Refresh for ever, until cancelled; then close the check."""
        try:
            while True:
                began = self._monotonic()
                await self.refresh()
                await asyncio.sleep(max(0.05, self._interval - (self._monotonic() - began)))
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.check.close(), timeout=self._deadline)

    def _give_up(self, task: asyncio.Task[T]) -> None:
        self.check.abort()
        task.cancel()
        task.add_done_callback(_retrieve)

    def _keep(self, ok: bool, value: T | None, error: str | None, started: float) -> None:
        now = self._monotonic()
        error = self._redact(error) if error is not None else None
        self._result = Result(ok, value, error, now - started, 0.0)
        self._checked_at = now
        if ok is not self._was_ok:
            if ok:
                log.info("%s answers", self.name)
            else:
                log.warning("%s does not answer: %s", self.name, error)
        self._was_ok = ok


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Take the late outcome of a check that was given up, so that asyncio does not report it as forgotten."""
    if not task.cancelled():
        task.exception()


def describe(error: BaseException) -> str:
    """An exception in one line: its text, or its type where it has none."""
    text = " ".join(str(error).split())
    return text[:500] if text else type(error).__name__


@contextlib.asynccontextmanager
async def running(monitors: Sequence[Monitor[Any]]) -> Any:
    """Run the monitors' loops for the time of the block."""
    tasks = [asyncio.create_task(monitor.run(), name=f"monitor-{monitor.name}") for monitor in monitors]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
