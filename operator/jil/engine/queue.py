"""The work queue: which object is looked at next, and that no object is looked at twice at the same time.

- A key that waits is there once, however often it is added (dedupe).
- A key that is being worked on is not given out again; when it was added meanwhile it comes again afterwards (single
  flight).
- Keys wait in lanes by kind and namespace that take turns: a namespace with a thousand nodes does not starve the one
  with a single node (fairness).
- News comes before routine: what somebody changed does not wait behind a thousand keys that are only looked at because
  a leadership begins or an hour has passed. Of four keys one is routine while there is any: a fleet where something
  changes all the time is looked at as a whole nevertheless. A key for which there is both is news.
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
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

#: Keys with news that are given out in a row while a routine one waits.
_NEWS_IN_A_ROW: Final = 3


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


@dataclass(frozen=True)
class _Due:
    """When a key became, or becomes, due, and whether only by routine."""

    at: float
    routine: bool

    def with_(self, other: _Due | None) -> _Due:
        """One look for both: at the earlier time, and as news if either is."""
        if other is None:
            return self
        return _Due(min(self.at, other.at), self.routine and other.routine)


class _Lanes:
    """Keys in turns by kind and namespace."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[tuple[str, str | None], OrderedDict[Key, None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def push(self, key: Key) -> None:
        self._lanes.setdefault((key.kind, key.namespace), OrderedDict())[key] = None

    def pop(self) -> Key:
        lane, keys = next(iter(self._lanes.items()))
        key, _ = keys.popitem(last=False)
        if keys:
            self._lanes.move_to_end(lane)
        else:
            del self._lanes[lane]
        return key

    def take_out(self, key: Key) -> None:
        lane = (key.kind, key.namespace)
        del self._lanes[lane][key]
        if not self._lanes[lane]:
            del self._lanes[lane]

    def clear(self) -> None:
        self._lanes.clear()


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
        self._news, self._routine = _Lanes(), _Lanes()
        self._in_a_row = 0  # keys with news given out since the last routine one
        self._waiting: dict[Key, _Due] = {}
        self._working: dict[Key, _Due | None] = {}  # -> that it was added again, None when it was not
        self._heap: list[tuple[float, int, Key]] = []
        self._delayed: dict[Key, _Due] = {}  # in the future; the heap may hold outdated entries
        self._order = itertools.count()
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        self._closed = False

    # -- in ----------------------------------------------------------------------------------------------------------
    def add(self, key: Key, *, routine: bool = False) -> None:
        """Look at ``key`` as soon as a worker is free; ``routine``: nothing is known to have happened to it. Does nothing
        after ``close``."""
        if not self._closed:
            self._put(key, _Due(self._clock(), routine))

    def add_after(self, key: Key, seconds: float, *, routine: bool = False) -> None:
        """Look at ``key`` in ``seconds``; an earlier date that is set already stays."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key, routine=routine)
            return
        before = self._delayed.get(key)
        due = self._delayed[key] = _Due(self._clock() + seconds, routine).with_(before)
        if before is None or due.at < before.at:
            heapq.heappush(self._heap, (due.at, next(self._order), key))
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
            if self._waiting:
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
            self._put(key, again)

    def close(self) -> None:
        """No more work is taken or given out; work under way goes on."""
        self._closed = True
        self._wake.set()

    def clear(self) -> None:
        """Forget everything that waits and every back-off (at the start of a leadership)."""
        self._news.clear()
        self._routine.clear()
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
        return max((self._clock() - due.at for due in self._waiting.values()), default=0.0)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _put(self, key: Key, due: _Due) -> None:
        if key in self._working:
            self._working[key] = due.with_(self._working[key])
            return
        before = self._waiting.get(key)
        self._waiting[key] = merged = due.with_(before)
        if before is None:
            self._lane(merged).push(key)
            self._wake.set()
        elif before.routine and not merged.routine:
            self._routine.take_out(key)
            self._news.push(key)

    def _lane(self, due: _Due) -> _Lanes:
        return self._routine if due.routine else self._news

    def _pick(self) -> Key:
        routine = self._routine and (not self._news or self._in_a_row >= _NEWS_IN_A_ROW)
        self._in_a_row = 0 if routine else self._in_a_row + 1
        key = (self._routine if routine else self._news).pop()
        since = self._waiting.pop(key).at
        self._delayed.pop(key, None)
        self._working[key] = None
        self._observer.waited(key, self._clock() - since)
        return key

    def _promote(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            key = entry[2]
            if self._stands(entry):  # Otherwise picked up, or set anew, since.
                self._put(key, self._delayed.pop(key))

    def _until_due(self) -> float | None:
        while self._heap and not self._stands(self._heap[0]):
            heapq.heappop(self._heap)
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None

    def _stands(self, entry: tuple[float, int, Key]) -> bool:
        due = self._delayed.get(entry[2])
        return due is not None and due.at == entry[0]
