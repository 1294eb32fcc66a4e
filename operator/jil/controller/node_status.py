"""Status of a JILNode: a view of what was found, written when it differs; heights are samples with an owner of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from jil.api import kinds
from jil.api.conditions import NODE_CONDITIONS, ConditionType, Reason, false, find, merge
from jil.api.node import NodeStatus
from jil.api.record import JILNodeRecord
from jil.cluster.client import Manifest
from jil.cluster.errors import NotFound
from jil.cluster.events import EventReason
from jil.controller.deps import Deps
from jil.controller.node_facts import network_height
from jil.plan.findings import Verdict, component_rows
from jil.plan.health import HealthReading
from jil.plan.lifecycle import Goal, Workload
from jil.plan.waiting import deadline
from jil.render.context import NodeContext

SAMPLE_SECONDS: Final = 50.0
"""Between two writes of a node's height: every look at a node at rest (they are 60 s apart) may write it."""
SAMPLES_PER_SECOND: Final = 7.0
"""Of all nodes together, so that a fleet's heights do not become the API server's main load: each is a revision in etcd
and an event for everyone who watches. 350 nodes have a height of the last minute, 2,000 of the last five."""


def sample_interval(nodes: int) -> float:
    """Seconds between two samples of one node, in a cluster of so many."""
    return max(SAMPLE_SECONDS, nodes / SAMPLES_PER_SECOND)


class NodeStatusWriter:
    """Turns a verdict into ``status`` and writes it."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def write(
        self,
        raw: Manifest,
        record: JILNodeRecord | None,
        verdict: Verdict,
        *,
        ctx: NodeContext | None = None,
        goal: Goal | None = None,
        workloads: Sequence[Workload] = (),
        denial: str | None = None,
    ) -> None:
        """``denial``: what the gate answered to the act that this pass asked for, if it refused."""
        live = self._deps.store.get(kinds.JIL_NODE, raw["metadata"]["namespace"], raw["metadata"]["name"]) or raw
        stored = NodeStatus.model_validate(live.get("status") or {})
        now = self._deps.clock.now()
        generation = raw["metadata"].get("generation", 0)
        status: dict[str, Any] = {
            "observedGeneration": generation,
            "phase": verdict.phase,
            "conditions": [
                c.wire()
                for c in merge(
                    stored.conditions, verdict.findings, full_set=NODE_CONDITIONS, generation=generation, now=now
                )
            ],
        }
        state = _state(verdict.phase, goal)
        if state:
            status["state"] = state
        elif stored.state:
            status["state"] = stored.state
        if record is not None:
            if record.spec.releases:
                status["release"] = record.spec.releases[0].release
            if record.spec.keys.node:
                status["peerId"] = record.spec.keys.node.peer_id
            if record.spec.keys.validator:
                status["consensusAddress"] = record.spec.keys.validator.address
        reading = self._deps.health.reading((raw["metadata"]["namespace"], raw["metadata"]["name"]))
        if ctx is not None:
            status["components"] = component_rows(workloads, reading)
        waiting = _waiting(verdict, denial, stored, now)
        if waiting:
            status["waitingFor"] = waiting
            until = datetime.fromisoformat(waiting["deadline"]) if "deadline" in waiting else None
            if until is not None and now > until:
                note = f"waits since {waiting['since']} for what should have come by now: {waiting['message']}"
                self._deps.events.warning(raw, EventReason.OVERDUE, note, action="Wait")
        self._tell(raw, stored, verdict)
        try:
            await self._deps.statuses.write(kinds.JIL_NODE, live, status)
            arrived = verdict.phase == "Ready" != stored.phase
            await self._sample(live, stored, reading, ctx, arrived=arrived)
        except NotFound:
            return  # deleted meanwhile: nobody is left to read it

    def _tell(self, raw: Manifest, stored: NodeStatus, verdict: Verdict) -> None:
        """An Event when something breaks, when it breaks otherwise, and when all is well again."""
        trust = next((f for f in verdict.findings if f.type is ConditionType.IMAGE_TRUST), None)
        silent = (Reason.NO_POLICY, Reason.VERIFYING)
        if trust is not None and trust.status != "True" and trust.reason not in silent:
            self._deps.events.warning(raw, trust.reason, trust.message, action="Verify")
        ready, before = verdict.findings[-1], find(stored.conditions, ConditionType.READY)
        if verdict.phase == "Degraded":
            if stored.phase != "Degraded" or before is None or before.reason != ready.reason.value:
                self._deps.events.warning(raw, ready.reason, ready.message, action="Observe")
        elif verdict.phase == "Ready" and stored.phase == "Degraded":
            self._deps.events.normal(raw, ready.reason, f"{ready.message} again", action="Observe")

    async def blocked(self, raw: Manifest, denial: str) -> None:
        """The deletion waits for its grant, without time limit, and says so with the arithmetic."""
        finding = false(ConditionType.READY, Reason.DELETION_BLOCKED, denial)
        await self.write(raw, None, Verdict((finding,), "Deleting"), denial=denial)

    async def waits(self, raw: Manifest, what: str) -> None:
        """The deletion waits for what is not the operator's to do."""
        await self.write(raw, None, Verdict((false(ConditionType.READY, Reason.DELETING, what),), "Deleting"))

    async def _sample(
        self,
        live: Manifest,
        stored: NodeStatus,
        reading: HealthReading | None,
        ctx: NodeContext | None,
        *,
        arrived: bool,
    ) -> None:
        """Height and lag: one write per interval, and when the node falls behind, catches up or has become Ready."""
        if ctx is None or reading is None or reading.chain is None or not reading.chain.ok:
            return
        height = reading.chain.height
        behind = max(0, (network_height(self._deps, ctx.network_name) or height) - height)
        limit = 10
        crossed = arrived or stored.height is None or ((stored.lag or 0) > limit) != (behind > limit)
        latest = self._deps.store.get(kinds.JIL_NODE, ctx.namespace, ctx.name) or live
        interval = sample_interval(self._deps.store.count(kinds.JIL_NODE))
        samples = {"height": height, "lag": behind}
        await self._deps.statuses.sample(kinds.JIL_NODE, latest, samples, interval=interval, crossed=crossed)


def _state(phase: str, goal: Goal | None) -> str | None:
    """The state that is reached, None while it is on its way."""
    reached = {"Ready": "Running", "Stopped": "Stopped", "Maintenance": "Maintenance"}
    return reached.get(phase) if goal is not None else None


def _waiting(verdict: Verdict, denial: str | None, stored: NodeStatus, now: datetime) -> dict[str, Any] | None:
    """The one thing that a person would look at first, with the time since when it is waited for."""
    if denial is not None:
        reason, message = Reason.WAITING_FOR_GRANT.value, denial
    else:
        ready = verdict.findings[-1]
        if ready.status == "True":
            return None
        reason, message = ready.reason.value, ready.message
    before = stored.waiting_for
    same = before is not None and before.reason == reason and before.since is not None
    since = before.since if same and before is not None and before.since is not None else now.replace(microsecond=0)
    waiting = {"reason": reason, "message": message[:1024], "since": since.isoformat().replace("+00:00", "Z")}
    until = deadline(reason, since)
    if until is not None:
        waiting["deadline"] = until.isoformat().replace("+00:00", "Z")
    return waiting
