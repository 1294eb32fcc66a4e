"""Asking the gate for a node: the target read live, the network as it is known, and the pod that would be ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.api.labels import Component
from jil.api.network import JILNetwork
from jil.api.node import JILNode
from jil.api.record import JILNodeRecord
from jil.cluster.client import Manifest
from jil.cluster.errors import Conflict, NotFound
from jil.cluster.events import EventReason
from jil.cluster.grant import Grant, TargetRef
from jil.cluster.request import Disruption
from jil.cluster.together import side_by_side
from jil.controller.chain_facts import observed_network, read_network
from jil.controller.deps import Deps
from jil.controller.network import ledger_existed
from jil.plan.acts import Act, stops_a_validator
from jil.plan.sight import network_facts
from jil.plan.verdict import Deny, Impossible
from jil.plan.voting import NO_CONSENSUS_KEY, NetworkFacts, PodState

TOGETHER = 50
"""Free acts that are written into the ledger at once; a ledger keeps the last 200."""


_NO_NETWORK: Final = (
    "the node's network is not known (no record and no JILNetwork), so nothing says what its validator's stop"
    " would cost; restore the JILNetwork"
)


@dataclass(frozen=True)
class FreeAct:
    """An act on what signs nothing: a service, its pod, or a child that is no workload."""

    act: Act
    kind: Kind
    name: str
    component: str
    reason: str


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
    def key(self) -> str | None:
        """The consensus address of its key, None when there is none or it is not known."""
        return None if self.address == NO_CONSENSUS_KEY else self.address

    @property
    def address(self) -> str | None:
        """The consensus address; NO_CONSENSUS_KEY when the record says that there never was a key, None: not known."""
        if self.record is None:
            return None
        keys = self.record.spec.keys
        return keys.validator.address if keys.validator else NO_CONSENSUS_KEY


class NodeGate:
    """The questions of one node. Answers are Grants, or the gate's refusal as a sentence."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def target(self, kind: Kind, namespace: str, name: str) -> TargetRef | None:
        """The object read live: a disruptive request is made against one known version."""
        try:
            live = await self._deps.client.get(kind, name, namespace)
        except NotFound:
            known = self._deps.store.get(kind, namespace, name)
            if known is not None:
                self._deps.store.remove(kind, known)
            return None
        self._deps.store.put(kind, live)
        meta = live["metadata"]
        if meta.get("deletionTimestamp"):
            return None
        return TargetRef(kind, namespace, name, meta["uid"], meta["resourceVersion"])

    async def ask(self, subject: ActSubject, act: Act, target: TargetRef, component: str, reason: str) -> Grant | str:
        """One act, whatever it costs."""
        if subject.network_name is None:
            return _NO_NETWORK
        await self._still_wanted(subject)
        pod, pod_uid = PodState.UNKNOWN, None
        if component == Component.VALIDATOR:
            pod, pod_uid = await self._pod_state(subject)
        wanted = _disruption(subject, act, target, component, reason, pod=pod, pod_uid=pod_uid)
        existed = ledger_existed(self._deps, subject.network_name)
        facts = await self._facts_now(subject) if stops_a_validator(act, component) else self._facts(subject)
        answer = await self._deps.gate.request(wanted, facts, ledger_existed=existed)
        return answer if isinstance(answer, Grant) else self._refused(subject, wanted, answer)

    async def ask_free(self, subject: ActSubject, acts: Sequence[FreeAct]) -> list[tuple[FreeAct, Grant]] | str:
        """Several acts that sign nothing, at most ``TOGETHER``: one write of the ledger. Those whose target is gone
        already are left out."""
        if subject.network_name is None:
            return _NO_NETWORK
        await self._still_wanted(subject)
        targets = await side_by_side([self.target(one.kind, subject.namespace, one.name) for one in acts])
        there = [(one, target) for one, target in zip(acts, targets, strict=True) if target is not None]
        if not there:
            return []
        wanted = [_disruption(subject, one.act, target, one.component, one.reason) for one, target in there]
        existed = ledger_existed(self._deps, subject.network_name)
        answer = await self._deps.gate.request_free(wanted, self._facts(subject), ledger_existed=existed)
        if isinstance(answer, Deny | Impossible):
            return self._refused(subject, wanted[0], answer)
        return [(one, grant) for (one, _), grant in zip(there, answer, strict=True)]

    async def _still_wanted(self, subject: ActSubject) -> None:
        """Nothing is taken away for a JILNode as it once was: a watch that is behind, or a list from before a restart,
        may show a stop that was called off, or the deletion of a node that was applied again since.

        Raises Conflict when the node has another UID or generation now; the store knows the newer one then.
        """
        seen = subject.raw
        if seen.get("kind") != kinds.JIL_NODE.kind:
            return  # children without a node: that it is gone was asked of the API server
        try:
            live = await self._deps.client.get(kinds.JIL_NODE, subject.name, subject.namespace)
        except NotFound:
            self._deps.store.remove(kinds.JIL_NODE, seen)
            raise Conflict("GET", f"JILNode {subject.node}", reason="Gone", message="the JILNode is gone") from None
        if _aim(live) != _aim(seen):
            self._deps.store.put(kinds.JIL_NODE, live)
            message = f"the JILNode is at {_aim(live)}, what was decided is for {_aim(seen)}"
            raise Conflict("GET", f"JILNode {subject.node}", reason="Conflict", message=message)

    def _refused(self, subject: ActSubject, wanted: Disruption, answer: Deny | Impossible) -> str:
        note = f"{wanted.act} {wanted.target} is not allowed now: {answer}"
        self._deps.events.warning(subject.raw, EventReason.DENIED, note, action=wanted.act.value)
        return note

    # -- what the gate has to know -----------------------------------------------------------------------------------
    def _facts(self, subject: ActSubject) -> NetworkFacts:
        """The network as declared, recorded and last polled; of an unknown one nothing is known."""
        if subject.network is None:
            return network_facts("", (), now=self._deps.clock.now(), allow_halt=False)
        return observed_network(self._deps, subject.network)

    async def _facts_now(self, subject: ActSubject) -> NetworkFacts:
        """The same, with the chain read at this moment: what may cost power is not decided on the last poll."""
        if subject.network is None:
            return self._facts(subject)
        return await read_network(self._deps, subject.network)

    async def _pod_state(self, subject: ActSubject) -> tuple[PodState, str | None]:
        """Whether a validator process runs, and the UID of its pod, by the pod read live."""
        pod = await self.validator_pod(subject)
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

    async def validator_pod(self, subject: ActSubject) -> Manifest | None:
        """The validator's pod, read live."""
        try:
            name = labels.pod_name(subject.name, Component.VALIDATOR)
            return await self._deps.client.get(kinds.POD, name, subject.namespace)
        except NotFound:
            return None

    def open(self, subject: ActSubject) -> list[dict[str, Any]]:
        """Open grants of this node, or of its key under a name that the node had before."""
        if subject.network_name is None:
            return []
        return [
            entry
            for entry in open_entries(self._deps, subject.network_name)
            if entry.get("node") == subject.node or (subject.key is not None and entry.get("address") == subject.key)
        ]


def open_entries(deps: Deps, network: str) -> list[dict[str, Any]]:
    """Open grants of a network, by the watched copy of the ledger: a look that costs nothing, and decides nothing."""
    raw = deps.store.get(kinds.CONFIG_MAP, deps.system_namespace, labels.ledger_config_map(network))
    try:
        ledger = json.loads((raw or {}).get("data", {}).get("ledger", "{}"))
    except ValueError:
        return []
    return [entry for entry in ledger.get("open", []) if isinstance(entry, dict)]


def _aim(node: Manifest) -> tuple[str, int]:
    """What an act is for: the generation rises with every change of the spec and with the wish to delete."""
    return str(node["metadata"]["uid"]), int(node["metadata"].get("generation", 0))


def _disruption(
    subject: ActSubject,
    act: Act,
    target: TargetRef,
    component: str,
    reason: str,
    *,
    pod: PodState = PodState.UNKNOWN,
    pod_uid: str | None = None,
) -> Disruption:
    return Disruption(
        act=act,
        network=subject.network_name or "",
        node=subject.node,
        component=component,
        target=target,
        consensus_address=subject.address,
        reason=reason,
        pod=pod,
        pod_uid=pod_uid,
    )
