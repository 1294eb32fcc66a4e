"""Carrying out what a plan asks for: every act that takes something away goes through the gate, and is named by it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.api.labels import Component
from jil.api.network import JILNetwork
from jil.api.node import JILNode
from jil.api.record import JILNodeRecord
from jil.cluster.client import Manifest
from jil.cluster.disruption import Disruption, TakeBack
from jil.cluster.errors import Conflict, NotFound
from jil.cluster.events import EventReason
from jil.cluster.grant import Grant, TargetRef
from jil.cluster.ledger import GrantEntry
from jil.controller.deps import Deps
from jil.controller.network import ledger_existed, member_facts
from jil.controller.node_facts import pods_of
from jil.plan.acts import Act
from jil.plan.drain import leaving, plan_drain
from jil.plan.giveback import GiveBack, follows_the_chain, plan_give_back
from jil.plan.lifecycle import Act as Step
from jil.plan.lifecycle import ActKind, Goal, LifecyclePlan
from jil.plan.podview import pod_view
from jil.plan.voting import NO_CONSENSUS_KEY, Member, NetworkFacts, PodState
from jil.render.context import Object

_ACT: Mapping[ActKind, Act] = {
    ActKind.SCALE_DOWN: Act.STOP,
    ActKind.SERVING_OFF: Act.SERVING_OFF,
    ActKind.DELETE_WORKLOAD: Act.DELETE_WORKLOAD,
}
_KIND: Mapping[str, Kind] = {k.kind: k for k in (kinds.STATEFUL_SET, kinds.DEPLOYMENT, kinds.POD)}

#: What a deletion removes beside the workloads. Volumes, keys, the record and the p2p Service (the node's address, which
#: peers resolved once) stay.
_CLEARED = (kinds.NETWORK_POLICY, kinds.POD_DISRUPTION_BUDGET, kinds.SERVICE, kinds.CONFIG_MAP)


@dataclass(frozen=True)
class ActSubject:
    """Whose acts: the JILNode with what is known of its place in the network."""

    raw: Manifest
    namespace: str
    name: str
    network_name: str | None
    network: JILNetwork | None
    record: JILNodeRecord | None

    @classmethod
    def of(cls, raw: Manifest, node: JILNode, network: JILNetwork | None, record: JILNodeRecord | None) -> ActSubject:
        name = record.spec.network if record else network.name if network else None
        return cls(raw, node.metadata.namespace or "", node.name, name, network, record)

    @property
    def node(self) -> str:
        """``namespace/name``, as the ledger names it."""
        return f"{self.namespace}/{self.name}"

    @property
    def address(self) -> str | None:
        """The consensus address; NO_CONSENSUS_KEY when the record says that there never was a key, None: not known."""
        if self.record is None:
            return None
        keys = self.record.spec.keys
        return keys.validator.address if keys.validator else NO_CONSENSUS_KEY


class NodeActs:
    """The acts of one node's passes. Answers are None (done, or nothing to do) or the gate's refusal as a sentence."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    # -- the plan's act ----------------------------------------------------------------------------------------------
    async def perform(self, subject: ActSubject, plan: LifecyclePlan) -> str | None:
        """The one act of this pass. A stop that ends with the validator asks for the validator first: a node whose
        validator may not go stays whole."""
        step = plan.act
        if step is None:
            return None
        if step.kind is ActKind.SERVING_ON:
            pod = self._deps.store.get(kinds.POD, subject.namespace, step.target)
            if pod is not None:
                written = await self._deps.client.serve(step.target, subject.namespace, uid=pod["metadata"]["uid"])
                self._deps.store.put(kinds.POD, written)
            return None
        if plan.needs_power_grant and step.component != Component.VALIDATOR:
            denial = await self._reserve_validator(subject)
            if denial is not None:
                return denial
        return await self._do(
            subject,
            _ACT[step.kind],
            _KIND[step.target_kind],
            step.target,
            step.component,
            _why(step),
            replicas=step.replicas,
        )

    async def _reserve_validator(self, subject: ActSubject) -> str | None:
        name = labels.child_name(subject.name, Component.VALIDATOR)
        if any(entry["component"] == Component.VALIDATOR for entry in self._open(subject)):
            return None  # granted in an earlier pass; it stands until the validator is back
        target = await self._target(kinds.STATEFUL_SET, subject.namespace, name)
        if target is None:
            return None
        answer = await self._ask(subject, Act.STOP, target, Component.VALIDATOR, "the node is being stopped")
        return None if isinstance(answer, Grant) else answer

    async def _do(
        self, subject: ActSubject, act: Act, kind: Kind, name: str, component: str, reason: str, replicas: int = 0
    ) -> str | None:
        target = await self._target(kind, subject.namespace, name)
        if target is None:
            return None  # gone already: the next pass sees it
        answer = await self._ask(subject, act, target, component, reason)
        if not isinstance(answer, Grant):
            return answer
        client = self._deps.client
        try:
            if act is Act.STOP:
                self._deps.store.put(kind, await client.scale(answer, replicas))
            elif act is Act.SERVING_OFF:
                self._deps.store.put(kind, await client.stop_serving(answer))
            else:
                await client.delete(answer)
        except (Conflict, NotFound):
            # Somebody changed it since the grant: nothing was done, the next pass decides anew.
            return None
        self._deps.events.normal(
            subject.raw,
            EventReason.DISRUPTED,
            f"{act} {kind.kind} {name}: {reason} (grant {answer.id})",
            action=act.value,
        )
        return None

    async def _target(self, kind: Kind, namespace: str, name: str) -> TargetRef | None:
        """The object read live: a disruptive request is made against one known version."""
        try:
            live = await self._deps.client.get(kind, name, namespace)
        except NotFound:
            return None
        self._deps.store.put(kind, live)
        meta = live["metadata"]
        if meta.get("deletionTimestamp"):
            return None
        return TargetRef(kind, namespace, name, meta["uid"], meta["resourceVersion"])

    async def _ask(self, subject: ActSubject, act: Act, target: TargetRef, component: str, reason: str) -> Grant | str:
        if subject.network_name is None:
            return (
                "the node's network is not known (no record and no JILNetwork), so nothing says what its validator's stop"
                " would cost; restore the JILNetwork"
            )
        facts = self._facts(subject)
        pod, pod_uid = PodState.UNKNOWN, None
        if component == Component.VALIDATOR:
            pod, pod_uid = await self._pod_state(subject)
        answer = await self._deps.gate.request(
            Disruption(
                act=act,
                network=subject.network_name,
                node=subject.node,
                component=component,
                target=target,
                consensus_address=subject.address,
                reason=reason,
                pod=pod,
                pod_uid=pod_uid,
            ),
            facts,
            ledger_existed=self._ledger_existed(subject.network_name),
        )
        if isinstance(answer, Grant):
            return answer
        note = f"{act} {target} is not allowed now: {answer}"
        self._deps.events.warning(subject.raw, EventReason.DENIED, note, action=act.value)
        return note

    # -- what the gate has to know -----------------------------------------------------------------------------------
    def _facts(self, subject: ActSubject) -> NetworkFacts:
        """The network as declared and recorded. No chain is read yet: nobody's signature is known, so for a network that
        could lose somebody the gate says no, which is the safe answer."""
        network = subject.network
        members: tuple[Member, ...] = ()
        allow_halt = False
        if network is not None:
            known = {m.node_id: m for m in member_facts(self._deps, network)}
            members = tuple(
                Member(m.node_id, known[m.node_id].address, m.power, local=m.is_here) for m in network.spec.members
            )
            allow_halt = network.spec.disruption.allow_halt
        return NetworkFacts(
            chain_id=network.spec.chain_id if network else "",
            members=members,
            readings=(),
            unknown=frozenset(m.address for m in members if m.address),
            joining={},
            known_height=0,
            allow_halt=allow_halt,
            shared_ledger=all(m.local for m in members),
            static_quota=None,
        )

    def _ledger_existed(self, network: str) -> bool:
        """The ledger is made before the first validator of a network may start, so a bootstrapped record proves it."""
        return ledger_existed(self._deps, network)

    async def _pod_state(self, subject: ActSubject) -> tuple[PodState, str | None]:
        """Whether a validator process runs, and the UID of its pod, by the pod read live."""
        pod = await self._validator_pod(subject)
        if pod is None:
            return PodState.ABSENT, None
        uid = str(pod["metadata"]["uid"])
        statuses = pod.get("status", {}).get("containerStatuses", [])
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return PodState.DOWN, uid
        if not statuses:
            return PodState.UNKNOWN, uid
        runs = any("running" in s.get("state", {}) for s in statuses)
        return PodState.RUNNING if runs else PodState.DOWN, uid

    async def _validator_pod(self, subject: ActSubject) -> Manifest | None:
        try:
            name = labels.pod_name(subject.name, Component.VALIDATOR)
            return await self._deps.client.get(kinds.POD, name, subject.namespace)
        except NotFound:
            return None

    def _open(self, subject: ActSubject) -> list[dict[str, Any]]:
        """Open grants of this node, by the watched copy of the ledger: a look that costs nothing."""
        if subject.network_name is None:
            return []
        name = labels.ledger_config_map(subject.network_name)
        raw = self._deps.store.get(kinds.CONFIG_MAP, self._deps.system_namespace, name)
        try:
            ledger = json.loads((raw or {}).get("data", {}).get("ledger", "{}"))
        except ValueError:
            return []
        return [entry for entry in ledger.get("open", []) if entry.get("node") == subject.node]

    # -- giving back -------------------------------------------------------------------------------------------------
    async def settle(self, subject: ActSubject, goal: Goal) -> None:
        """Grants of a node that runs again, or that is no longer to be stopped or moved, are given back."""
        if goal is Goal.STOPPED or subject.network_name is None or not self._open(subject):
            return
        raw = await self._settled_pod(subject)
        if raw is None:
            return
        pod = pod_view(raw)
        machine = self._deps.store.get(kinds.NODE, None, pod.kube_node) if pod.kube_node else None
        moving = machine is not None and leaving(machine) is not None
        reading = self._deps.health.reading((subject.namespace, subject.name))
        follows = follows_the_chain(reading, pod, self._deps.clock.now())
        for entry in await self._deps.gate.open_grants(subject.network_name, node=subject.node):
            wanted = moving and entry.act is Act.DRAIN
            match plan_give_back(entry.act, entry.pod, pod, follows=follows, wanted=wanted):
                case GiveBack.RELEASE:
                    why = "the validator's new pod is ready and follows the chain"
                    await self._deps.gate.release(subject.network_name, entry, why=why)
                case GiveBack.TAKE_BACK:
                    await self._take_back(subject, entry, goal)
                case GiveBack.KEEP:
                    pass

    async def _take_back(self, subject: ActSubject, entry: GrantEntry, goal: Goal) -> None:
        stop = f"spec.state is {goal} again before the stop was done"
        why = stop if entry.act is Act.STOP else "the pod's machine is no longer being emptied"
        outcome = await self._deps.gate.take_back(subject.network_name or "", entry, why=why)
        if outcome is TakeBack.TAKEN_BACK:
            note = f"grant {entry.id} was taken back: {why}"
            self._deps.events.normal(subject.raw, EventReason.UPDATED, note, action="TakeBack")

    async def _settled_pod(self, subject: ActSubject) -> Manifest | None:
        """The validator's pod, read live, once its StatefulSet's controller has seen the newest spec: from then on
        nothing that was asked of the controller before can still end a pod that is not ending already."""
        try:
            name = labels.child_name(subject.name, Component.VALIDATOR)
            workload = await self._deps.client.get(kinds.STATEFUL_SET, name, subject.namespace)
        except NotFound:
            return None
        if workload["spec"].get("replicas", 1) == 0:
            return None
        if workload.get("status", {}).get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
            return None
        return await self._validator_pod(subject)

    # -- drains ------------------------------------------------------------------------------------------------------
    async def drain(self, subject: ActSubject, only_on: Mapping[str, str]) -> str | None:
        """Moves one pod off a Kubernetes node that is being emptied."""
        pods = pods_of(self._deps, subject.namespace, subject.name)
        local = {pod.name: only_on[pod.component] for pod in pods if pod.component in only_on}
        for machine in sorted({pod.kube_node for pod in pods if pod.kube_node}):
            raw = self._deps.store.get(kinds.NODE, None, machine)
            if raw is None:
                continue
            for act in plan_drain(raw, pods, local):
                reason = f"{act.reason}; {act.returns}"
                return await self._do(subject, act.act, kinds.POD, act.pod.name, act.pod.component, reason)
        return None

    # -- removing ----------------------------------------------------------------------------------------------------
    async def clear(self, subject: ActSubject) -> bool:
        """After the workloads: everything that is not data, key, record or address. True when nothing is left."""
        keep = labels.p2p_service(subject.name)
        left = False
        for kind in _CLEARED:
            for child in self._deps.store.children(kind, subject.namespace, subject.name):
                if child["metadata"]["name"] != keep:
                    left = True
                    await self._prune_one(subject, kind, child, "the JILNode was deleted")
        return not left

    async def prune(self, subject: ActSubject, rendered: Sequence[Object]) -> None:
        """In a node at rest: children that nothing refers to any more. A configuration that a pod or an armed template
        still names is kept: an evicted pod comes back with it."""
        wanted = {(o["kind"], o["metadata"]["name"]) for o in rendered}
        used = self._used_config_maps(subject)
        for kind in _CLEARED:
            for child in self._deps.store.children(kind, subject.namespace, subject.name):
                name = child["metadata"]["name"]
                if (kind.kind, name) in wanted or (kind is kinds.CONFIG_MAP and name in used):
                    continue
                await self._prune_one(subject, kind, child, "nothing refers to it any more")

    def _used_config_maps(self, subject: ActSubject) -> set[str]:
        used: set[str] = set()
        for kind in (kinds.STATEFUL_SET, kinds.DEPLOYMENT):
            for workload in self._deps.store.children(kind, subject.namespace, subject.name):
                status = workload.get("status", {})
                if status.get("currentRevision") != status.get("updateRevision"):
                    # Armed: the old revision's configuration is not in the template that we see. Keep all of it.
                    component = workload["metadata"]["labels"].get(labels.APP_NAME)
                    used |= {
                        c["metadata"]["name"]
                        for c in self._deps.store.children(kinds.CONFIG_MAP, subject.namespace, subject.name)
                        if c["metadata"]["labels"].get(labels.APP_NAME) == component
                    }
                used |= _config_maps_of(workload["spec"]["template"]["spec"])
        for pod in self._deps.store.children(kinds.POD, subject.namespace, subject.name):
            used |= _config_maps_of(pod.get("spec", {}))
        return used

    async def _prune_one(self, subject: ActSubject, kind: Kind, child: Manifest, reason: str) -> None:
        name = child["metadata"]["name"]
        component = child["metadata"]["labels"].get(labels.APP_NAME, "")
        target = await self._target(kind, subject.namespace, name)
        if target is None:
            self._deps.store.remove(kind, child)
            return
        answer = await self._ask(subject, Act.PRUNE, target, component, reason)
        if isinstance(answer, Grant):
            try:
                await self._deps.client.delete(answer)
            except (Conflict, NotFound):
                return
            self._deps.store.remove(kind, child)


def _config_maps_of(pod_spec: Mapping[str, Any]) -> set[str]:
    return {v["configMap"]["name"] for v in pod_spec.get("volumes", []) if "configMap" in v}


def _why(step: Step) -> str:
    words = {
        ActKind.SCALE_DOWN: "is stopped as the spec asks",
        ActKind.SERVING_OFF: "takes no more traffic as the spec asks",
        ActKind.DELETE_WORKLOAD: "is removed with its JILNode",
    }
    return f"{step.component} {words[step.kind]}"
