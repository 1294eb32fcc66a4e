"""Workers: take a key, run its reconciler, and decide from the outcome when to look again.

| outcome | what it was | next look |
|---|---|---|
| ok | a Result | when it says |
| invalid_spec | InvalidSpec, InvalidObject | with the next change |
| conflict | the object moved on under us | now; after a few in a row with back-off |
| dependency | API server or something else does not answer, or says later | back-off, not before Retry-After |
| forbidden | RBAC, admission, credentials | back-off |
| rejected | the API server refuses what we send | back-off, Event |
| timeout | longer than the limit | back-off |
| bug | anything else | back-off, Event, traceback in the log |
| not_leader | the lease is in doubt | soon, if we still lead then |
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping

from jil.api.objects import InvalidObject
from jil.cluster import context
from jil.cluster.clock import Clock
from jil.cluster.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    NotLeader,
    ServerUnavailable,
    TooManyRequests,
)
from jil.cluster.events import EventReason, EventRecorder
from jil.engine.metrics import Metrics
from jil.engine.outcome import DependencyDown, InvalidSpec, Reconcile, Result
from jil.engine.queue import Key, QueueClosed, WorkQueue
from jil.engine.store import Manifest

log = logging.getLogger("jil.reconcile")

#: Conflicts in a row that are answered at once; more mean that somebody else writes all the time.
_EAGER_CONFLICTS = 5
#: Seconds until a key is looked at again whose write was not sent because the lease was in doubt.
_DOUBT_PAUSE = 1.0
#: Who wants to be looked at again in so many seconds or later waits for nothing: that is routine.
_AT_REST = 30.0


class Worker:
    """``run`` in as many tasks as there shall be reconciles at the same time."""

    def __init__(
        self,
        queue: WorkQueue,
        reconcilers: Mapping[str, Reconcile],
        *,
        events: EventRecorder,
        metrics: Metrics,
        clock: Clock,
        find: Callable[[Key], Manifest | None],
        timeout: float,
    ) -> None:
        self._queue = queue
        self._reconcilers = reconcilers
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._find = find
        self._timeout = timeout
        self._conflicts: dict[Key, int] = {}

    async def run(self) -> None:
        """Work until the queue is closed or the task is cancelled."""
        while True:
            try:
                key = await self._queue.get()
            except QueueClosed:
                return
            try:
                await self.work(key)
            finally:
                self._queue.done(key)

    async def work(self, key: Key) -> str:
        """One reconcile; returns its outcome."""
        with context.reconciling(str(key), secrets.token_hex(4)):
            begun = self._clock.monotonic()
            outcome = await self._attempt(key)
            took = self._clock.monotonic() - begun
            if outcome != "conflict":
                self._conflicts.pop(key, None)
            self._metrics.reconciles.labels(key.kind, outcome).inc()
            self._metrics.reconcile_seconds.labels(key.kind).observe(took)
            log.debug("reconciled: %s in %.3f s", outcome, took)
            return outcome

    async def _attempt(self, key: Key) -> str:
        try:
            async with asyncio.timeout(self._timeout):
                result = await self._reconcilers[key.kind](key)
        except NotLeader as error:
            log.info("%s", error)
            self._queue.add_after(key, _DOUBT_PAUSE)
            return "not_leader"
        except (InvalidSpec, InvalidObject) as error:
            log.info("waits for another spec: %s", error)
            self._queue.forget(key)
            return "invalid_spec"
        except (Conflict, AlreadyExists, NotFound, Gone) as error:
            return self._again_at_once(key, error)
        except (TooManyRequests, ServerUnavailable) as error:
            self._again(key, error, at_least=error.retry_after or 0.0)
            return "dependency"
        except DependencyDown as error:
            self._again(key, error)
            return "dependency"
        except Forbidden as error:
            self._again(key, error)
            return "forbidden"
        except Invalid as error:
            self._again(key, error)
            self._tell(key, EventReason.WRITE_REFUSED, f"The API server refused a write: {error}")
            return "rejected"
        except TimeoutError:
            self._again(key, f"took longer than {self._timeout:g} s")
            return "timeout"
        except Exception as error:
            delay = self._queue.retry(key)
            log.exception("reconcile failed, next try in %.1f s", delay)
            self._tell(
                key,
                EventReason.RECONCILE_FAILED,
                f"{type(error).__name__}: {error}. See the operator's log; this is a bug",
            )
            return "bug"
        self._after(key, result)
        return "ok"

    def _after(self, key: Key, result: Result) -> None:
        self._queue.forget(key)
        if result.requeue_after is not None:
            self._queue.add_after(key, result.requeue_after, routine=result.requeue_after >= _AT_REST)

    def _again_at_once(self, key: Key, error: Exception) -> str:
        times = self._conflicts.get(key, 0) + 1
        self._conflicts[key] = times
        if times <= _EAGER_CONFLICTS:
            log.debug("looks again at once: %s", error)
            self._queue.add(key)
        else:
            self._again(key, error)
        return "conflict"

    def _again(self, key: Key, why: object, *, at_least: float = 0.0) -> None:
        delay = self._queue.retry(key, at_least=at_least)
        log.warning("next try in %.1f s: %s", delay, why)

    def _tell(self, key: Key, reason: EventReason, note: str) -> None:
        obj = self._find(key)
        if obj is not None:
            self._events.warning(obj, reason, note, action="Reconcile")
