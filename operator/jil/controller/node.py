"""JILNode: observe -> plan -> (gate) -> apply -> status, level-triggered, at most one disruptive act per pass."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from jil.api import kinds, labels
from jil.api.conditions import ConditionType, Finding, Reason, false, true
from jil.api.labels import Component
from jil.api.node import JILNode
from jil.api.objects import InvalidObject
from jil.api.record import JILNodeRecord
from jil.cluster.apply import Change, Outcome
from jil.cluster.client import Manifest
from jil.cluster.errors import NotOurs
from jil.cluster.events import EventReason
from jil.cluster.identity import IdentityProblem, IdentityRequest, ensure_identity
from jil.cluster.keys import KeyRole, PublicFacts
from jil.controller import node_facts
from jil.controller.deps import Deps
from jil.controller.genesis_copy import ensure_genesis
from jil.controller.network import member_facts
from jil.controller.node_acts import ActSubject, NodeActs
from jil.controller.node_record import keys_of, with_release
from jil.controller.node_status import NodeStatusWriter
from jil.controller.permits import Permits
from jil.controller.queue import Key
from jil.controller.runtime import Result
from jil.controller.volumes import Volumes
from jil.plan.findings import NodeFacts, judge, refused
from jil.plan.lifecycle import Goal, Workload, plan_lifecycle
from jil.plan.spec_check import Resolved, SpecProblem, claim_problem
from jil.render import node as render_node
from jil.render import validator
from jil.render.context import TEMPLATE_VERSION, NodeContext, Object

FINALIZER = "jil.io/node"
"""Holds a deleted JILNode until its workloads are down in order, under grants."""

POLL_SECONDS = 5.0
"""How soon a node that waits for something is looked at again; events usually come first."""
APPLY_CONCURRENCY = 6
"""Requests of one pass at the same time: a new node has forty children, and other nodes want the API server too."""
IDENTITY_CHECK_SECONDS = 300.0
"""Secrets are not watched: a node at rest has its identity compared this often."""


@dataclass(frozen=True)
class _Prepared:
    """A node whose references are resolved and whose record is its own."""

    node: JILNode
    raw: Manifest
    resolved: Resolved
    record: JILNodeRecord
    ctx: NodeContext
    identity: Finding
    hold: tuple[Reason, str] | None
    """Why the validator may not start, as far as it is known before its pod is looked at."""


class NodeReconciler:
    """One JILNode per call; everything it needs comes from the store, the record and live reads of what is critical."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._volumes = Volumes(deps)
        self._permits = Permits(deps)
        self._acts = NodeActs(deps)
        self._status = NodeStatusWriter(deps)
        self._verified: dict[str, tuple[str, float]] = {}  # node uid -> (record resourceVersion, when)

    async def __call__(self, key: Key) -> Result:
        namespace = key.namespace or ""
        raw = self._deps.store.get(kinds.JIL_NODE, namespace, key.name)
        if raw is None:
            self._deps.health.forget((namespace, key.name))
            return Result()
        try:
            node = JILNode.parse(raw)
        except InvalidObject as error:
            await self._status.write(raw, None, refused(Reason.SPEC_UNREADABLE, str(error)))
            return Result()
        if node.metadata.deleting and FINALIZER not in node.metadata.finalizers:
            return Result()
        resolved = node_facts.resolve_node(self._deps, node)
        if isinstance(resolved, SpecProblem):
            if node.metadata.deleting:
                return await self._delete_unresolved(node, raw)
            await self._refuse(raw, node, resolved)
            return Result()
        if not node.metadata.deleting and FINALIZER not in node.metadata.finalizers:
            raw = await self._add_finalizer(node)
            node = JILNode.parse(raw)
        prepared = await self._prepare(node, raw, resolved)
        if isinstance(prepared, SpecProblem):
            if node.metadata.deleting:
                await self._remove_finalizer(node)
                return Result()
            await self._refuse(raw, node, prepared)
            return Result()
        return await self._drive(prepared)

    # -- preparation -------------------------------------------------------------------------------------------------
    async def _refuse(self, raw: Manifest, node: JILNode, problem: SpecProblem) -> None:
        await self._status.write(raw, None, refused(problem.reason, problem.message))
        self._deps.events.warning(raw, problem.reason, problem.message, action="Validate")

    async def _add_finalizer(self, node: JILNode) -> Manifest:
        existing = list(node.metadata.finalizers)
        operation = {"op": "add", "path": "/metadata/finalizers", "value": [*existing, FINALIZER]}
        return await self._deps.client.json_patch(
            kinds.JIL_NODE,
            node.name,
            node.metadata.namespace,
            [operation],
            resource_version=node.metadata.resource_version,
        )

    async def _remove_finalizer(self, node: JILNode) -> None:
        rest = [f for f in node.metadata.finalizers if f != FINALIZER]
        operation = {"op": "replace", "path": "/metadata/finalizers", "value": rest}
        await self._deps.client.json_patch(
            kinds.JIL_NODE,
            node.name,
            node.metadata.namespace,
            [operation],
            resource_version=node.metadata.resource_version,
        )
        self._deps.health.forget((node.metadata.namespace or "", node.name))

    async def _prepare(self, node: JILNode, raw: Manifest, resolved: Resolved) -> _Prepared | SpecProblem:
        deps = self._deps
        record = await deps.records.read(node.spec.node_id)
        if record is None:
            record = await deps.records.claim(
                node,
                network=resolved.network.name,
                cluster_uid=deps.cluster_uid,
                template_version=TEMPLATE_VERSION,
            )
        problem = claim_problem(node, record, owner_exists=self._owner_exists(record))
        if problem:
            return problem
        owner = record.spec.owner.model_copy(
            update={"namespace": node.metadata.namespace, "name": node.name, "uid": node.metadata.uid}
        )
        record = await deps.records.change(record, owner=owner)
        ctx = self._context(node, resolved, record)
        if node.spec.validator.enabled and not node.metadata.deleting:
            record = await self._ensure_p2p(ctx, record)
            ctx = replace(ctx, p2p_cluster_ip=record.spec.p2p.cluster_ip if record.spec.p2p else None)
        try:
            record = await self._ensure_identity(node, ctx, record)
            identity = true(ConditionType.IDENTITY_READY, Reason.READY, "keys exist and are the recorded ones")
        except IdentityProblem as error:
            identity = false(ConditionType.IDENTITY_READY, error.reason, error.message)
            deps.events.warning(raw, error.reason, error.message, action="Identity")
            return _Prepared(node, raw, resolved, record, ctx, identity, (error.reason, error.message))
        hold: tuple[Reason, str] | None = None
        if node.spec.validator.enabled:
            record, hold = await ensure_genesis(deps, ctx, record, resolved.network)
        # Peers that became known meanwhile (our own id among them) belong into the allow-list of this very pass.
        ctx = self._context(node, resolved, record)
        return _Prepared(node, raw, resolved, record, ctx, identity, hold)

    def _owner_exists(self, record: JILNodeRecord) -> bool:
        owner = record.spec.owner
        live = self._deps.store.get(kinds.JIL_NODE, owner.namespace, owner.name)
        return live is not None and live["metadata"]["uid"] == owner.uid

    def _context(self, node: JILNode, resolved: Resolved, record: JILNodeRecord) -> NodeContext:
        members = member_facts(self._deps, resolved.network)
        dialled, allowed = node_facts.peers(members, resolved.network, node.spec.node_id)
        if record.spec.keys.node:
            allowed = tuple(sorted({*allowed, record.spec.keys.node.peer_id}))
        return NodeContext(
            name=node.name,
            namespace=node.metadata.namespace or "",
            uid=node.metadata.uid,
            node=node.spec,
            jurisdiction_name=resolved.jurisdiction.name,
            jurisdiction=resolved.jurisdiction.spec,
            network=resolved.network.spec,
            release_name=resolved.release.name,
            release=resolved.release.spec,
            system_namespace=self._deps.system_namespace,
            dialled_peers=dialled,
            allowed_peer_ids=allowed,
            p2p_cluster_ip=record.spec.p2p.cluster_ip if record.spec.p2p else None,
            template_version=record.spec.template_version,
        )

    async def _ensure_p2p(self, ctx: NodeContext, record: JILNodeRecord) -> JILNodeRecord:
        """The p2p Service comes before everything that would dial it; its address is recorded once."""
        intent = validator.p2p_service(ctx)
        live = self._deps.store.get(kinds.SERVICE, ctx.namespace, intent["metadata"]["name"])
        outcome = await self._deps.applier.ensure(intent, live)
        address = outcome.object["spec"].get("clusterIP")
        if not address or address == "None":
            return record
        facts = {"clusterIP": address}
        return await self._deps.records.change(record, p2p=facts)

    async def _ensure_identity(self, node: JILNode, ctx: NodeContext, record: JILNodeRecord) -> JILNodeRecord:
        stamp = (record.metadata.resource_version, self._deps.clock.monotonic())
        verified = self._verified.get(node.metadata.uid)
        if verified and verified[0] == stamp[0] and stamp[1] - verified[1] < IDENTITY_CHECK_SECONDS:
            return record
        child = labels.child_labels(
            node=ctx.name,
            node_uid=ctx.uid,
            component="identity",
            network=ctx.network_name,
            jurisdiction=ctx.jurisdiction_name,
        )
        for _ in range(2):  # once to make and record the keys, once more to hand out their copies
            request = IdentityRequest(
                record.spec, node.name, ctx.namespace, self._deps.system_namespace, self._deps.cluster_uid, child
            )
            found: dict[KeyRole, PublicFacts] = await ensure_identity(
                self._deps.client, request, validator=node.spec.validator.enabled
            )
            updated = await self._deps.records.change(record, keys=keys_of(record.spec.keys, found))
            if updated == record:
                break
            record = updated
            self._deps.store.put(kinds.JIL_NODE_RECORD, await self._raw_record(record))
        self._verified[node.metadata.uid] = (record.metadata.resource_version, stamp[1])
        return record

    async def _raw_record(self, record: JILNodeRecord) -> Manifest:
        return await self._deps.client.get(kinds.JIL_NODE_RECORD, record.name, self._deps.system_namespace)

    # -- the pass ----------------------------------------------------------------------------------------------------
    async def _drive(self, prepared: _Prepared) -> Result:
        deps, ctx, record = self._deps, prepared.ctx, prepared.record
        if prepared.node.metadata.deleting:
            workloads = node_facts.workloads(deps, ctx.namespace, ctx.name, [])
            subject = ActSubject.of(prepared.raw, prepared.node, prepared.resolved.network, record)
            return await self._take_down(prepared.node, subject, workloads)
        goal = Goal(prepared.node.spec.state)
        if prepared.identity.status != "True":
            return await self._held(prepared, goal)
        hold = prepared.hold
        volumes = await self._volumes.ensure(ctx, record)
        record = volumes.record
        rendered = render_node.objects(ctx)
        workloads = node_facts.workloads(deps, ctx.namespace, ctx.name, rendered)
        plan = plan_lifecycle(goal, workloads)
        replicas = self._withhold(dict(plan.replicas), workloads, hold, volumes.blocked)
        rendered = render_node.objects(replace(ctx, replicas=replicas))
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
        if ctx.node.validator.enabled and goal in (Goal.RUNNING, Goal.MAINTENANCE) and hold is None:
            only_on = volumes.only_on.get(Component.VALIDATOR.value)
            record, hold = await self._permits.ensure(ctx, record, only_on=only_on)
        subject = ActSubject.of(prepared.raw, prepared.node, prepared.resolved.network, record)
        denial = await self._acts.perform(subject, plan)
        if denial is None and plan.act is None:
            denial = await self._acts.drain(subject, volumes.only_on)
        await self._acts.settle(subject, goal, workloads)
        if plan.done:
            await self._acts.prune(subject, rendered)
        record = await with_release(deps, record, ctx, goal, workloads)
        deps.health.watch((ctx.namespace, ctx.name))
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
                hold=hold,
                now=deps.clock.now(),
                ran_before=bool(record.spec.releases),
            )
        )
        await self._status.write(prepared.raw, record, verdict, ctx=ctx, goal=goal, workloads=workloads, denial=denial)
        settled = verdict.phase in ("Ready", "Stopped", "Maintenance") and denial is None and plan.act is None
        return Result(requeue_after=None if settled else (0.2 if plan.act and denial is None else POLL_SECONDS))

    async def _held(self, prepared: _Prepared, goal: Goal) -> Result:
        """Identity lost or foreign: nothing is started, and nothing that runs is touched."""
        ctx = prepared.ctx
        workloads = node_facts.workloads(self._deps, ctx.namespace, ctx.name, [])
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
        await self._status.write(prepared.raw, prepared.record, verdict, ctx=ctx, goal=goal, workloads=workloads)
        return Result(requeue_after=60.0)

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
                replicas[workload.name] = min(replicas[workload.name], workload.live_replicas or 0)
        return replicas

    @staticmethod
    def _declared(workload: Workload, ctx: NodeContext, goal: Goal) -> int:
        """What the spec asks for, whatever this pass may apply yet."""
        if goal is Goal.STOPPED:
            return 0
        if not workload.is_service:
            return 1
        service = next((s for s in ctx.release.services if s.name == workload.component), None)
        override = ctx.node.override(workload.component)
        if service is None:
            return 0
        return service.replicas if override is None or override.replicas is None else override.replicas

    async def _apply(self, raw: Manifest, rendered: list[Object]) -> None:
        """What workloads refer to, side by side; then the workloads, one after the other in their starting order."""
        supports = [o for o in rendered if o["kind"] not in (*render_node.WORKLOAD_KINDS, "PersistentVolumeClaim")]
        limit = asyncio.Semaphore(APPLY_CONCURRENCY)

        async def one(intent: Object) -> None:
            async with limit:
                await self._apply_one(raw, intent)

        # Not a TaskGroup: the work queue acts on the class of the error, which a group would wrap.
        for outcome in await asyncio.gather(*(one(intent) for intent in supports), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        for intent in render_node.workloads(rendered):
            await self._apply_one(raw, intent)

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
        """A deletion goes on without release or jurisdiction: what is there is stopped in order, under grants."""
        workloads = node_facts.workloads(self._deps, node.metadata.namespace or "", node.name, [])
        record = await self._deps.records.read(node.spec.node_id)
        network = node_facts.network_of(self._deps, record)
        return await self._take_down(node, ActSubject.of(raw, node, network, record), workloads)

    async def _take_down(self, node: JILNode, subject: ActSubject, workloads: list[Workload]) -> Result:
        plan = plan_lifecycle(Goal.DELETED, workloads)
        denial = await self._acts.perform(subject, plan)
        if denial is not None:
            await self._status.blocked(subject.raw, denial)
            return Result(requeue_after=POLL_SECONDS)
        if plan.done and await self._acts.clear(subject):
            await self._remove_finalizer(node)
            return Result()
        return Result(requeue_after=1.0)
