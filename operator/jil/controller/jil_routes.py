"""Which objects have to be looked at again when one of ours, or something they stand on, changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from jil.api import kinds, labels
from jil.api.conditions import ConditionType
from jil.api.kinds import Kind
from jil.controller.release_trust import namespaces_of
from jil.engine.queue import Key
from jil.engine.routes import Later, Route, all_of, key_of, to_its_node, to_itself
from jil.engine.store import Change, Manifest, Store

PEERS_SECONDS = 1.0
"""How long a node that is well waits for further peers before it lets in the first."""

#: Children of a node, by their labels.
CHILD_KINDS: tuple[Kind, ...] = (
    kinds.STATEFUL_SET,
    kinds.DEPLOYMENT,
    kinds.POD,
    kinds.SERVICE,
    kinds.CONFIG_MAP,
    kinds.PERSISTENT_VOLUME_CLAIM,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.NETWORK_POLICY,
)


class JilRoutes:
    """Routes that need to know who refers to whom; they look in the store."""

    def __init__(
        self, store: Store, *, system_namespace: str, pod_seen: Callable[[Manifest], None] = lambda pod: None
    ) -> None:
        """``pod_seen`` is told every version of every pod: how a validator's pod ended is evidence."""
        self._store = store
        self._system = system_namespace
        self._pod_seen = pod_seen

    def table(self) -> Mapping[Kind, Route]:
        """Route per watched kind."""
        table: dict[Kind, Route] = dict.fromkeys(CHILD_KINDS, all_of(to_its_node, self._shared))
        table[kinds.POD] = all_of(self._pod, to_its_node)
        table[kinds.JIL_NODE] = all_of(to_itself, self._node_phase)
        table[kinds.JIL_JURISDICTION] = all_of(to_itself, self._in_namespace(self._nodes), self._wanted_releases)
        table[kinds.JIL_NETWORK] = all_of(to_itself, self._network)
        table[kinds.JIL_RELEASE] = all_of(to_itself, self._release)
        table[kinds.JIL_NODE_RECORD] = self._record
        table[kinds.NAMESPACE] = self._namespace
        table[kinds.NODE] = self._machine
        table[kinds.JIL_OPERATION] = to_itself
        table[kinds.JIL_IMAGE_ALLOW_LIST] = all_of(self._operations, self._allow_list)
        return table

    # -- who is where ------------------------------------------------------------------------------------------------
    def _nodes(self, namespace: str) -> Iterable[Key]:
        for node in self._store.list(kinds.JIL_NODE, namespace):
            yield Key(kinds.JIL_NODE.kind, namespace, node["metadata"]["name"])

    def _jurisdictions(self, namespace: str) -> Iterable[Key]:
        for jurisdiction in self._store.list(kinds.JIL_JURISDICTION, namespace):
            yield Key(kinds.JIL_JURISDICTION.kind, namespace, jurisdiction["metadata"]["name"])

    def _of_network(self, network: str) -> Iterable[Key]:
        for jurisdiction in self._store.list(kinds.JIL_JURISDICTION):
            if jurisdiction["spec"].get("network") == network:
                namespace = jurisdiction["metadata"]["namespace"]
                yield Key(kinds.JIL_JURISDICTION.kind, namespace, jurisdiction["metadata"]["name"])
                yield from self._nodes(namespace)

    def _in_namespace(self, who: Callable[[str], Iterable[Key]]) -> Route:
        def route(change: Change) -> Iterable[Key]:
            if not change.only_status:
                yield from who(change.object["metadata"]["namespace"])

        return route

    # -- routes ------------------------------------------------------------------------------------------------------
    def _pod(self, change: Change) -> Iterable[Key]:
        self._pod_seen(change.object)
        return ()

    def _node_phase(self, change: Change) -> Iterable[Key]:
        """The jurisdiction counts its ready nodes; a node that goes makes room for whoever claims its id."""
        before = (change.old or {}).get("status", {}).get("phase")
        after = (change.new or {}).get("status", {}).get("phase")
        if before != after or change.new is None or change.old is None:
            yield from self._jurisdictions(change.object["metadata"]["namespace"])

    def _network(self, change: Change) -> Iterable[Key]:
        if not change.only_status:
            network = change.object["metadata"]["name"]
            yield from self._of_network(network)
            for namespace in namespaces_of(self._store, network):
                yield from self._releases(namespace)

    def _wanted_releases(self, change: Change) -> Iterable[Key]:
        """The release that is wanted now and the one that was: their images come into the list of the namespace, or go."""
        if not change.only_status:
            for jurisdiction in (change.old, change.new):
                if jurisdiction is not None:
                    yield Key(kinds.JIL_RELEASE.kind, None, str(jurisdiction["spec"].get("release")))

    def _allow_list(self, change: Change) -> Iterable[Key]:
        """A list that somebody deleted or changed is written again; nodes wait for what it lets in."""
        namespace = change.object["metadata"]["name"]
        yield from self._releases(namespace)
        yield from self._nodes(namespace)

    def _releases(self, namespace: str) -> Iterable[Key]:
        """Releases whose images the list of the namespace is made of."""
        for jurisdiction in self._store.list(kinds.JIL_JURISDICTION, namespace):
            yield Key(kinds.JIL_RELEASE.kind, None, str(jurisdiction["spec"].get("release")))
        # Without a jurisdiction its list alone says so.
        listed = self._store.get(kinds.JIL_IMAGE_ALLOW_LIST, None, namespace) or {"spec": {}}
        names = {
            name for image in (listed["spec"].get("digests") or {}).values() for name in image.get("releases") or ()
        }
        for name in sorted(names):
            yield Key(kinds.JIL_RELEASE.kind, None, str(name))

    def _release(self, change: Change) -> Iterable[Key]:
        """Whoever wants the release hears of another content and of other verdicts, not of every try to get one."""
        if change.only_status and _verdicts(change.old) == _verdicts(change.new):
            return
        name = change.object["metadata"]["name"]
        for jurisdiction in self._store.list(kinds.JIL_JURISDICTION):
            if jurisdiction["spec"].get("release") == name:
                namespace = jurisdiction["metadata"]["namespace"]
                yield Key(kinds.JIL_JURISDICTION.kind, namespace, jurisdiction["metadata"]["name"])
                yield from self._nodes(namespace)

    def _well(self, key: Key) -> bool:
        node = self._store.get(kinds.JIL_NODE, key.namespace, key.name) if key.kind == kinds.JIL_NODE.kind else None
        return bool((node or {}).get("status", {}).get("phase") == "Ready")

    def _record(self, change: Change) -> Iterable[Key | Later]:
        """Keys and addresses that became known let the genesis be made and peers in."""
        spec = change.object.get("spec", {})
        yield Key(kinds.JIL_NETWORK.kind, None, spec.get("network", ""))
        old = (change.old or {}).get("spec", {})
        if any(old.get(part) != spec.get(part) for part in ("keys", "p2p", "owner")):
            for key in self._of_network(spec.get("network", "")):
                # Another peer that it lets in is all that there is for a node that is well. A network that comes up at
                # once would be looked at as often as it has pairs of members.
                yield Later(key, PEERS_SECONDS) if self._well(key) else key
        if old.get("releases") != spec.get("releases"):
            for entry in (*(old.get("releases") or ())[:1], *(spec.get("releases") or ())[:1]):
                yield Key(kinds.JIL_RELEASE.kind, None, str(entry["release"]))

    def _namespace(self, change: Change) -> Iterable[Key]:
        """Labels decide whether a namespace is set up; everything else about it is somebody else's business."""
        before = ((change.old or {}).get("metadata") or {}).get("labels")
        after = ((change.new or {}).get("metadata") or {}).get("labels")
        if before != after:
            name = change.object["metadata"]["name"]
            yield from self._jurisdictions(name)
            yield from self._nodes(name)
            yield from self._releases(name)

    def _operations(self, change: Change) -> Iterable[Key]:
        """An allow-list has the name of its namespace; what an operation let in stands there, and only there."""
        for operation in self._store.list(kinds.JIL_OPERATION, change.object["metadata"]["name"]):
            yield key_of(kinds.JIL_OPERATION, operation)

    def _shared(self, change: Change) -> Iterable[Key]:
        """Objects without a node: the namespace's policies and configuration, and the frozen genesis."""
        meta = change.object["metadata"]
        if (meta.get("labels") or {}).get(labels.NODE):
            return
        if meta.get("namespace") == self._system:
            if (meta.get("labels") or {}).get(labels.APP_NAME) == "genesis":
                network = meta["labels"].get(labels.NETWORK, "")
                yield Key(kinds.JIL_NETWORK.kind, None, network)
                yield from self._of_network(network)
            elif change.new is None and (meta.get("labels") or {}).get(labels.APP_NAME) == "ledger":
                yield Key(kinds.JIL_NETWORK.kind, None, meta["labels"].get(labels.NETWORK, ""))
            return
        yield from self._jurisdictions(meta.get("namespace", ""))
        if (meta.get("labels") or {}).get(labels.APP_NAME) == "genesis":
            yield from self._nodes(meta.get("namespace", ""))

    def _machine(self, change: Change) -> Iterable[Key]:
        """A Kubernetes node that is cordoned, drained or lost concerns the JIL nodes with pods on it."""

        def essence(obj: Mapping[str, object] | None) -> object:
            spec = (obj or {}).get("spec")
            return (spec.get("unschedulable"), spec.get("taints")) if isinstance(spec, Mapping) else None

        if essence(change.old) == essence(change.new):
            return
        name = change.object["metadata"]["name"]
        seen = set()
        for pod in self._store.list(kinds.POD):
            node = (pod["metadata"].get("labels") or {}).get(labels.NODE)
            if node is None or pod.get("spec", {}).get("nodeName") != name:
                continue
            key = Key(kinds.JIL_NODE.kind, pod["metadata"]["namespace"], str(node))
            if key not in seen:
                seen.add(key)
                yield key


def _verdicts(release: Manifest | None) -> object:
    """What the status of a JILRelease says about trust, without words and times."""
    status = (release or {}).get("status") or {}
    trust = [c for c in status.get("conditions") or () if c.get("type") == ConditionType.IMAGE_TRUST]
    rows = [
        (row.get("network"), row.get("name"), row.get("verdict"), row.get("reason"))
        for row in status.get("images") or ()
    ]
    return [(condition.get("status"), condition.get("reason")) for condition in trust], rows
