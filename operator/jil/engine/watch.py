"""Kopf as a watch multiplexer, and nothing else.

One ``on.event`` handler per kind hands the raw object over to the main loop and returns None. Kopf runs in a thread
and loop of its own: it starves nobody, nobody starves it, and its habit of cancelling every task of its loop at the end
hits nothing of ours. What is switched off or set, and why (measured with 1.45.2):

- ``standalone``: peering is no leader election. Posting: our own recorder writes Events. Scanning: the kinds are known.
- A finalizer name of our own: with the default one Kopf would patch the objects of other Kopf operators.
- Long back-offs: an API server that answers 5xx or 403 for longer than them ends the operator (a dead watcher does).
- The default ``initial_streaming`` (off): an interrupted initial stream may miss objects.

When Kopf begins to end although nobody asked it to, ``ended`` says so at once: it may never finish (its other watchers
wait for ever for a new login), and the process must end too, deaf it is of no use.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import kopf

from jil.api.kinds import SECRET, Kind
from jil.cluster.access import Access, Credentials

log = logging.getLogger("jil.watch")

Manifest = dict[str, Any]
#: (kind, event type, object); the type is None for objects of the initial list.
Deliver = Callable[[Kind, str | None, Manifest], None]

#: Seconds between tries of one request: about half an hour of trouble before the watch gives up.
ERROR_BACKOFFS: tuple[int, ...] = (1, 1, 2, 3, 5, 8, 13, 21, *([30] * 60))
#: For all Kopfs together.
_STOP_SECONDS = 8.0


@dataclass(frozen=True)
class WatchSpec:
    """One watched kind. ``namespace`` None watches all; ``selector`` is a server-side label selector."""

    kind: Kind
    selector: str | None = None
    namespace: str | None = None
    #: Objects that we own: apply compares their managedFields, so the store keeps them.
    child: bool = False

    def __post_init__(self) -> None:
        if self.kind == SECRET:
            raise ValueError("Secrets are never watched: a copy of every key would lie in the operator's memory")


class KopfWatch:
    """Watches ``specs`` from ``start`` to ``stop``; made in the event loop in which ``deliver`` is called."""

    def __init__(self, specs: Sequence[WatchSpec], access: Access, deliver: Deliver) -> None:
        self._access = access
        self._deliver = deliver
        self._scopes = _by_scope(specs)
        self._threads: list[_KopfThread] = []
        #: Why Kopf has ended although nobody asked it to.
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def started(self) -> bool:
        """Whether there is anything that could hear."""
        return bool(self._threads)

    def start(self) -> None:
        """Start one Kopf per scope (all namespaces, or one). Every kind must be served by then.

        Kopf looks once, at its start, at what the API server serves: a kind whose CRD comes later is never watched.
        """
        loop = asyncio.get_running_loop()
        for namespace, specs in self._scopes.items():
            registry = _registry(specs, self._access, _Handover(loop, self._deliver))
            thread = _KopfThread(namespace, registry, _settings(specs), on_end=_Handover(loop, self._on_end))
            self._threads.append(thread)
            thread.start()

    def alive(self) -> bool:
        """Whether every Kopf that was started is running."""
        return all(thread.is_alive() for thread in self._threads)

    async def stop(self) -> None:
        """Ask every Kopf to end and wait a little; what does not end is left to the end of the process."""
        for thread in self._threads:
            thread.ask_to_stop()
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        until = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _on_end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)


def _by_scope(specs: Iterable[WatchSpec]) -> dict[str | None, list[WatchSpec]]:
    scopes: dict[str | None, list[WatchSpec]] = {}
    for spec in specs:
        scopes.setdefault(spec.namespace, []).append(spec)
    return scopes


class _Handover:
    """Calls a function in the main loop; after that has closed, nothing."""

    def __init__(self, main: asyncio.AbstractEventLoop, function: Callable[..., None]) -> None:
        self._main = main
        self._function = function

    def __call__(self, *arguments: Any) -> None:
        try:
            self._main.call_soon_threadsafe(self._function, *arguments)
        except RuntimeError:
            log.debug("the main loop is closed, nothing can be delivered")


class _KopfThread(threading.Thread):
    def __init__(
        self,
        namespace: str | None,
        registry: kopf.OperatorRegistry,
        settings: kopf.OperatorSettings,
        *,
        on_end: Callable[[str], None],
    ) -> None:
        super().__init__(name=f"kopf-{namespace or 'cluster'}", daemon=True)
        self._namespace = namespace
        self._registry = registry
        self._settings = settings
        self._on_end = on_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_flag: asyncio.Event | None = None
        self._asked = threading.Event()

    def run(self) -> None:
        why = "ended by itself"
        try:
            asyncio.run(self._operate())
        except BaseException as error:
            why = f"{type(error).__name__}: {error}"
            log.debug("kopf ended", exc_info=True)
        self._tell(why)

    def _tell(self, why: str) -> None:
        if not self._asked.is_set():
            self._on_end(f"{self.name} {why}")

    def _root_ended(self, task: asyncio.Task[Any]) -> None:
        """Kopf's root tasks run for ever: when the first ends, the whole of it is about to."""
        error = None if task.cancelled() else task.exception()
        self._tell(f"{task.get_name()} has ended: {type(error).__name__}: {error}" if error else "is ending")

    def ask_to_stop(self) -> None:
        self._asked.set()
        if self._loop is not None and self._stop_flag is not None:
            try:
                self._loop.call_soon_threadsafe(self._stop_flag.set)
            except RuntimeError:
                log.debug("%s has ended already", self.name)

    async def _operate(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_flag = asyncio.Event()
        if self._asked.is_set():
            return
        scope: dict[str, Any] = {"namespaces": [self._namespace]} if self._namespace else {"clusterwide": True}
        ours = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self._registry, settings=self._settings, standalone=True, stop_flag=self._stop_flag, **scope
        )
        for task in tasks:
            task.add_done_callback(self._root_ended)
        await kopf.run_tasks(tasks, ignored=ours)


@dataclass(frozen=True, kw_only=True)
class _Login(kopf.ConnectionInfo):
    """Kopf's connections have the TLS of ours: by itself it writes an inline key into a file while it builds a context.

    Two logins are the same when server and token are: of one that was refused Kopf asks for another, else it ends.
    """

    tls: Credentials = field(compare=False, repr=False)

    def as_ssl_context(self) -> ssl.SSLContext:
        context = self.tls.ssl_context(fresh=True)
        return context if isinstance(context, ssl.SSLContext) else super().as_ssl_context()


def _registry(specs: Sequence[WatchSpec], access: Access, hand_over: Deliver) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    credentials = Credentials(access)

    @kopf.on.login(registry=registry, id="jil-login")
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return _Login(
            server=access.server,
            scheme="Bearer" if access.token or access.token_file else None,
            # Asked for at the start and after a 401: read the file as it is now.
            token=credentials.token(fresh=True),
            tls=credentials,
        )

    for spec in specs:
        _watch(registry, spec.kind, hand_over)
    return registry


def _watch(registry: kopf.OperatorRegistry, kind: Kind, hand_over: Deliver) -> None:
    async def on_event(event: Any, **_: Any) -> None:
        hand_over(kind, event.get("type"), event["object"])

    kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"watch-{kind.plural}")(on_event)


class _NoDiffs(kopf.DiffBaseStorage):
    """Kopf copies the object of every event in full, to tell change handlers what is new. We have none, and the copies
    were a twelfth of the operator's CPU during a bring-up."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


def _settings(specs: Sequence[WatchSpec]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = "jil.io/kopf-is-not-used-for-finalizers"
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.networking.error_backoffs = ERROR_BACKOFFS
    settings.networking.trust_env = False
    settings.networking.connect_timeout = 10
    settings.queueing.idle_timeout = 1.0
    for spec in specs:
        if spec.selector:
            settings.watching.label_selectors[spec.kind.group, spec.kind.version, spec.kind.plural] = spec.selector
    return settings


def quiet_kopf() -> None:
    """Kopf says "Handler succeeded" for every event, at INFO; and its warnings are ours to hear."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
