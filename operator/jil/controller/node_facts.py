"""What the store knows about one JILNode, as the values that plans and renderers take."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.jurisdiction import JILJurisdiction
from jil.api.labels import Component
from jil.api.network import JILNetwork
from jil.api.node import JILNode
from jil.api.objects import InvalidObject
from jil.api.record import JILNodeRecord
from jil.api.release import JILRelease
from jil.cluster.apply import APPLIED
from jil.cluster.client import Manifest
from jil.cluster.looked_at import hashes
from jil.controller.deps import Deps
from jil.controller.network import MemberFacts
from jil.plan.lifecycle import POD, Workload
from jil.plan.podview import PodView, machine_lost, pod_view
from jil.plan.spec_check import Resolved, SpecProblem, resolve
from jil.render.context import NodeContext, Object, Peer


def resolve_node(deps: Deps, node: JILNode) -> Resolved | SpecProblem:
    """Follows the node's references through the store; unreadable objects count as missing, their own status says why."""
    namespace = node.metadata.namespace or ""
    space = deps.store.get(kinds.NAMESPACE, None, namespace)
    networks: dict[str, JILNetwork] = {}
    releases: dict[str, JILRelease] = {}
    jurisdictions: list[JILJurisdiction] = []
    for raw in deps.store.list(kinds.JIL_JURISDICTION, namespace):
        with suppress(InvalidObject):
            jurisdictions.append(deps.typed(JILJurisdiction, raw))
    for jurisdiction in jurisdictions:
        network = deps.store.get(kinds.JIL_NETWORK, None, jurisdiction.spec.network)
        release = deps.store.get(kinds.JIL_RELEASE, None, jurisdiction.spec.release)
        with suppress(InvalidObject):
            if network is not None:
                networks[jurisdiction.spec.network] = deps.typed(JILNetwork, network)
        with suppress(InvalidObject):
            if release is not None:
                releases[jurisdiction.spec.release] = deps.typed(JILRelease, release)
    return resolve(
        node,
        namespace_labels=(space or {}).get("metadata", {}).get("labels", {}),
        jurisdictions=jurisdictions,
        networks=networks,
        releases=releases,
    )


def pods_of(deps: Deps, namespace: str, node: str) -> list[PodView]:
    """All pods of a node, whatever they belong to."""
    found = []
    for raw in deps.store.children(kinds.POD, namespace, node):
        view = pod_view(raw)
        machine = deps.store.get(kinds.NODE, None, view.kube_node) if view.kube_node else None
        found.append(replace(view, machine_lost=machine_lost(machine)))
    return found


def peers(members: Iterable[MemberFacts], network: JILNetwork, own_id: str) -> tuple[tuple[Peer, ...], tuple[str, ...]]:
    """(whom this node dials, whom it lets in).

    Everybody dials the founders: their addresses are known before any validator starts and never change, so the
    configuration of a running node does not change when members join. Everybody lets every member in.
    """
    facts = list(members)
    founders = {m.node_id for m in network.spec.founders}
    dialled = tuple(
        Peer(m.peer_id, m.p2p_host)
        for m in sorted(facts, key=lambda m: m.node_id)
        if m.node_id in founders and m.node_id != own_id and m.peer_id and m.p2p_host
    )
    return dialled, tuple(sorted(m.peer_id for m in facts if m.peer_id))


def workloads(deps: Deps, namespace: str, node: str, rendered: Iterable[Object]) -> list[Workload]:
    """The declared workloads beside what is live; what is live and no longer declared comes with ``declared`` 0, and so
    does every pod whose workload is neither declared nor there: it runs all the same."""
    pods = pods_of(deps, namespace, node)
    found: list[Workload] = []
    seen = set()
    for intent in rendered:
        if intent["kind"] not in ("StatefulSet", "Deployment"):
            continue
        name = intent["metadata"]["name"]
        seen.add(name)
        live = deps.store.get(kinds.kind_of(intent), namespace, name)
        found.append(_workload(intent, live, intent["spec"]["replicas"], pods))
    for kind in (kinds.STATEFUL_SET, kinds.DEPLOYMENT):
        for live in deps.store.children(kind, namespace, node):
            if live["metadata"]["name"] not in seen:
                found.append(replace(_workload(live, live, 0, pods), wanted=False))
    owned = {workload.component for workload in found}
    found += [_alone(node, pod) for pod in pods if pod.component not in owned and not _over(pod)]
    return found


def _over(pod: PodView) -> bool:
    """Evicted pods lie about and run nothing. Of a validator's such a phase is evidence of nothing."""
    return pod.phase in ("Succeeded", "Failed") and pod.component != Component.VALIDATOR


def _alone(node: str, pod: PodView) -> Workload:
    if pod.component == Component.VALIDATOR and pod.name != labels.pod_name(node, Component.VALIDATOR):
        pod = replace(
            pod, on_its_own=False
        )  # the gate knows one pod that signs, by its name: of this one it would guess
    return Workload(pod.name, POD, pod.component, 0, None, (pod,), wanted=False)


def _workload(intent: Object, live: Manifest | None, declared: int, pods: list[PodView]) -> Workload:
    component = intent["metadata"]["labels"].get(labels.APP_NAME, "")
    kind = intent["kind"]
    if kind == "Deployment":
        # A ReplicaSet leaves evicted pods lying about; they run nothing. For a StatefulSet such a phase is evidence of
        # nothing, and its controller replaces the pod.
        pods = [p for p in pods if p.phase not in ("Succeeded", "Failed")]
    mine = tuple(sorted((p for p in pods if p.component == component), key=lambda p: p.name))
    if live is None:
        return Workload(intent["metadata"]["name"], kind, component, declared, None, mine)
    status = live.get("status", {})
    return Workload(
        name=intent["metadata"]["name"],
        kind=kind,
        component=component,
        declared=declared,
        live_replicas=live["spec"].get("replicas", 1),
        pods=mine,
        current=status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0),
    )


def network_height(deps: Deps, network: str) -> int | None:
    """The highest height read from any node of the network, None when nobody could be read."""
    spaces = {
        jurisdiction["metadata"]["namespace"]
        for jurisdiction in deps.store.list(kinds.JIL_JURISDICTION)
        if jurisdiction["spec"].get("network") == network
    }
    # By namespace: every look at one of two thousand nodes would otherwise sort them all.
    nodes = {(space, node["metadata"]["name"]) for space in spaces for node in deps.store.list(kinds.JIL_NODE, space)}
    return deps.health.highest(nodes)


def network_of(deps: Deps, record: JILNodeRecord | None) -> JILNetwork | None:
    """The network that a record names, None when either is gone or unreadable."""
    raw = deps.store.get(kinds.JIL_NETWORK, None, record.spec.network) if record else None
    if raw is None:
        return None
    try:
        return deps.typed(JILNetwork, raw)
    except InvalidObject:
        return None


def template_settled(deps: Deps, ctx: NodeContext, intent: Object) -> bool:
    """Whether a StatefulSet that is scaled up from nothing would start with this very template.

    With ``partition: 1`` its pod is made from ``currentRevision``, which follows a new template only once the controller
    has seen it at zero replicas: scaled up in the same write, the OLD template would start, and stay.
    """
    live = deps.store.get(kinds.STATEFUL_SET, ctx.namespace, intent["metadata"]["name"])
    if live is None or live["spec"].get("replicas", 1) > 0:
        return True
    status = live.get("status", {})
    applied = ((live["metadata"].get("annotations") or {}).get(APPLIED) or "-").partition("-")[2]
    return (
        applied == hashes(intent)[1]
        and status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
        and status.get("currentRevision") == status.get("updateRevision")
    )


def name_taken(deps: Deps, ctx: NodeContext, rendered: Iterable[Object]) -> SpecProblem | None:
    """A child's name that another node's child bears already: node ``a`` with service ``b-rates`` and node ``a-b`` with
    service ``rates`` would both own ``a-b-rates``. The one that was there first keeps it."""
    for intent in rendered:
        meta = intent["metadata"]
        live = deps.store.get(kinds.kind_of(intent), meta["namespace"], meta["name"])
        owner = ((live or {}).get("metadata", {}).get("labels") or {}).get(labels.NODE, ctx.name)
        if owner != ctx.name:
            return SpecProblem(
                Reason.NAME_TAKEN,
                f"{intent['kind']} {meta['name']} belongs to JILNode {owner} of the same namespace; create this node under"
                f" another name, such as {ctx.node.node_id.lower()}",
            )
    return None
