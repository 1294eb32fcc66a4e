"""What every reconciler is given. Built once in app.py; tests build it with a real API server and a fake clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from jil.api.kinds import Kind
from jil.cluster.apply import Applier
from jil.cluster.client import KubeClient, Manifest
from jil.cluster.clock import Clock
from jil.cluster.disruption import Gate
from jil.cluster.errors import NotFound
from jil.cluster.events import EventRecorder
from jil.cluster.record import RecordStore
from jil.cluster.status import StatusWriter
from jil.controller.pod_ends import PodEnds
from jil.engine.store import Store
from jil.engine.typed import Typed
from jil.observe.health import HealthPoller
from jil.render.platform import Platform


@dataclass(frozen=True)
class Deps:
    client: KubeClient
    store: Store
    applier: Applier
    events: EventRecorder
    statuses: StatusWriter
    records: RecordStore
    gate: Gate
    health: HealthPoller
    clock: Clock
    pod_ends: PodEnds
    system_namespace: str
    cluster_uid: str
    """UID of the namespace kube-system: what tells this cluster from every other."""
    platform: Platform = field(default_factory=Platform)
    """What this cluster adds to every pod of a node."""

    orphan_grace: float = 60.0
    """Seconds for which children without a JILNode are left alone."""

    typed: Typed = field(default_factory=Typed)
    """Typed views of what the store holds."""

    async def find(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        """The object as the watch has it, else read live, else None: a watch that lags is no proof that it is not there."""
        known = self.store.get(kind, namespace, name)
        if known is not None:
            return known
        try:
            return await self.client.get(kind, name, namespace)
        except NotFound:
            return None
