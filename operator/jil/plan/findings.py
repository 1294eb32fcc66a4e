"""Conditions, phase and what a node waits for, from what was observed: status is a view, computed and never believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jil.api.conditions import ConditionType, Finding, Reason, false, true, unknown
from jil.api.labels import Component
from jil.plan.health import HealthReading
from jil.plan.lifecycle import FOUNDATION, POD, Goal, Workload

_COMPONENT_CONDITION = {
    Component.DATABASE: ConditionType.DATABASE_READY,
    Component.CACHE: ConditionType.CACHE_READY,
    Component.BROKER: ConditionType.BROKER_READY,
    Component.VALIDATOR: ConditionType.VALIDATOR_READY,
}

CATCH_UP_LAG = 10
"""Blocks behind the highest reading of the network from which on a node counts as catching up."""


@dataclass(frozen=True)
class Verdict:
    """What goes into status: one finding per condition type, the derived phase."""

    findings: tuple[Finding, ...]
    phase: str


@dataclass(frozen=True)
class NodeFacts:
    goal: Goal
    workloads: Sequence[Workload]
    health: HealthReading | None
    network_height: int | None
    """Highest height read from any node of the network."""
    identity: Finding
    storage: Finding
    hold: tuple[Reason, str] | None
    """Why the validator's start is held back, if it is."""
    now: datetime
    ran_before: bool = True
    """The node was Ready since it was last started: what is amiss now is a fault and not a step of that start."""


def _workload_finding(facts: NodeFacts, workload: Workload, type_: ConditionType) -> Finding:
    if facts.goal in (Goal.STOPPED, Goal.DELETED):
        if (workload.live_replicas or 0) == 0 and not workload.pods:
            return false(type_, Reason.STOPPED, "stopped as asked for by spec.state")
        return false(type_, Reason.STOPPING, f"{workload.name} is being stopped")
    if workload.kind == POD:
        return false(
            type_,
            Reason.WAITING_FOR_POD,
            f"pod {workload.name} runs, the spec has no {workload.component}, and its StatefulSet is gone: it is left alone."
            " spec.state Stopped ends it, under a grant",
        )
    lost = next((p for p in workload.pods if p.machine_lost and not p.ready), None)
    if lost:
        return unknown(
            type_,
            Reason.MACHINE_LOST,
            f"pod {lost.name}: {lost.machine_lost}. The pod may still run there, so it is not replaced; bring the machine "
            "back, or remove it if it never returns"[:1000],
        )
    trouble = next((p for p in workload.pods if p.trouble), None)
    if trouble:
        return false(
            type_, Reason.POD_FAILED, f"pod {trouble.name}: {trouble.trouble}: {trouble.trouble_message}"[:1000]
        )
    if workload.is_service and not workload.live_replicas and not workload.pods:
        missing = [w.component for w in facts.workloads if w.component in FOUNDATION and not w.ready]
        if missing:
            return false(
                type_,
                Reason.WAITING_FOR_DEPENDENCY,
                f"{workload.name} starts once {', '.join(FOUNDATION)} are ready; not yet: {', '.join(missing)}",
            )
    if not workload.ready:
        steps = [f"; pod {p.name}: {p.starting}" for p in workload.pods if p.starting][:3]
        count = f"{workload.name}: {workload.ready_pods} of {workload.declared} ready"
        return false(type_, Reason.WAITING_FOR_POD, (count + "".join(steps))[:1000])
    return true(type_, Reason.READY, f"{workload.name} is ready")


def _with_health(facts: NodeFacts, finding: Finding, component: str) -> Finding:
    """A ready pod whose component does not answer the health endpoint is not ready for the node."""
    if finding.status != "True" or facts.health is None or not facts.health.fresh(facts.now):
        return finding
    reading = facts.health.components.get(component)
    if reading is None or reading.ok:
        return finding
    return false(
        finding.type,
        Reason.UNHEALTHY,
        f"{component} answers its probe but not the node's health endpoint: {reading.error}",
    )


def _validator_finding(facts: NodeFacts, workload: Workload) -> Finding:
    type_ = ConditionType.VALIDATOR_READY
    if facts.hold and facts.goal in (Goal.RUNNING, Goal.MAINTENANCE):
        reason, message = facts.hold
        return false(type_, reason, message)
    finding = _workload_finding(facts, workload, type_)
    if finding.status != "True":
        return finding
    health = facts.health
    if health is None or not health.fresh(facts.now) or health.chain is None:
        why = (health.error if health else None) or "the health endpoint has not answered yet"
        return unknown(type_, Reason.HEALTH_UNREADABLE, f"the pod is ready; its chain could not be read: {why}")
    if not health.chain.ok:
        return false(type_, Reason.UNHEALTHY, f"CometBFT does not answer: {health.chain.error}")
    behind = (facts.network_height or 0) - health.chain.height
    if health.chain.catching_up or behind > CATCH_UP_LAG:
        return false(
            type_, Reason.CATCHING_UP, f"at height {health.chain.height}, {max(behind, 0)} blocks behind its network"
        )
    power = f"voting power {health.chain.voting_power}" if health.chain.voting_power else "full node, no voting power"
    return true(type_, Reason.READY, f"follows the chain; {power}")


def _services_finding(facts: NodeFacts) -> Finding:
    type_ = ConditionType.SERVICES_READY
    services = [w for w in facts.workloads if w.is_service]
    if not services:
        return true(type_, Reason.DISABLED, "the release has no services")
    findings = [(w, _workload_finding(facts, w, type_)) for w in services if w.declared > 0]
    bad = [(w, f) for w, f in findings if f.status != "True"]
    if not bad:
        return true(type_, Reason.READY, f"all {len(services)} services are ready")
    workload, first = bad[0]
    more = f" (and {len(bad) - 1} more: {', '.join(w.component for w, _ in bad[1:6])})" if len(bad) > 1 else ""
    return false(type_, first.reason, f"{workload.component}: {first.message}{more}")


def _serving_finding(facts: NodeFacts) -> Finding:
    type_ = ConditionType.SERVING
    if facts.goal is Goal.MAINTENANCE:
        if still := _still_serving(facts):
            return true(type_, Reason.RUNNING, f"spec.state is Maintenance, but traffic still goes to {_some(still)}")
        return false(type_, Reason.MAINTENANCE, "spec.state is Maintenance: no user traffic, everything else runs")
    if facts.goal is not Goal.RUNNING:
        return false(type_, Reason.STOPPED, "spec.state is Stopped" if facts.goal is Goal.STOPPED else "being deleted")
    services = [w for w in facts.workloads if w.is_service and w.declared > 0]
    if not services:
        return false(type_, Reason.DISABLED, "the release has no services to serve with")
    serving = [w for w in services if any(p.ready and p.serving and not p.deleting for p in w.pods)]
    if len(serving) == len(services):
        return true(type_, Reason.RUNNING, "every service has a ready pod that takes traffic")
    return false(type_, Reason.WAITING_FOR_POD, f"{len(serving)} of {len(services)} services take traffic")


def _still_serving(facts: NodeFacts) -> list[str]:
    return sorted(p.name for w in facts.workloads if w.is_service for p in w.pods if p.serving and not p.deleting)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def judge(facts: NodeFacts) -> Verdict:
    """All conditions of a node that could be reconciled, and its phase."""
    findings = [true(ConditionType.SPEC_VALID, Reason.VALID), facts.identity, facts.storage]
    for component, type_ in _COMPONENT_CONDITION.items():
        workload = next((w for w in facts.workloads if w.component == component), None)
        if workload is None:
            findings.append(true(type_, Reason.DISABLED, f"this node has no {component}"))
        elif component is Component.VALIDATOR:
            findings.append(_validator_finding(facts, workload))
        else:
            findings.append(_with_health(facts, _workload_finding(facts, workload, type_), component))
    findings += [_services_finding(facts), _serving_finding(facts)]
    ready, phase = _overall(facts, findings)
    return Verdict((*findings, ready), phase)


def _overall(facts: NodeFacts, findings: Sequence[Finding]) -> tuple[Finding, str]:
    type_ = ConditionType.READY
    if facts.goal is Goal.DELETED:
        return false(type_, Reason.DELETING, "the node is being taken down; its data and keys stay"), "Deleting"
    if facts.goal is Goal.STOPPED:
        if all((w.live_replicas or 0) == 0 and not w.pods for w in facts.workloads):
            return true(type_, Reason.STOPPED, "stopped as declared; volumes, keys and record are kept"), "Stopped"
        alone = sorted(w.name for w in facts.workloads if w.kind == POD)
        also = f"; pods that have no StatefulSet or Deployment: {', '.join(alone[:5])}" if alone else ""
        return false(type_, Reason.STOPPING, f"being stopped in order{also}"), "Stopping"
    ignored = {ConditionType.SERVING} if facts.goal is Goal.MAINTENANCE or not _has_services(facts) else set()
    bad = [f for f in findings if f.status != "True" and f.type not in ignored]
    if not bad:
        if facts.goal is Goal.MAINTENANCE:
            if still := _still_serving(facts):
                return true(type_, Reason.READY, f"everything runs; traffic is to be taken off {_some(still)}"), "Ready"
            return true(
                type_, Reason.MAINTENANCE, "in maintenance as declared: runs, takes no user traffic"
            ), "Maintenance"
        return true(type_, Reason.READY, "everything declared is running"), "Ready"
    first = bad[0]
    return false(type_, first.reason, f"{first.type}: {first.message}"), _phase_of(first, facts)


def _has_services(facts: NodeFacts) -> bool:
    return any(w.is_service and w.declared > 0 for w in facts.workloads)


def _phase_of(first: Finding, facts: NodeFacts) -> str:
    if first.reason is Reason.CATCHING_UP:
        return "CatchingUp"
    if first.reason is Reason.UNHEALTHY and not facts.ran_before:
        return "Provisioning"
    lost = (
        Reason.KEY_LOST,
        Reason.KEY_FOREIGN,
        Reason.SIGN_STATE_LOST,
        Reason.POD_FAILED,
        Reason.UNHEALTHY,
        Reason.GENESIS_MISMATCH,
        Reason.FENCING_UNCONFIRMED,
        Reason.MACHINE_LOST,
    )
    return "Degraded" if first.reason in lost else "Provisioning"


def refused(reason: Reason, message: str) -> Verdict:
    """A spec that cannot be followed: one clear condition with the remedy. Nothing else is looked at or touched."""
    return Verdict(
        (
            false(ConditionType.SPEC_VALID, reason, message),
            false(ConditionType.READY, reason, message),
        ),
        "Invalid",
    )


def not_admitted(trust: Finding) -> Verdict:
    """A node that runs nothing yet and whose release may not run (False), or of which that is not known (Unknown)."""
    if trust.status == "Unknown":
        return Verdict((trust, unknown(ConditionType.READY, trust.reason, trust.message)), "Pending")
    return Verdict((trust, false(ConditionType.READY, trust.reason, trust.message)), "Invalid")


def component_rows(workloads: Sequence[Workload], health: HealthReading | None) -> list[dict[str, object]]:
    """``status.components``: name, ready, the image that runs and the version that the component itself reports."""
    rows: list[dict[str, object]] = []
    for workload in workloads:
        row: dict[str, object] = {"name": workload.component, "ready": workload.ready}
        running = next((pod.image for pod in workload.pods if pod.image), None)
        if running:
            row["image"] = running
        reading = health.components.get(workload.component) if health else None
        version = reading.version if reading else None
        if workload.component == Component.VALIDATOR and health and health.chain:
            version = health.chain.version
        if version:
            row["version"] = version
        rows.append(row)
    return rows
