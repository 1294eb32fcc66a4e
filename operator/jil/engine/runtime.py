"""The operator's process: watches, store, leader election, workers, and an orderly end.

    async with Runtime(settings, watches) as runtime:
        reconcilers = {...}            # built on runtime.client, .store, .applier, .statuses, .events, .clock
        code = await runtime.run(reconcilers, routes)

Every replica watches and keeps its store full; only the leader works. Leadership that is lost ends the workers, not
the process: after an outage of the API server the same process stands for election again, with a warm store and a new
fencing number. What must end the process (exit code 1): Kopf has ended, a task of ours has failed, workers do not stop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from jil.api import kinds
from jil.api.kinds import Kind
from jil.cluster import access
from jil.cluster.apply import Applier
from jil.cluster.client import KubeClient
from jil.cluster.clock import Clock, SystemClock
from jil.cluster.connection import Connection
from jil.cluster.errors import ApiError, NotLeader
from jil.cluster.events import EventRecorder
from jil.cluster.lease import LeaderElector
from jil.cluster.status import StatusWriter
from jil.engine.metrics import Metrics
from jil.engine.missed import Missed
from jil.engine.outcome import Reconcile, Result
from jil.engine.queue import WorkQueue
from jil.engine.routes import Later, Route
from jil.engine.server import HttpServer
from jil.engine.settings import Settings
from jil.engine.store import Change, Manifest, Store
from jil.engine.sweep import Sweeper
from jil.engine.term import Background, Term
from jil.engine.watch import KopfWatch, WatchSpec
from jil.engine.watchdog import Watchdog

__all__ = ["Reconcile", "Result", "Runtime"]

log = logging.getLogger("jil.runtime")

#: Seconds that workers get to end after the lease is lost; then the process ends itself.
_LOST_SECONDS = 5.0
#: A store that was filled this recently need not be filled again when leadership begins.
_FRESH_SECONDS = 10.0
#: Pauses before the first sweeps: what is deleted between our first list and the watch's own is seen by nobody else,
#: and nothing says when Kopf has listed a kind.
_EARLY_SWEEPS = (2.0, 3.0, 5.0, 10.0)
_RETRY_SECONDS = 2.0
#: Of the garbage collector: new objects before the youngest are looked at, and how often before the older ones are.
_PORTIONS = (20_000, 20, 20)
_EVENT_SECONDS = 2.0


class Runtime:
    """``watches`` are the watched kinds; the Lease is added, it is the watchdog's heartbeat."""

    def __init__(
        self,
        settings: Settings,
        watches: Sequence[WatchSpec],
        *,
        clock: Clock | None = None,
        way_in: access.Access | None = None,
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.metrics = Metrics()
        self.queue = WorkQueue(observer=self.metrics)
        self.store = Store(children=[spec.kind for spec in watches if spec.child], listener=self._changed)
        self._watches = tuple(watches)
        self._access = way_in or access.find(settings.kubeconfig, settings.kube_context)
        self._routes: Mapping[Kind, Route] = {}
        self._missed = Missed(self.clock.monotonic)
        self._stop = asyncio.Event()
        self._filled: float | None = None
        self._term: Term | None = None

    async def __aenter__(self) -> Self:
        settings, times = self.settings, self.settings.lease_times()
        # Two pools: a hundred slow writes must not keep the Lease from being renewed.
        self._connection = Connection(
            access.Credentials(self._access), write_timeout=times.grace, observe=self.metrics.request
        )
        self._lease_connection = Connection(
            access.Credentials(self._access), limit=2, write_timeout=times.call, observe=self.metrics.request
        )
        self.client = KubeClient(self._connection, fence=self.fence)
        self.elector = LeaderElector(
            KubeClient(self._lease_connection, fence=_open),
            name=settings.lease_name,
            namespace=settings.system_namespace,
            identity=settings.identity(),
            clock=self.clock,
            times=times,
        )
        self.events = EventRecorder(self.client, instance=settings.pod_name, clock=self.clock, count=self.metrics.event)
        self.applier = Applier(
            self.client, remember=self._remember, count=lambda change: self.metrics.applies.labels(change).inc()
        )
        self.statuses = StatusWriter(self.client, clock=self.clock, remember=self._remember)
        self._sweeper = Sweeper(self.client, self.store, self._watches, self.metrics, grace=settings.sweep_grace)
        self._watchdog = Watchdog(
            clock=self.clock,
            # Before the watch has begun nothing can come back by it, and no restart would mend that.
            last_seen=lambda: self.elector.last_seen if self._watch.started else None,
            heartbeat_limit=settings.heartbeat_limit,
            lag_limit=settings.loop_lag_limit,
            deaf_kinds=self._sweeper.deaf_kinds,
        )
        heartbeat = WatchSpec(kinds.LEASE, namespace=settings.system_namespace)
        self._watch = KopfWatch([*self._watches, heartbeat], self._access, self._heard)
        self.server = HttpServer(
            host=settings.http_host,
            port=settings.http_port,
            live=self._live,
            ready=self._ready,
            registry=self.metrics.registry,
        )
        self.metrics.show_queue(self.queue)
        self.metrics.show_store(lambda: [(spec.kind.kind, self.store.count(spec.kind)) for spec in self._watches])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()
        await self._lease_connection.close()

    # -- what reconcilers and tests ask ------------------------------------------------------------------------------
    def fence(self) -> None:
        """Raises NotLeader unless this process surely leads; the client asks before every write."""
        try:
            self.elector.fence()
        except NotLeader:
            self.metrics.fence_refusals.inc()
            raise

    def stop(self) -> None:
        """Begin the orderly end, as SIGTERM does."""
        self._stop.set()

    # -- the process -------------------------------------------------------------------------------------------------
    async def run(
        self,
        reconcilers: Mapping[str, Reconcile],
        routes: Mapping[Kind, Route],
        *,
        on_lead: Callable[[int], Awaitable[None]] | None = None,
        background: Sequence[Background] = (),
    ) -> int:
        """Run until SIGTERM or failure; returns the exit code.

        ``on_lead`` is awaited with the fencing number before the first reconcile of a leadership (the gate seals its
        ledger) and tried again until it succeeds; ``background`` runs while leading.
        """
        self._routes = routes
        term = Term(
            self.queue,
            self.store,
            reconcilers,
            kinds=[spec.kind for spec in self._watches],
            events=self.events,
            metrics=self.metrics,
            clock=self.clock,
            settings=self.settings,
            prepare=self._prepare(on_lead),
            missed=self._missed.take,
            background=background,
        )
        self._term = term
        restore = self._catch_signals()
        await self.server.start()
        tasks = {
            asyncio.create_task(work, name=name)
            for name, work in {
                "leadership": self._lead(term),
                "events": self.events.run(),
                "sweep": self._sweep_forever(),
                "watchdog": self._watchdog.run(self._report),
            }.items()
        }
        try:
            code = await self._until_end(tasks)
            await self._wind_up(tasks, term)
        finally:
            restore()
            await self.server.stop()
        return code

    async def _until_end(self, tasks: set[asyncio.Task[None]]) -> int:
        stopped = asyncio.create_task(self._stop.wait())
        ended = self._watch.ended
        awaited: set[asyncio.Future[Any]] = {stopped, ended, *tasks}
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if ended.done():
            self.metrics.watch_exits.inc()
            log.critical("the watch has ended: %s; the operator ends too, it would be deaf", ended.result())
            return 1
        failed = [task for task in tasks if task.done()]
        for task in failed:
            log.critical("task %s has ended", task.get_name(), exc_info=None if task.cancelled() else task.exception())
        return 1 if failed else 0

    async def _wind_up(self, tasks: set[asyncio.Task[None]], term: Term) -> None:
        """Finish what is under way, then everything else, and the lease last: until then nobody else begins."""
        log.info("shutting down")
        await term.drain(self.settings.shutdown)
        if self.elector.leading:
            await self.events.drain(_EVENT_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.elector.release()
        self.metrics.leader.set(0)
        await self._watch.stop()
        log.info("shut down")

    # -- leadership --------------------------------------------------------------------------------------------------
    async def _lead(self, term: Term) -> None:
        while True:
            held = await self.elector.acquire()
            log.info("leading with fencing number %d", held.fencing)
            self.metrics.leaderships.inc()
            self.metrics.fencing.set(held.fencing)
            working = asyncio.create_task(term.serve(), name="term")
            try:
                why = await self._hold_during(working)
            finally:
                await self._end(working)
            log.warning("not leading any more: %s", why)

    async def _hold_during(self, working: asyncio.Task[None]) -> str:
        """Hold the lease; returns why it is lost. Raises what made the workers fail."""
        holding = asyncio.create_task(self.elector.hold(), name="hold")
        try:
            await asyncio.wait({holding, working}, return_when=asyncio.FIRST_COMPLETED)
            if not holding.done():
                working.result()  # Failed, or drained: then the lease is held on to until it is released.
            return await holding
        finally:
            holding.cancel()

    async def _end(self, working: asyncio.Task[None]) -> None:
        working.cancel()
        _, pending = await asyncio.wait({working}, timeout=_LOST_SECONDS)
        if pending:
            log.critical("reconciles have not stopped in %g s: ending the process", _LOST_SECONDS)
            os._exit(1)

    def _prepare(self, on_lead: Callable[[int], Awaitable[None]] | None) -> Callable[[], Awaitable[None]]:
        async def prepare() -> None:
            if self._filled is None or self.clock.monotonic() - self._filled > _FRESH_SECONDS:
                await self._fill()
            if on_lead is not None:
                await _until_done(lambda: on_lead(self.elector.fencing), "the first act of a leadership")

        return prepare

    # -- what comes in -----------------------------------------------------------------------------------------------
    def _heard(self, kind: Kind, type_: str | None, obj: Manifest) -> None:
        """An event of the watch, in the main loop."""
        self.metrics.watch_events.labels(kind.kind, type_ or "LISTED").inc()
        if kind == kinds.LEASE:
            if obj["metadata"]["name"] == self.settings.lease_name:
                self._watchdog.heard(str(obj["metadata"].get("resourceVersion", "")))
        elif type_ == "DELETED":
            self.store.remove(kind, obj)
        else:
            self.store.put(kind, obj)

    def _changed(self, change: Change) -> None:
        route = self._routes.get(change.kind)
        serving = self._term is not None and self._term.serving
        # Routes are asked on a standby too, they may keep what they see; there is no work before leadership begins,
        # and then everything is looked at, what changed lately first.
        for key in route(change) if route else ():
            if not serving:
                if self._filled is not None:  # the first fill is no change
                    self._missed.note(key.key if isinstance(key, Later) else key)
            elif isinstance(key, Later):
                self.queue.add_after(key.key, key.seconds)
            else:
                self.queue.add(key)

    def _remember(self, kind: Kind, obj: Manifest) -> None:
        self.store.put(kind, obj)

    async def _fill(self) -> None:
        await _until_done(self._sweeper.fill, "reading every watched kind")
        self._filled = self.clock.monotonic()

    async def _sweep_forever(self) -> None:
        # Before the watch: a kind whose CRD is missing is waited for here, Kopf would never hear of it.
        await self._fill()
        _spare_the_heap()
        log.info("the store is full")
        self._watch.start()
        for pause in _EARLY_SWEEPS:
            await asyncio.sleep(min(pause, self.settings.sweep))
            await self._sweeper.sweep(judge=False)
        while True:
            await asyncio.sleep(self.settings.sweep * random.uniform(0.9, 1.1))  # noqa: S311 (jitter)
            await self._sweeper.sweep()

    # -- probes and signals ------------------------------------------------------------------------------------------
    def _live(self) -> list[str]:
        return self._watchdog.problems() + ([] if self._watch.alive() else ["the watch has ended"])

    def _ready(self) -> list[str]:
        return (
            [] if self._filled is not None else ["the store is not full yet: the API server has not listed every kind"]
        )

    def _report(self, lag: float, age: float) -> None:
        self.metrics.loop_lag.set(lag)
        self.metrics.heartbeat_age.set(age)
        self.metrics.leader.set(1 if self.elector.leading else 0)

    def _catch_signals(self) -> Callable[[], None]:
        """SIGTERM and SIGINT end the process in order; SIGCONT means that it was stopped, for how long nobody knows."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        # Not through the loop: this runs before the next byte code, so before a write that was being prepared is sent.
        before = signal.signal(signal.SIGCONT, self._resumed)

        def restore() -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            signal.signal(signal.SIGCONT, before)

        return restore

    def _resumed(self, *_: object) -> None:
        self.elector.doubt()
        self._connection.sever()
        self._lease_connection.sever()


def _spare_the_heap() -> None:
    """Modules, models and the store's trees live as long as the process and are freed, if at all, by their count: a
    collector that goes through them again and again finds nothing. It was an eighth of the CPU of a bring-up, in pauses of
    0.1 s at 30 nodes. What comes later is collected as ever, in larger portions."""
    gc.set_threshold(*_PORTIONS)
    gc.collect()
    gc.freeze()


def _open() -> None:
    """The fence of the election itself: who does not lead must be able to take the lease."""


async def _until_done(attempt: Callable[[], Awaitable[None]], what: str) -> None:
    """Try until it succeeds; an API server that does not answer is waited out."""
    while True:
        try:
            await attempt()
            return
        except (ApiError, NotLeader) as error:
            log.warning("%s is tried again in %g s: %s", what, _RETRY_SECONDS, error)
        await asyncio.sleep(_RETRY_SECONDS)
