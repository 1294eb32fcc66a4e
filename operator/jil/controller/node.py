"""JILNode: observe -> plan -> (gate) -> apply -> status, level-triggered, at most one disruptive act per pass."""

from __future__ import annotations

from dataclasses import replace

from jil.api import kinds, labels
from jil.api.conditions import ConditionType, Finding, Reason, false, true
from jil.api.labels import Component
from jil.api.node import JILNode
from jil.api.objects import InvalidObject
from jil.api.record import JILNodeRecord
from jil.cluster.apply import Change, Outcome
from jil.cluster.client import Manifest
from jil.cluster.errors import Forbidden, Invalid, NotOurs
from jil.cluster.events import EventReason
from jil.cluster.together import both, side_by_side
from jil.controller import finalizer, node_facts
from jil.controller.beginnings import Beginnings, is_new
from jil.controller.chain_facts import SignedHeights
from jil.controller.deps import Deps
from jil.controller.node_acts import NodeActs
from jil.controller.node_audit import audit
from jil.controller.node_gate import ActSubject
from jil.controller.node_prepare import NodePreparer, Prepared
from jil.controller.node_pull_login import NodePullLogin
from jil.controller.node_record import ran_before, with_release
from jil.controller.node_removal import NodeRemoval
from jil.controller.node_status import NodeStatusWriter
from jil.controller.node_trust import NodeTrust, Withheld
from jil.controller.orphans import Orphans
from jil.controller.permits import PermitFor, Permits
from jil.controller.release_trust import ReleaseTrust
from jil.controller.rendered import Rendered
from jil.controller.volumes import Volumes
from jil.engine.queue import Key
from jil.engine.runtime import Result
from jil.plan.findings import NodeFacts, Verdict, judge, not_admitted, refused
from jil.plan.lifecycle import Goal, Workload, plan_lifecycle
from jil.plan.spec_check import SpecProblem
from jil.render import node as render_node
from jil.render.context import NodeContext, Object

POLL_SECONDS = 5.0
"""How soon a node that waits for something is looked at again; events usually come first."""
RECHECK_SECONDS = 60.0
"""How often a node at rest is compared with its network's height: falling behind is no event of the API server."""


class NodeReconciler:
    """One JILNode per call; everything it needs comes from the store, the record and live reads of what is critical."""

    def __init__(self, deps: Deps, trust: ReleaseTrust, logins: NodePullLogin | None = None) -> None:
        self._deps = deps
        self._trust = NodeTrust(deps, trust)
        self._logins = logins or NodePullLogin(deps, None)
        self._volumes = Volumes(deps)
        self._permits = Permits(deps)
        self._acts = NodeActs(deps)
        self._removal = NodeRemoval(deps, self._acts)
        self.orphans = Orphans(deps, self._acts, self._removal, self._let_start)
        self._status = NodeStatusWriter(deps)
        self._preparer = NodePreparer(deps)
        self._rendered = Rendered()
        self._heights = SignedHeights(deps)
        self._beginnings = Beginnings(is_new(deps.store))

    async def __call__(self, key: Key) -> Result:
        with self._beginnings.look((key.namespace or "", key.name)):
            result = await self._look(key)
        login = self._logins.due_in(key)
        if login is None or (result.requeue_after is not None and result.requeue_after <= login):
            return result
        return Result(requeue_after=login)

    async def _look(self, key: Key) -> Result:
        namespace = key.namespace or ""
        raw = self._deps.store.get(kinds.JIL_NODE, namespace, key.name)
        self._hear(namespace, key.name, declared=raw is not None)
        if raw is None:
            self._logins.forget(key)
            return await self.orphans(key)
        self.orphans.back(key)
        try:
            node = JILNode.parse(raw)
        except InvalidObject as error:
            await self._status.write(raw, None, refused(Reason.SPEC_UNREADABLE, str(error)))
            return Result()
        if node.metadata.deleting and not finalizer.held(node):
            return Result()
        resolved = node_facts.resolve_node(self._deps, node)
        if isinstance(resolved, SpecProblem):
            if node.metadata.deleting:
                return await self._delete_unresolved(node, raw)
            await self._guard(node, raw)
            await self._refuse(raw, node, resolved)
            return Result(requeue_after=RECHECK_SECONDS)
        trust: Finding | None = None
        if not node.metadata.deleting:
            admitted = await self._trust.admit(node, resolved)
            if isinstance(admitted, Withheld):
                if admitted.runs_something:
                    await self._guard(node, raw)
                await self._status.write(raw, None, not_admitted(admitted.finding))
                return Result(requeue_after=RECHECK_SECONDS)
            resolved, trust = admitted
        if not node.metadata.deleting and not finalizer.held(node):
            raw = await finalizer.add(self._deps.client, node)
            node = JILNode.parse(raw)
        prepared = await self._preparer.prepare(node, raw, resolved)
        if isinstance(prepared, SpecProblem):
            if node.metadata.deleting:
                return await self._delete_unresolved(node, raw)
            await self._guard(node, raw)
            await self._refuse(raw, node, prepared)
            return Result(requeue_after=RECHECK_SECONDS)
        prepared = replace(prepared, trust=trust)
        try:
            return await self._drive(prepared)
        except (Forbidden, Invalid) as error:
            finding = false(ConditionType.READY, Reason.FORBIDDEN, f"the API server refuses a write: {error}")
            await self._status.write(raw, prepared.record, Verdict((finding,), "Degraded"))
            raise

    def _hear(self, namespace: str, name: str, *, declared: bool) -> None:
        """Whose health endpoint is there is asked, whatever is wrong with its spec and also when its JILNode is gone: its
        validator may sign, and one that is not heard counts as away and holds back everybody else."""
        service = labels.child_name(name, Component.HEALTH)
        if self._deps.store.get(kinds.SERVICE, namespace, service) is not None:
            self._deps.health.watch((namespace, name))
        elif not declared:
            self._deps.health.forget((namespace, name))

    async def _guard(self, node: JILNode, raw: Manifest) -> None:
        """A fault of the spec takes nothing from what runs: a validator that has its place keeps being let start,
        machines can be drained, and who is back gives its grant back."""
        record = await self._deps.records.read(node.spec.node_id)
        if record is None or record.spec.owner.uid != node.metadata.uid:
            return
        record, _ = await self._permit(node, record)
        await self._login(node, raw, record, Goal(node.spec.state))
        subject = ActSubject.of(raw, node, node_facts.network_of(self._deps, record), record)
        host = await self._volumes.validator_host(record)
        await self._acts.settle(subject, Goal(node.spec.state))
        await self._acts.drain(subject, {Component.VALIDATOR.value: host} if host else {})

    async def _permit(self, node: JILNode, record: JILNodeRecord) -> tuple[JILNodeRecord, tuple[Reason, str] | None]:
        """The permit of a validator that is meant to have a pod now, whatever the spec wants of it later."""
        return await self._let_start(PermitFor(node.metadata.namespace or "", node.name), record)

    async def _let_start(
        self, node: PermitFor, record: JILNodeRecord
    ) -> tuple[JILNodeRecord, tuple[Reason, str] | None]:
        """The same, of a node that may be known by its children and its record alone."""
        record = await self._permits.note_end(record)
        name = labels.child_name(node.name, Component.VALIDATOR)
        workload = self._deps.store.get(kinds.STATEFUL_SET, node.namespace, name)
        if workload is None or workload["spec"].get("replicas", 1) == 0:
            return record, None
        only_on = await self._volumes.validator_host(record)
        return await self._permits.ensure(node, record, only_on=only_on)

    async def _login(self, node: JILNode, raw: Manifest, record: JILNodeRecord, goal: Goal) -> Finding:
        """The node's login at the registry, for as long as a pod of it may have to pull."""
        namespace = node.metadata.namespace or ""
        if goal in (Goal.STOPPED, Goal.DELETED) and not any(
            w.kept or w.pods for w in node_facts.workloads(self._deps, namespace, node.name, [])
        ):
            self._logins.forget(Key(kinds.JIL_NODE.kind, namespace, node.name))
            return true(
                ConditionType.PULL_LOGIN_READY, Reason.STOPPED, "no pod of the node pulls: its login is not renewed"
            )
        return await self._logins.ensure(node, raw, record)

    # -- preparation -------------------------------------------------------------------------------------------------
    async def _refuse(self, raw: Manifest, node: JILNode, problem: SpecProblem) -> None:
        await self._status.write(raw, None, refused(problem.reason, problem.message))
        self._deps.events.warning(raw, problem.reason, problem.message, action="Validate")

    # -- the pass ----------------------------------------------------------------------------------------------------
    async def _drive(self, prepared: Prepared) -> Result:
        deps, ctx, record = self._deps, prepared.ctx, prepared.record
        if prepared.node.metadata.deleting:
            record, _ = await self._permit(prepared.node, record)
            await self._login(prepared.node, prepared.raw, record, Goal.DELETED)
            workloads = node_facts.workloads(deps, ctx.namespace, ctx.name, [])
            subject = ActSubject.of(prepared.raw, prepared.node, prepared.resolved.network, record)
            return await self._take_down(prepared.node, subject, workloads)
        goal = Goal(prepared.node.spec.state)
        prepared = replace(prepared, login=await self._login(prepared.node, prepared.raw, record, goal))
        if prepared.identity.status != "True":
            return await self._held(prepared, goal)
        hold = prepared.hold
        volumes = await self._volumes.ensure(ctx, record)
        record = volumes.record
        permit_hold: tuple[Reason, str] | None = None
        if hold is None:
            # Before anything that can be refused: a pod that waits for its permit must not wait for a disk quota.
            record, permit_hold = await self._permit(prepared.node, record)
        rendered = self._rendered.objects(ctx)
        workloads = node_facts.workloads(deps, ctx.namespace, ctx.name, rendered)
        plan = plan_lifecycle(goal, workloads)
        replicas = self._withhold(dict(plan.replicas), workloads, hold, volumes.blocked)
        for intent in rendered:
            if intent["kind"] == "StatefulSet" and not node_facts.template_settled(deps, ctx, intent):
                replicas[intent["metadata"]["name"]] = 0
        rendered = render_node.with_replicas(rendered, replicas)
        taken = node_facts.name_taken(deps, ctx, rendered)
        if taken is not None:
            await self._refuse(prepared.raw, prepared.node, taken)
            return Result()
        try:
            await self._apply(prepared.raw, rendered)
        except NotOurs as error:
            await self._refuse(prepared.raw, prepared.node, SpecProblem(Reason.NAME_TAKEN, str(error)))
            return Result(requeue_after=60.0)
        workloads = node_facts.workloads(deps, ctx.namespace, ctx.name, rendered)
        workloads = [replace(w, declared=self._declared(w, ctx, goal)) for w in workloads]
        subject = ActSubject.of(prepared.raw, prepared.node, prepared.resolved.network, record)
        await self._acts.settle(subject, goal)
        denial = await self._acts.perform(subject, plan)
        if denial is None and plan.act is None:
            denial = await self._acts.drain(subject, volumes.only_on)
        if plan.done:
            await self._removal.prune(subject, rendered)
        record = await self._heights.note(record, prepared.resolved.network)
        health = (ctx.namespace, ctx.name)
        deps.health.watch(health)
        told = prepared.raw.get("status", {}).get("phase") in ("Ready", "Maintenance")
        if told and goal in (Goal.RUNNING, Goal.MAINTENANCE) and deps.health.reading(health) is None:
            # A new leader has read nobody's health yet, and does so within seconds: until then the status stands.
            return Result(requeue_after=POLL_SECONDS)
        verdict = judge(
            NodeFacts(
                goal=goal,
                workloads=workloads,
                health=deps.health.reading((ctx.namespace, ctx.name))
                if goal in (Goal.RUNNING, Goal.MAINTENANCE)
                else None,
                network_height=node_facts.network_height(deps, ctx.network_name),
                identity=prepared.identity,
                storage=volumes.finding,
                hold=hold or permit_hold,
                now=deps.clock.now(),
                ran_before=ran_before(prepared.raw, record),
            )
        )
        record = await with_release(deps, record, ctx, goal, workloads, ready=verdict.phase == "Ready")
        verdict = _with(verdict, prepared.trust, prepared.login)
        await self._status.write(prepared.raw, record, verdict, ctx=ctx, goal=goal, workloads=workloads, denial=denial)
        settled = verdict.phase in ("Ready", "Stopped", "Maintenance") and denial is None and plan.act is None
        if settled and not self._acts.owes(subject, goal):
            return Result(requeue_after=RECHECK_SECONDS)
        return Result(requeue_after=0.2 if plan.act and denial is None else POLL_SECONDS)

    async def _held(self, prepared: Prepared, goal: Goal) -> Result:
        """Identity lost or foreign: nothing is started, and nothing that runs is touched, unless it is to be stopped."""
        ctx = prepared.ctx
        workloads = node_facts.workloads(self._deps, ctx.namespace, ctx.name, [])
        denial: str | None = None
        subject = ActSubject.of(prepared.raw, prepared.node, prepared.resolved.network, prepared.record)
        await self._acts.settle(subject, goal)
        if goal is Goal.STOPPED:
            denial = await self._acts.perform(subject, plan_lifecycle(goal, workloads))
        verdict = judge(
            NodeFacts(
                goal=goal,
                workloads=workloads,
                health=None,
                network_height=None,
                identity=prepared.identity,
                storage=true(ConditionType.STORAGE_READY, Reason.READY, "not looked at while the identity is in doubt"),
                hold=prepared.hold,
                now=self._deps.clock.now(),
                ran_before=bool(prepared.record.spec.releases),
            )
        )
        verdict = _with(verdict, prepared.trust, prepared.login)
        await self._status.write(
            prepared.raw, prepared.record, verdict, ctx=ctx, goal=goal, workloads=workloads, denial=denial
        )
        return Result(requeue_after=1.0 if goal is Goal.STOPPED and verdict.phase != "Stopped" else RECHECK_SECONDS)

    @staticmethod
    def _withhold(
        replicas: dict[str, int],
        workloads: list[Workload],
        hold: tuple[Reason, str] | None,
        blocked: frozenset[Component],
    ) -> dict[str, int]:
        """What may not be started stays as it is: a hold never takes down what runs."""
        for workload in workloads:
            held = workload.component in blocked or (hold is not None and workload.component == Component.VALIDATOR)
            if held and workload.name in replicas:
                replicas[workload.name] = min(replicas[workload.name], workload.kept)
        return replicas

    @staticmethod
    def _declared(workload: Workload, ctx: NodeContext, goal: Goal) -> int:
        """What the spec asks for, whatever this pass may apply yet."""
        if goal is Goal.STOPPED:
            return 0
        if not workload.is_service:
            return 1
        service = next((s for s in ctx.release.services if s.name == workload.component), None)
        return ctx.node.replicas(service) if service is not None else 0

    async def _apply(self, raw: Manifest, rendered: list[Object]) -> None:
        """What workloads refer to and what guards them; then the workloads, with the replicas that their turn gives them."""
        supports = [o for o in rendered if o["kind"] not in (*render_node.WORKLOAD_KINDS, "PersistentVolumeClaim")]
        # Services queue for their addresses behind those of other nodes: the rest does not wait with them.
        services = [self._apply_one(raw, intent) for intent in supports if intent["kind"] == "Service"]
        others = [self._apply_one(raw, intent) for intent in supports if intent["kind"] != "Service"]
        await both(side_by_side(services), side_by_side(others))
        await self._beginnings.turn((raw["metadata"]["namespace"], raw["metadata"]["name"]))
        await side_by_side([self._apply_one(raw, intent) for intent in render_node.workloads(rendered)])

    async def _apply_one(self, raw: Manifest, intent: Object) -> None:
        kind, meta = kinds.kind_of(intent), intent["metadata"]
        live = self._deps.store.get(kind, meta["namespace"], meta["name"])
        outcome = await self._deps.applier.ensure(intent, live)
        self._tell(raw, f"{intent['kind']} {meta['name']}", outcome)

    def _tell(self, raw: Manifest, what: str, outcome: Outcome) -> None:
        """An Event for what was put right, and for a child that was there before and is made again."""
        if outcome.change is Change.CREATED:
            # The forty children of a bring-up are no news; one that was there before is.
            if raw.get("status", {}).get("phase") in ("Ready", "Stopped", "Maintenance", "Degraded", "CatchingUp"):
                self._deps.events.normal(raw, EventReason.RESTORED, f"{what} was gone and made again", action="Apply")
        elif outcome.drift and outcome.change in (Change.UPDATED, Change.FOREIGN_REMOVED):
            foreign = outcome.change is Change.FOREIGN_REMOVED
            reason = EventReason.FOREIGN_FIELDS_REMOVED if foreign else EventReason.RESTORED
            detail = "; ".join([*outcome.differences, *(str(f) for f in outcome.foreign)])[:800]
            note = f"{what} was changed by somebody else and put right: {detail}"
            self._deps.events.warning(raw, reason, note, action="Apply")

    async def _delete_unresolved(self, node: JILNode, raw: Manifest) -> Result:
        """A deletion goes on without release or jurisdiction: what is there is stopped in order, under grants. A validator
        that may not go yet is let start again when its pod is evicted meanwhile; the record of another node lets start
        nobody here."""
        workloads = node_facts.workloads(self._deps, node.metadata.namespace or "", node.name, [])
        record = await self._deps.records.read(node.spec.node_id)
        if record is not None and record.spec.owner.uid == node.metadata.uid:
            record, _ = await self._permit(node, record)
            await self._login(node, raw, record, Goal.DELETED)
        network = node_facts.network_of(self._deps, record)
        return await self._take_down(node, ActSubject.of(raw, node, network, record), workloads)

    async def _take_down(self, node: JILNode, subject: ActSubject, workloads: list[Workload]) -> Result:
        plan = plan_lifecycle(Goal.DELETED, workloads)
        denial = await self._acts.perform(subject, plan)
        if denial is not None:
            await self._status.blocked(subject.raw, denial)
            return Result(requeue_after=POLL_SECONDS)
        if plan.stranded and plan.waiting:
            await self._status.waits(subject.raw, plan.waiting)
            return Result(requeue_after=RECHECK_SECONDS)
        if plan.done and await self._removal.clear(subject):
            await finalizer.remove(self._deps.client, node)
            self._deps.health.forget((node.metadata.namespace or "", node.name))
            # Who asked for it stands in the API server's audit log; here, that it was done in order and what is left.
            audit(
                "node.removed",
                node=subject.node,
                nodeId=node.spec.node_id,
                uid=node.metadata.uid,
                why="the JILNode was deleted",
                kept="volumes, keys, record and p2p Service",
            )
            return Result()
        return Result(requeue_after=1.0)


def _with(verdict: Verdict, *more: Finding | None) -> Verdict:
    """Ready does not depend on them: a key that is revoked under a running node, or a registry that it may not enter,
    takes nothing from those it serves."""
    return replace(verdict, findings=(*(finding for finding in more if finding is not None), *verdict.findings))
