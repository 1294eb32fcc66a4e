"""Compare the store with the server: what a watch lost comes to light here.

A relist after 410 Gone emits no deletions, and a half-dead watch emits nothing at all. So every few minutes each kind
is listed (metadata only) and compared by UID and resourceVersion. An object that the server does not have is dropped;
one that is newer on the server, even after a moment of grace, is read in full. Both change the store, whose listener
enqueues whom it concerns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jil.api.kinds import Kind
from jil.cluster.client import Listing
from jil.cluster.errors import ApiError, NotFound
from jil.engine.metrics import Metrics
from jil.engine.store import Store, version_of
from jil.engine.watch import WatchSpec

log = logging.getLogger("jil.sweep")

#: Sweeps in a row that must find something missed before the watch of that kind counts as deaf.
_DEAF_AFTER = 2


class SweepClient(Protocol):
    """The part of the client that a sweep needs."""

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> dict[str, Any]:
        """GET."""

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        metadata_only: bool = False,
    ) -> Listing:
        """All objects."""


@dataclass(frozen=True)
class Found:
    """What one sweep of one kind brought to light."""

    missed: int
    ghosts: int


class Sweeper:
    """``fill`` once at the start, then ``sweep`` from time to time."""

    def __init__(
        self,
        client: SweepClient,
        store: Store,
        specs: Sequence[WatchSpec],
        metrics: Metrics,
        *,
        grace: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._store = store
        self._specs = tuple(specs)
        self._metrics = metrics
        self._grace = grace
        self._sleep = sleep
        self._missed_in_a_row: dict[Kind, int] = {}

    async def fill(self) -> None:
        """Read every watched kind in full: afterwards the store is complete. Raises ApiError."""
        for spec in self._specs:
            listing = await self._client.list(spec.kind, spec.namespace, label_selector=spec.selector)
            for obj in listing.items:
                self._store.put(spec.kind, obj)
            self._drop_ghosts(spec.kind, listing)

    async def sweep(self, *, judge: bool = True) -> dict[str, Found]:
        """Compare every kind; a kind that cannot be listed is counted and left for the next time.

        Without ``judge`` what was missed says nothing about the watch: it may not have begun yet.
        """
        found: dict[str, Found] = {}
        for spec in self._specs:
            try:
                found[spec.kind.kind] = await self._sweep(spec, judge=judge)
            except ApiError as error:
                self._metrics.sweep_failures.labels(spec.kind.kind).inc()
                log.warning("sweep of %s was not possible: %s", spec.kind.kind, error)
        return found

    def deaf_kinds(self) -> list[str]:
        """Kinds whose watch missed something in two sweeps in a row."""
        return [kind.kind for kind, times in self._missed_in_a_row.items() if times >= _DEAF_AFTER]

    async def _sweep(self, spec: WatchSpec, *, judge: bool) -> Found:
        listing = await self._client.list(spec.kind, spec.namespace, label_selector=spec.selector, metadata_only=True)
        ghosts = self._drop_ghosts(spec.kind, listing)
        behind = self._behind(spec.kind, listing)
        if behind:
            # The watch may be just about to say the same.
            await self._sleep(self._grace)
            behind = self._behind(spec.kind, listing)
        for obj in behind:
            await self._catch_up(spec.kind, obj)
        missed = len(behind)
        if judge:
            times = self._missed_in_a_row.get(spec.kind, 0)
            self._missed_in_a_row[spec.kind] = times + 1 if missed or ghosts else 0
        if missed or ghosts:
            log.warning("sweep of %s: the watch had missed %d changes and %d deletions", spec.kind.kind, missed, ghosts)
            self._metrics.sweep_missed.labels(spec.kind.kind).inc(missed)
        return Found(missed, ghosts)

    def _drop_ghosts(self, kind: Kind, listing: Listing) -> int:
        """What is older than the list and not in it is gone."""
        listed = {str(item["metadata"].get("uid", "")) for item in listing.items}
        until = int(listing.resource_version) if listing.resource_version.isdigit() else 0
        ghosts = 0
        for known in self._store.known(kind):
            if known.uid in listed or known.version > until:
                continue
            gone = self._store.get(kind, known.namespace, known.name)
            if gone is not None and self._store.remove(kind, gone, version=until):
                ghosts += 1
        self._metrics.sweep_ghosts.labels(kind.kind).inc(ghosts)
        return ghosts

    def _behind(self, kind: Kind, listing: Listing) -> list[dict[str, Any]]:
        known = {each.uid: each.version for each in self._store.known(kind)}
        behind = []
        for item in listing.items:
            uid = str(item["metadata"].get("uid", ""))
            if version_of(item) > known.get(uid, -1) and not self._store.buried(kind, item):
                behind.append(item)
        return behind

    async def _catch_up(self, kind: Kind, item: dict[str, Any]) -> None:
        metadata = item["metadata"]
        try:
            self._store.put(kind, await self._client.get(kind, metadata["name"], metadata.get("namespace")))
        except NotFound:
            self._store.remove(kind, item)
