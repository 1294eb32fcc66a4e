"""Carrying out what a plan asks for: every act that takes something away goes through the gate, and is named by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.api.labels import Component
from jil.cluster.client import Manifest
from jil.cluster.disruption import TakeBack
from jil.cluster.errors import Conflict, NotFound
from jil.cluster.events import EventReason
from jil.cluster.grant import Grant
from jil.cluster.ledger import GrantEntry
from jil.cluster.together import side_by_side
from jil.controller.deps import Deps
from jil.controller.node_facts import pods_of
from jil.controller.node_gate import TOGETHER, ActSubject, FreeAct, NodeGate
from jil.plan.acts import Act
from jil.plan.drain import leaving, plan_drain
from jil.plan.giveback import GiveBack, follows_the_chain, plan_give_back
from jil.plan.lifecycle import Act as Step
from jil.plan.lifecycle import ActKind, Goal, LifecyclePlan
from jil.plan.podview import pod_view

_ACT: Mapping[ActKind, Act] = {
    ActKind.SCALE_DOWN: Act.STOP,
    ActKind.SERVING_OFF: Act.SERVING_OFF,
    ActKind.DELETE_WORKLOAD: Act.DELETE_WORKLOAD,
    ActKind.DELETE_POD: Act.DELETE_POD,
}
_KIND: Mapping[str, Kind] = {k.kind: k for k in (kinds.STATEFUL_SET, kinds.DEPLOYMENT, kinds.POD)}


class NodeActs:
    """The acts of one node's passes. Answers are None (done, or nothing to do) or the gate's refusal as a sentence."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._gate = NodeGate(deps)

    # -- the plan's act ----------------------------------------------------------------------------------------------
    async def perform(self, subject: ActSubject, plan: LifecyclePlan) -> str | None:
        """The one act of this pass. A stop that ends with the validator asks for the validator first: a node whose
        validator may not go stays whole."""
        step = plan.act
        if step is None:
            return None
        if step.kind is ActKind.SERVING_ON:
            await side_by_side([self._serve(subject, one.target) for one in plan.acts])
            return None
        if step.component == Component.VALIDATOR:
            return await self._do(subject, _ACT[step.kind], _KIND[step.target_kind], step.target, _why(step))
        if plan.needs_power_grant:
            denial = await self._reserve_validator(subject)
            if denial is not None:
                return denial
        free = [
            FreeAct(_ACT[one.kind], _KIND[one.target_kind], one.target, one.component, _why(one)) for one in plan.acts
        ]
        return await self.together(subject, free, replicas={one.target: one.replicas for one in plan.acts})

    async def together(
        self, subject: ActSubject, acts: Sequence[FreeAct], *, replicas: Mapping[str, int] | None = None
    ) -> str | None:
        """Acts that sign nothing, side by side; many of them are one write of the ledger."""
        for start in range(0, len(acts), TOGETHER):
            answer = await self._gate.ask_free(subject, acts[start : start + TOGETHER])
            if isinstance(answer, str):
                return answer
            count = replicas or {}
            done = await side_by_side([self._carry_out(one, grant, count.get(one.name, 0)) for one, grant in answer])
            self._tell(subject, [pair for pair, happened in zip(answer, done, strict=True) if happened])
        return None

    async def _serve(self, subject: ActSubject, name: str) -> None:
        pod = self._deps.store.get(kinds.POD, subject.namespace, name)
        if pod is not None:
            written = await self._deps.client.serve(name, subject.namespace, uid=pod["metadata"]["uid"])
            self._deps.store.put(kinds.POD, written)

    async def _reserve_validator(self, subject: ActSubject) -> str | None:
        name = labels.child_name(subject.name, Component.VALIDATOR)
        if any(e["component"] == Component.VALIDATOR and e["node"] == subject.node for e in self._gate.open(subject)):
            return None  # granted in an earlier pass; it stands until the validator is back
        act, target = Act.STOP, await self._gate.target(kinds.STATEFUL_SET, subject.namespace, name)
        if target is None:
            # Its StatefulSet may have been deleted without its pod, which signs on.
            pod = labels.pod_name(subject.name, Component.VALIDATOR)
            act, target = Act.DELETE_POD, await self._gate.target(kinds.POD, subject.namespace, pod)
        if target is None:
            return None
        answer = await self._gate.ask(subject, act, target, Component.VALIDATOR, "the node is being stopped")
        return None if isinstance(answer, Grant) else answer

    async def _do(
        self, subject: ActSubject, act: Act, kind: Kind, name: str, reason: str, component: str = Component.VALIDATOR
    ) -> str | None:
        target = await self._gate.target(kind, subject.namespace, name)
        if target is None:
            return None  # gone already: the next pass sees it
        answer = await self._gate.ask(subject, act, target, component, reason)
        if not isinstance(answer, Grant):
            return answer
        one = FreeAct(act, kind, name, component, reason)
        if await self._carry_out(one, answer, 0):
            self._tell(subject, [(one, answer)])
        return None

    async def _carry_out(self, one: FreeAct, grant: Grant, replicas: int) -> bool:
        """Whether it was done. Somebody who changed the target since the grant makes it nothing: it is decided anew."""
        client, store = self._deps.client, self._deps.store
        try:
            if one.act is Act.STOP:
                store.put(one.kind, await client.scale(grant, replicas))
            elif one.act is Act.SERVING_OFF:
                store.put(one.kind, await client.stop_serving(grant))
            else:
                await client.delete(grant)
        except (Conflict, NotFound):
            return False
        if one.act is Act.PRUNE:
            known = store.get(one.kind, grant.target.namespace, one.name)
            if known is not None:
                store.remove(one.kind, known)
        return True

    def _tell(self, subject: ActSubject, done: Sequence[tuple[FreeAct, Grant]]) -> None:
        """One Event for all of them; each has a line of its own in the audit log."""
        done = [(one, grant) for one, grant in done if one.act is not Act.PRUNE]
        if not done:
            return
        (first, grant), more = done[0], len(done) - 1
        others = f", and the same for {more} more ({', '.join(one.name for one, _ in done[1:6])}{', …' * (more > 5)})"
        self._deps.events.normal(
            subject.raw,
            EventReason.DISRUPTED,
            f"{first.act} {first.kind.kind} {first.name}: {first.reason} (grant {grant.id}){others if more else ''}",
            action=first.act.value,
        )

    # -- giving back -------------------------------------------------------------------------------------------------
    def owes(self, subject: ActSubject, goal: Goal) -> bool:
        """Whether a grant of the node is to be given back as soon as its validator is seen to follow the chain.

        Nothing tells of that but a later reading, so it must be looked for: others may be waiting for this grant.
        """
        return goal is not Goal.STOPPED and bool(self._gate.open(subject))

    async def settle(self, subject: ActSubject, goal: Goal) -> None:
        """Grants of a node that runs again, or that is no longer to be stopped or moved, are given back."""
        if goal is Goal.STOPPED or subject.network_name is None or not self._gate.open(subject):
            return
        raw = await self._settled_pod(subject)
        if raw is None:
            return
        pod = pod_view(raw)
        machine = self._deps.store.get(kinds.NODE, None, pod.kube_node) if pod.kube_node else None
        moving = machine is not None and leaving(machine) is not None
        reading = self._deps.health.reading((subject.namespace, subject.name))
        follows = follows_the_chain(reading, pod, self._deps.clock.now())
        for entry in await self._deps.gate.open_grants(subject.network_name, node=subject.node, address=subject.key):
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
        return await self._gate.validator_pod(subject)

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
                return await self._do(subject, act.act, kinds.POD, act.pod.name, reason, act.pod.component)
        return None


def _why(step: Step) -> str:
    words = {
        ActKind.SCALE_DOWN: "is stopped as the spec asks",
        ActKind.SERVING_OFF: "takes no more traffic as the spec asks",
        ActKind.DELETE_WORKLOAD: "is removed with its JILNode",
        ActKind.DELETE_POD: "is stopped as the spec asks, and its workload is gone",
    }
    return f"{step.component} {words[step.kind]}"
