"""Children whose JILNode is gone: its finalizer was taken off by hand, or a backup brought them back without it.

They are taken down as a deletion would have done it, in order and under grants where power is at stake; volumes, keys,
record and the p2p Service stay. Not at once: whoever lost a JILNode by mistake has a while to apply it again, and the
API server itself is asked whether it is really gone.

Until its validator may go it is a member like any other: it is heard, and a pod that was evicted is let start again, as
that of a node whose deletion waits. It is not drained: what admits a drain admits the removal, which is asked for anyway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.network import JILNetwork
from jil.api.objects import InvalidObject
from jil.api.record import JILNodeRecord
from jil.cluster.client import Manifest
from jil.cluster.errors import NotFound
from jil.cluster.events import EventReason
from jil.controller import node_facts
from jil.controller.deps import Deps
from jil.controller.node_acts import NodeActs
from jil.controller.node_audit import audit
from jil.controller.node_gate import ActSubject
from jil.controller.node_removal import CLEARED, NodeRemoval
from jil.controller.permits import PermitFor
from jil.engine.queue import Key
from jil.engine.runtime import Result
from jil.plan.lifecycle import Goal, plan_lifecycle

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0
"""How often the store is searched for children without a node: after a restart nobody tells of them."""
POLL_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 15.0
"""How soon it is looked again for what ends by itself, or by somebody's hand."""

_WORKLOADS: Final = (kinds.STATEFUL_SET, kinds.DEPLOYMENT, kinds.POD)


Permit = Callable[[PermitFor, JILNodeRecord], Awaitable[tuple[JILNodeRecord, tuple[Reason, str] | None]]]
"""Gives the pod of a validator its permit. The record as it is then, and why the pod has to wait, if it has to."""


class Orphans:
    """The children of one JILNode that does not exist, and the search for such nodes."""

    def __init__(self, deps: Deps, acts: NodeActs, removal: NodeRemoval, permit: Permit) -> None:
        self._deps = deps
        self._permit = permit
        self._acts = acts
        self._removal = removal
        self._since: dict[Key, float] = {}
        self._told: set[Key] = set()

    async def __call__(self, key: Key) -> Result:
        """One step of taking down what ``key``, a JILNode that the store does not have, left behind."""
        namespace = key.namespace or ""
        children = list(self._left(namespace, key.name))
        if not children or not self._alive(namespace):
            self._since.pop(key, None)
            if key in self._told:
                self._told.discard(key)
                kept = "its JILNode is gone; volumes, keys, record and p2p Service are kept"
                audit("orphans.removed", node=f"{namespace}/{key.name}", why=kept)
            return Result()
        await self._let_start(namespace, key.name, children)
        grace, now = self._deps.orphan_grace, self._deps.clock.monotonic()
        waited = now - self._since.setdefault(key, now)
        if waited < grace:
            return Result(requeue_after=grace - waited)
        try:
            live = await self._deps.client.get(kinds.JIL_NODE, key.name, namespace)
        except NotFound:
            pass
        else:
            self.back(key)
            # Old news to the store is a JILNode that it saw go: its events come, asking again at once changes nothing.
            news = self._deps.store.put(kinds.JIL_NODE, live)
            return Result(requeue_after=0.0 if news else WAIT_SECONDS)
        subject = self._subject(namespace, key.name, children)
        if key not in self._told:
            self._told.add(key)
            self._tell(subject, children)
        workloads = node_facts.workloads(self._deps, namespace, key.name, [])
        plan = plan_lifecycle(Goal.DELETED, workloads)
        if await self._acts.perform(subject, plan) is not None:
            return Result(requeue_after=POLL_SECONDS)  # the refusal has its Event and its audit line
        if plan.stranded and plan.waiting:
            self._deps.events.warning(subject.raw, EventReason.ORPHANED, plan.waiting, action="TakeDown")
        if plan.done:
            await self._removal.clear(subject)
        # What ends, ends with an event of its own: the look in between is for what was missed.
        return Result(requeue_after=1.0 if plan.done or plan.act else WAIT_SECONDS)

    async def _let_start(self, namespace: str, name: str, children: list[Manifest]) -> None:
        """The network cannot spare this validator, or its JILNode is about to be applied again: a pod that Kubernetes
        made anew starts as it would have with its JILNode. By the record of just that JILNode, read live: another one that
        has taken it over since may start its own."""
        record = self._record(namespace, name, children)
        record = await self._deps.records.read(record.spec.node_id) if record else None
        if record is None or not _made_by(record, namespace, name, children):
            return
        if record.spec.cluster_uid != self._deps.cluster_uid:
            return  # restored from another cluster, where its validator may be running (I1): a JILNode has to say so
        record, hold = await self._permit(PermitFor(namespace, name), record)
        if hold is not None:
            note = (
                f"the validator of {namespace}/{name}, whose JILNode is gone, waits: {hold[1]}. Apply the JILNode again"
            )
            self._deps.events.warning(self._told_at(namespace), hold[0], note, action="Start")

    def back(self, key: Key) -> None:
        """The JILNode is there: should it be lost once more, its grace begins anew and it is told again."""
        self._since.pop(key, None)
        self._told.discard(key)

    def _tell(self, subject: ActSubject, children: list[Manifest]) -> None:
        note = (
            f"JILNode {subject.node} does not exist, but {len(children)} of its children do: they are taken down in order,"
            " volumes and keys stay. To keep the node, apply its JILNode again"
        )
        self._deps.events.warning(subject.raw, EventReason.ORPHANED, note, action="TakeDown")
        audit("orphans.found", node=subject.node, children=len(children), why="its JILNode is gone")

    def _alive(self, namespace: str) -> bool:
        """A namespace that goes away is emptied by its own controller."""
        space = self._deps.store.get(kinds.NAMESPACE, None, namespace)
        return space is not None and not space["metadata"].get("deletionTimestamp")

    def _left(self, namespace: str, name: str) -> Iterator[Manifest]:
        kept = labels.p2p_service(name)
        for kind in (*_WORKLOADS, *CLEARED):
            for child in self._deps.store.children(kind, namespace, name):
                if child["metadata"]["name"] != kept:
                    yield child

    def _subject(self, namespace: str, name: str, children: list[Manifest]) -> ActSubject:
        """The node as far as it is still known: by its record, else by the labels of its children."""
        record = self._record(namespace, name, children)
        named = next((c["metadata"]["labels"][labels.NETWORK] for c in children if _network(c)), None)
        network = node_facts.network_of(self._deps, record) or self._network(named)
        of = record.spec.network if record else named
        return ActSubject(self._told_at(namespace), namespace, name, of, network, record)

    def _told_at(self, namespace: str) -> Manifest:
        """What Events are about: there is no JILNode to bear them."""
        told = next(iter(self._deps.store.list(kinds.JIL_JURISDICTION, namespace)), None)
        return told or self._deps.store.get(kinds.NAMESPACE, None, namespace) or {}

    def _record(self, namespace: str, name: str, children: list[Manifest]) -> JILNodeRecord | None:
        """The record that let this validator's pod start: its key is in there, whoever has taken it over since. Else the
        one of the JILNode that the children were made for, by its UID: two JILNodes may have had the name, one after the
        other. None when that is not exactly one: of a key that is guessed the gate would answer for another validator.
        """
        pod = self._deps.store.get(kinds.POD, namespace, labels.pod_name(name, labels.Component.VALIDATOR))
        started = pod["metadata"]["uid"] if pod else None
        # Others are not even read: there may be thousands, and a fault in one of them is none of this node's.
        owner = {"namespace": namespace, "name": name}
        records = [
            JILNodeRecord.parse(raw)
            for raw in self._deps.store.list(kinds.JIL_NODE_RECORD, self._deps.system_namespace)
            if (started and _permitted(raw) == started) or owner.items() <= raw["spec"].get("owner", {}).items()
        ]
        found = [r for r in records if r.spec.permit is not None and r.spec.permit.pod_uid == started]
        if not found:
            found = [r for r in records if _made_by(r, namespace, name, children)]
        return found[0] if len(found) == 1 else None

    def _network(self, name: str | None) -> JILNetwork | None:
        raw = self._deps.store.get(kinds.JIL_NETWORK, None, name) if name else None
        try:
            return JILNetwork.parse(raw) if raw else None
        except InvalidObject:
            return None

    # -- the search --------------------------------------------------------------------------------------------------
    async def search(self, look: Callable[[Key], None]) -> None:
        """For ever: every node that children name and that is not there is handed to ``look``."""
        while True:
            for key in sorted(self.nodes_gone(), key=str):
                look(key)
            await asyncio.sleep(min(LOOK_SECONDS, max(1.0, self._deps.orphan_grace)))

    def nodes_gone(self) -> set[Key]:
        """The JILNodes that children name and the store does not have."""
        store = self._deps.store
        gone: set[Key] = set()
        for kind in (*_WORKLOADS, *CLEARED):
            for child in store.list(kind):
                meta = child["metadata"]
                node = (meta.get("labels") or {}).get(labels.NODE)
                if node is None or meta["name"] == labels.p2p_service(node):
                    continue
                if store.get(kinds.JIL_NODE, meta.get("namespace"), node) is None:
                    gone.add(Key(kinds.JIL_NODE.kind, meta.get("namespace"), node))
        return gone


def _made_by(record: JILNodeRecord, namespace: str, name: str, children: list[Manifest]) -> bool:
    """Whether the children were made for the JILNode that owns the record."""
    made_for = {(child["metadata"].get("labels") or {}).get(labels.NODE_UID) for child in children}
    owner = record.spec.owner
    return (owner.namespace, owner.name) == (namespace, name) and owner.uid in made_for


def _permitted(record: Manifest) -> str | None:
    uid: str | None = (record["spec"].get("permit") or {}).get("podUID")
    return uid


def _network(child: Manifest) -> str | None:
    found: str | None = (child["metadata"].get("labels") or {}).get(labels.NETWORK)
    return found
