"""One term of leadership: everything is looked at once, then what changes, until the term is over."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jil.api.kinds import Kind
from jil.cluster.clock import Clock
from jil.cluster.errors import ApiError, NotLeader
from jil.cluster.events import EventRecorder
from jil.engine.metrics import Metrics
from jil.engine.outcome import Reconcile
from jil.engine.queue import Key, WorkQueue
from jil.engine.routes import key_of
from jil.engine.settings import Settings
from jil.engine.store import Manifest, Store
from jil.engine.worker import Worker

log = logging.getLogger("jil.term")

#: Runs while leading; started again when it ends with an error of the API server.
Background = Callable[[], Coroutine[Any, Any, None]]

_RETRY_SECONDS = 2.0


class Term:
    """``serve`` until it is cancelled (the lease is lost) or has drained (the process ends)."""

    def __init__(
        self,
        queue: WorkQueue,
        store: Store,
        reconcilers: Mapping[str, Reconcile],
        *,
        kinds: Sequence[Kind],
        events: EventRecorder,
        metrics: Metrics,
        clock: Clock,
        settings: Settings,
        prepare: Callable[[], Awaitable[None]],
        missed: Callable[[], Iterable[Key]] = tuple,
        background: Sequence[Background] = (),
    ) -> None:
        """``missed``: what changed lately while nobody here led, to be looked at before everything else."""
        self._queue = queue
        self._store = store
        self._kinds = tuple(kind for kind in kinds if kind.kind in reconcilers)
        self._settings = settings
        self._prepare = prepare
        self._missed = missed
        self._background = tuple(background)
        self._worker = Worker(
            queue,
            reconcilers,
            events=events,
            metrics=metrics,
            clock=clock,
            find=self._find,
            timeout=settings.reconcile_timeout,
        )
        self._working: list[asyncio.Task[None]] = []
        #: Whether changes in the store are worth a place in the queue.
        self.serving = False

    async def serve(self) -> None:
        """Raises an ExceptionGroup when a worker or background task fails: a bug, since they catch what may happen."""
        try:
            # First: what changes while everything is read must not be missed.
            self._queue.clear()
            self.serving = True
            await self._prepare()
            for key in self._missed():
                self._queue.add(key)
            for key in self._keys():
                self._queue.add(key, routine=True)
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(self._resync())]
                others += [group.create_task(_keep_running(each)) for each in self._background]
                self._working = [group.create_task(self._worker.run()) for _ in range(self._settings.workers)]
                await asyncio.wait(self._working)
                for other in others:
                    other.cancel()
        finally:
            self.serving = False
            self._working = []

    async def drain(self, seconds: float) -> None:
        """Take no more work and give what is under way ``seconds`` to end; what does not is cancelled later."""
        self._queue.close()
        if self._working:
            _, pending = await asyncio.wait(self._working, timeout=seconds)
            if pending:
                log.warning("%d reconciles did not end in %g s and are broken off", self._queue.working(), seconds)

    async def _resync(self) -> None:
        """Look at everything about once per ``resync`` seconds, evenly spread."""
        while True:
            for key in self._keys():
                seconds = self._settings.resync * random.uniform(0.5, 1.5)  # noqa: S311 (jitter)
                self._queue.add_after(key, seconds, routine=True)
            await asyncio.sleep(self._settings.resync)

    def _keys(self) -> Iterator[Key]:
        for kind in self._kinds:
            for obj in self._store.list(kind):
                yield key_of(kind, obj)

    def _find(self, key: Key) -> Manifest | None:
        kind = next((kind for kind in self._kinds if kind.kind == key.kind), None)
        return self._store.get(kind, key.namespace, key.name) if kind else None


async def _keep_running(background: Background) -> None:
    while True:
        try:
            await background()
            return
        except (ApiError, NotLeader) as error:
            log.warning("background task begins again in %g s: %s", _RETRY_SECONDS, error)
        await asyncio.sleep(_RETRY_SECONDS)
