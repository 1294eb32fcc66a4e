"""Events for people: ``kubectl describe`` and ``kubectl events`` show them. Best effort, never in anybody's way.

Own recorder on events.k8s.io/v1: closed reasons, only Normal and Warning, repetitions become a series on one object,
a budget per object, a bounded queue. ``record`` returns at once and never raises; what cannot be written is counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from jil.api import kinds
from jil.api.conditions import Reason
from jil.api.kinds import Kind
from jil.cluster.client import Manifest
from jil.cluster.clock import Clock
from jil.cluster.errors import ApiError, NotFound, NotLeader
from jil.cluster.lease import micro_time

log = logging.getLogger("jil.events")

CONTROLLER = "jil.io/operator"
#: Bounds of the API: events.k8s.io/v1.
_NOTE_MAX = 1024
_NAME_MAX = 253
#: The namespace in which the API server wants Events about cluster-scoped objects.
_CLUSTER_SCOPED = "default"

EventType = Literal["Normal", "Warning"]


class EventReason(StrEnum):
    """Reasons of Events that are not also reasons of a condition (``jil.api.conditions.Reason``)."""

    CREATED = "Created"
    RESTORED = "Restored"
    UPDATED = "Updated"
    FOREIGN_FIELDS_REMOVED = "ForeignFieldsRemoved"
    DELETED = "Deleted"
    GRANTED = "Granted"
    DENIED = "Denied"
    DISRUPTED = "Disrupted"
    ORPHANED = "Orphaned"
    OVERDUE = "Overdue"
    RECONCILE_FAILED = "ReconcileFailed"
    WRITE_REFUSED = "WriteRefused"
    ADDRESS_CHANGED = "AddressChanged"


class EventClient(Protocol):
    """The part of the client that the recorder uses."""

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """POST."""

    async def merge_patch(self, kind: Kind, name: str, namespace: str | None, body: Manifest) -> Manifest:
        """JSON merge patch."""


@dataclass(frozen=True)
class EventLimits:
    """``burst`` Events per object at once, then one per ``refill`` seconds; repeats are merged for ``window`` seconds
    and written at most every ``series_every`` seconds; ``queue`` is how many may wait for the API server."""

    burst: int = 20
    refill: float = 30.0
    window: float = 600.0
    series_every: float = 30.0
    queue: int = 1000
    remembered: int = 10_000


@dataclass
class _Series:
    name: str
    namespace: str
    count: int
    first: float
    last: float
    written: float


@dataclass
class _Budget:
    tokens: float
    since: float


@dataclass(frozen=True)
class _Post:
    manifest: Manifest


@dataclass(frozen=True)
class _Update:
    name: str
    namespace: str
    series: Mapping[str, Any] = field(hash=False)


class EventRecorder:
    """``record`` from anywhere in the loop; ``run`` writes until it is cancelled. ``count`` is told every outcome:
    "posted", "series", "merged", "limited", "overflow" or "failed"."""

    def __init__(
        self,
        client: EventClient,
        *,
        instance: str,
        clock: Clock,
        limits: EventLimits | None = None,
        count: Callable[[str], None] = lambda outcome: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._instance = instance[:128]
        self._clock = clock
        self._limits = limits or EventLimits()
        self._count = count
        self._sleep = sleep
        self._queue: asyncio.Queue[_Post | _Update] = asyncio.Queue(self._limits.queue)
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()

    def normal(self, regarding: Mapping[str, Any], reason: Reason | EventReason, note: str, *, action: str) -> None:
        """Something went as it should. ``action`` is what was done, one word: "Apply", "Create", "Reconcile"."""
        self.record("Normal", regarding, reason, note, action=action)

    def warning(self, regarding: Mapping[str, Any], reason: Reason | EventReason, note: str, *, action: str) -> None:
        """Somebody should look."""
        self.record("Warning", regarding, reason, note, action=action)

    def record(
        self,
        type_: EventType,
        regarding: Mapping[str, Any],
        reason: Reason | EventReason,
        note: str,
        *,
        action: str,
    ) -> None:
        """An Event about ``regarding`` (an object as read from the API). Returns at once, never raises."""
        try:
            self._record(type_, regarding, reason, note, action)
        except Exception:
            self._count("failed")
            log.exception("event %s about %s was not recorded", reason, regarding.get("metadata", {}).get("name"))

    async def run(self) -> None:
        """Write what was recorded, one request at a time, until cancelled."""
        while True:
            await self._write(await self._queue.get())

    async def drain(self, seconds: float) -> None:
        """Write what is left, for at most ``seconds`` (graceful shutdown)."""
        try:
            async with asyncio.timeout(seconds):
                while not self._queue.empty():
                    await self._write(self._queue.get_nowait())
        except TimeoutError:
            log.info("%d events were left at shutdown", self._queue.qsize())

    # -- inside ------------------------------------------------------------------------------------------------------
    def _record(
        self, type_: EventType, regarding: Mapping[str, Any], reason: Reason | EventReason, note: str, action: str
    ) -> None:
        metadata = regarding["metadata"]
        uid, now = str(metadata.get("uid", "")), self._clock.monotonic()
        note = note if len(note) <= _NOTE_MAX else note[: _NOTE_MAX - 1] + "…"
        identity = hashlib.sha256("\0".join((uid, type_, reason, action, note)).encode()).hexdigest()
        known = self._series.get(identity)
        if known is not None and now - known.last < self._limits.window:
            self._repeat(known, now)
            return
        if not self._spend(uid, now):
            self._count("limited")
            return
        namespace = str(metadata.get("namespace") or _CLUSTER_SCOPED)
        moment = self._clock.now()
        suffix = f".{int(moment.timestamp() * 1_000_000):x}{identity[:4]}"
        name = str(metadata["name"])[: _NAME_MAX - len(suffix)].rstrip(".-") + suffix
        reference = {
            "apiVersion": regarding.get("apiVersion", ""),
            "kind": regarding.get("kind", ""),
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": uid,
            "resourceVersion": metadata.get("resourceVersion", ""),
        }
        manifest: Manifest = {
            "apiVersion": kinds.EVENT.api_version,
            "kind": kinds.EVENT.kind,
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": micro_time(moment),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": action[:128],
            "reason": reason.value,
            "type": type_,
            "note": note,
            "regarding": {key: value for key, value in reference.items() if value},
        }
        self._series[identity] = _Series(name, namespace, 1, now, now, now)
        self._series.move_to_end(identity)
        while len(self._series) > self._limits.remembered:
            self._series.popitem(last=False)
        self._enqueue(_Post(manifest))

    def _repeat(self, known: _Series, now: float) -> None:
        known.count += 1
        known.last = now
        if known.count == 2 or now - known.written >= self._limits.series_every:
            known.written = now
            series = {"count": known.count, "lastObservedTime": micro_time(self._clock.now())}
            self._enqueue(_Update(known.name, known.namespace, series))
        else:
            self._count("merged")

    def _spend(self, uid: str, now: float) -> bool:
        budget = self._budgets.setdefault(uid, _Budget(float(self._limits.burst), now))
        self._budgets.move_to_end(uid)
        while len(self._budgets) > self._limits.remembered:
            self._budgets.popitem(last=False)
        budget.tokens = min(float(self._limits.burst), budget.tokens + (now - budget.since) / self._limits.refill)
        budget.since = now
        if budget.tokens < 1:
            return False
        budget.tokens -= 1
        return True

    def _enqueue(self, item: _Post | _Update) -> None:
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            self._count("overflow")

    async def _write(self, item: _Post | _Update) -> None:
        try:
            if isinstance(item, _Post):
                await self._client.create(kinds.EVENT, item.manifest)
                self._count("posted")
            else:
                await self._client.merge_patch(kinds.EVENT, item.name, item.namespace, {"series": dict(item.series)})
                self._count("series")
        except NotLeader:
            self._count("failed")
        except NotFound:
            # Expired meanwhile (an hour by default); the next repetition outside the window makes a new one.
            self._count("failed")
        except ApiError as error:
            self._count("failed")
            log.warning("event was not written: %s", error)
            # One Event lost is enough of a hint: do not hammer a server that is in trouble.
            await self._sleep(min(error.retry_after or 1.0, 30.0))
