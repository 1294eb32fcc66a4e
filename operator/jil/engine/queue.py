"""The work queue: which object is looked at next, and that no object is looked at twice at the same time.

- A key that waits is there once, however often it is added (dedupe).
- A key that is being worked on is not given out again; when it was added meanwhile it comes again afterwards (single
  flight).
- Keys wait in lanes by kind and namespace that take turns: a namespace with a thousand nodes does not starve the one
  with a single node (fairness).
- ``retry`` comes back after an exponential back-off with jitter, ``add_after`` after a delay. Both give way to an event
  that comes earlier, and both are forgotten when the key is picked up: every reconcile says anew when to look again.

All methods are for one event loop; other threads go through ``loop.call_soon_threadsafe(queue.add, key)``.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Key:
    """One object: ``kind`` is the kind's name ("JILNode"), ``namespace`` None for cluster-scoped kinds."""

    kind: str
    namespace: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class QueueClosed(Exception):  # noqa: N818 (no error: the answer to get() at shutdown)
    """There is no more work: the queue was closed."""


@dataclass(frozen=True)
class BackOff:
    """Seconds before the n-th retry: ``base`` doubled each time, at most ``limit``, of which up to half is jitter."""

    base: float = 0.5
    limit: float = 300.0

    def delay(self, failures: int, chance: float) -> float:
        """``failures`` is 1 for the first; ``chance`` is a random number in [0, 1)."""
        full = min(self.limit, self.base * float(2 ** min(failures - 1, 30)))
        return full * (0.5 + chance / 2)


class QueueObserver(Protocol):
    """What the metrics want to hear."""

    def waited(self, key: Key, seconds: float) -> None:
        """A key was picked up after waiting this long since it was due."""

    def retried(self, key: Key) -> None:
        """A key will be tried again."""


class _Nobody:
    def waited(self, key: Key, seconds: float) -> None:
        """Nobody listens."""

    def retried(self, key: Key) -> None:
        """Nobody listens."""


class WorkQueue:
    """``clock`` is monotonic seconds, the same that the event loop's timers run on; ``chance`` returns [0, 1)."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        backoff: BackOff | None = None,
        chance: Callable[[], float] = random.random,
        observer: QueueObserver | None = None,
    ) -> None:
        self._clock = clock
        self._backoff = backoff or BackOff()
        self._chance = chance
        self._observer = observer or _Nobody()
        self._lanes: OrderedDict[tuple[str, str | None], deque[Key]] = OrderedDict()
        self._waiting: dict[Key, float] = {}  # -> when it became due
        self._working: dict[Key, float | None] = {}  # -> when it was added again, None when it was not
        self._heap: list[tuple[float, int, Key]] = []
        self._delayed: dict[Key, float] = {}  # -> when it becomes due; the heap may hold outdated entries
        self._order = itertools.count()
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        self._closed = False

    # -- in ----------------------------------------------------------------------------------------------------------
    def add(self, key: Key) -> None:
        """Look at ``key`` as soon as a worker is free. Does nothing after ``close``."""
        if self._closed or key in self._waiting:
            return
        now = self._clock()
        if key in self._working:
            if self._working[key] is None:
                self._working[key] = now
            return
        self._enqueue(key, now)

    def add_after(self, key: Key, seconds: float) -> None:
        """Look at ``key`` in ``seconds``; an earlier date that is set already stays."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if self._delayed.get(key, due + 1) <= due:
            return
        self._delayed[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._wake.set()

    def retry(self, key: Key, *, at_least: float = 0.0) -> float:
        """Look at ``key`` again after its back-off, not before ``at_least`` seconds; returns the delay."""
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        delay = max(at_least, self._backoff.delay(failures, self._chance()))
        self._observer.retried(key)
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """The key went well: its next failure begins with the shortest back-off again."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """Failures in a row."""
        return self._failures.get(key, 0)

    # -- out ---------------------------------------------------------------------------------------------------------
    async def get(self) -> Key:
        """The next key; ``done`` must follow. Raises QueueClosed after ``close``."""
        while True:
            if self._closed:
                raise QueueClosed
            self._promote()
            if self._lanes:
                return self._pick()
            self._wake.clear()
            try:
                async with asyncio.timeout(self._until_due()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """The work on ``key`` has ended, however it went."""
        again = self._working.pop(key)
        if again is not None and not self._closed:
            self._enqueue(key, again)

    def close(self) -> None:
        """No more work is taken or given out; work under way goes on."""
        self._closed = True
        self._wake.set()

    def clear(self) -> None:
        """Forget everything that waits and every back-off (at the start of a leadership)."""
        self._lanes.clear()
        self._waiting.clear()
        self._delayed.clear()
        self._heap.clear()
        self._failures.clear()

    # -- looking in --------------------------------------------------------------------------------------------------
    def depth(self) -> int:
        """Keys that are due and wait for a worker."""
        return len(self._waiting)

    def delayed(self) -> int:
        """Keys with a date in the future."""
        return len(self._delayed)

    def working(self) -> int:
        """Keys that workers have."""
        return len(self._working)

    def age(self) -> float:
        """Seconds that the oldest due key has waited; 0 when none waits."""
        return max((self._clock() - since for since in self._waiting.values()), default=0.0)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _enqueue(self, key: Key, since: float) -> None:
        self._waiting[key] = since
        self._lanes.setdefault((key.kind, key.namespace), deque()).append(key)
        self._wake.set()

    def _pick(self) -> Key:
        lane, keys = next(iter(self._lanes.items()))
        key = keys.popleft()
        if keys:
            self._lanes.move_to_end(lane)
        else:
            del self._lanes[lane]
        since = self._waiting.pop(key)
        self._delayed.pop(key, None)
        self._working[key] = None
        self._observer.waited(key, self._clock() - since)
        return key

    def _promote(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._delayed.get(key) == due:  # Otherwise picked up, or set anew, since.
                del self._delayed[key]
                self._add_due(key, due)

    def _add_due(self, key: Key, due: float) -> None:
        if key in self._working:
            if self._working[key] is None:
                self._working[key] = due
        elif key not in self._waiting:
            self._enqueue(key, due)

    def _until_due(self) -> float | None:
        while self._heap and self._delayed.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None
