"""What runs, in which order it starts and stops, and the one disruptive act of a pass.

Start: database, cache, broker, validator, health, then the services once what they stand on is ready, then traffic.
Stop: the reverse; each stage begins when the pods of the one before are gone. The validator's permission is asked for
before anything else is touched: a node whose validator may not go stays whole.

A step is one act, or the same act on many services: two hundred of them are stopped side by side, not one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from jil.api.labels import Component
from jil.plan.podview import PodView

START_ORDER: tuple[str, ...] = (
    Component.DATABASE,
    Component.CACHE,
    Component.BROKER,
    Component.VALIDATOR,
    Component.HEALTH,
)
"""Catalogue services come after these, all in one stage."""

FOUNDATION = (Component.DATABASE, Component.CACHE, Component.BROKER)
"""What must be ready before services are started from nothing."""


class Goal(StrEnum):
    """What the node is meant to be: ``spec.state``, or Deleted once a deletion was asked for."""

    RUNNING = "Running"
    MAINTENANCE = "Maintenance"
    STOPPED = "Stopped"
    DELETED = "Deleted"


POD = "Pod"
"""Kind of a Workload that is one pod whose StatefulSet or Deployment is gone (``kubectl delete --cascade=orphan``)."""


@dataclass(frozen=True)
class Workload:
    """One StatefulSet or Deployment: how it is declared and what is there; or one pod that has neither."""

    name: str
    kind: str  # StatefulSet | Deployment | Pod
    component: str
    declared: int
    live_replicas: int | None  # spec.replicas of the live object; None when there is no object
    pods: tuple[PodView, ...] = ()
    wanted: bool = True
    """It is among the rendered objects; False for what is there and no longer declared."""
    current: bool = True
    """Its controller has seen the newest spec (status.observedGeneration)."""

    @property
    def kept(self) -> int:
        """The replicas that take nothing away. A StatefulSet that is made anew adopts the pods of the one that is gone,
        and would end them at once if it began with none."""
        if self.live_replicas is None:
            return sum(1 for pod in self.pods if not pod.deleting)
        return self.live_replicas

    @property
    def is_service(self) -> bool:
        return self.component not in START_ORDER

    @property
    def ready_pods(self) -> int:
        return sum(1 for pod in self.pods if pod.ready and not pod.deleting)

    def runs(self, image: str) -> bool:
        """Whether every pod runs exactly this image; an armed template that waits for a rollout does not count.

        By digest: a mirror hands out the same image under another name.
        """
        digest = image.rpartition("@")[2]
        return bool(self.pods) and all(pod.image.rpartition("@")[2] == digest for pod in self.pods)

    @property
    def ready(self) -> bool:
        return self.live_replicas is not None and self.current and self.ready_pods >= max(1, self.declared)


class ActKind(StrEnum):
    SCALE_DOWN = "ScaleDown"
    SERVING_OFF = "ServingOff"
    SERVING_ON = "ServingOn"  # not disruptive: needs no grant
    DELETE_WORKLOAD = "DeleteWorkload"
    DELETE_POD = "DeletePod"  # of a pod that no workload will make again


@dataclass(frozen=True)
class Act:
    """The next step towards the goal. ``target`` is a workload's or a pod's name."""

    kind: ActKind
    target: str
    target_kind: str
    component: str
    replicas: int = 0
    """What a workload is scaled to."""


@dataclass(frozen=True)
class LifecyclePlan:
    """``replicas`` per workload name for the renderer; ``acts`` are the one step, ``waiting`` what for.

    More than one act are of one kind and on services, which sign nothing: only such acts may be done side by side.
    """

    replicas: Mapping[str, int] = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    needs_power_grant: bool = False
    """The goal ends with the validator gone: its grant is needed before the first act."""
    waiting: str | None = None
    done: bool = False
    """The goal is reached as far as workloads go."""
    stranded: bool = False
    """``waiting`` is for pods that have no StatefulSet or Deployment and that are not the operator's to delete."""

    @property
    def act(self) -> Act | None:
        """The first act of the step, None when there is nothing to do."""
        return self.acts[0] if self.acts else None


def _stage(component: str) -> int:
    return START_ORDER.index(component) if component in START_ORDER else len(START_ORDER)


def _running_replicas(workloads: Sequence[Workload]) -> dict[str, int]:
    by_component = {w.component: w for w in workloads}
    foundation_ready = all(by_component[c].ready for c in FOUNDATION if c in by_component)
    replicas = {}
    for workload in workloads:
        live = workload.kept
        if workload.is_service and not foundation_ready:
            # Never taken down for it: services that run keep running while the database restarts.
            replicas[workload.name] = live
        else:
            # An override that lowers the count is a disruptive act of its own; applying never lowers.
            replicas[workload.name] = max(live, workload.declared)
    return replicas


def _lowering_acts(workloads: Sequence[Workload]) -> tuple[Act, ...]:
    """Services that have more pods than declared, by a changed spec or by somebody's hand."""
    return tuple(
        Act(ActKind.SCALE_DOWN, w.name, w.kind, w.component, replicas=w.declared)
        for w in workloads
        if w.is_service and (w.live_replicas or 0) > w.declared
    )


def _removing_acts(workloads: Sequence[Workload]) -> tuple[Act, ...]:
    """Services that left the release, once nothing of them runs."""
    return tuple(
        Act(ActKind.DELETE_WORKLOAD, w.name, w.kind, w.component)
        for w in workloads
        if w.is_service and not w.wanted and w.live_replicas == 0 and not w.pods
    )


def _serving_acts(workloads: Sequence[Workload], *, serving: bool) -> tuple[Act, ...]:
    kind = ActKind.SERVING_ON if serving else ActKind.SERVING_OFF
    return tuple(
        Act(kind, pod.name, "Pod", w.component)
        for w in workloads
        if w.is_service
        for pod in w.pods
        if not pod.deleting and pod.serving != serving
    )


def _stop(workloads: Sequence[Workload], *, delete: bool) -> LifecyclePlan:
    replicas = {w.name: w.kept for w in workloads}
    alive = [w for w in workloads if (w.live_replicas or 0) > 0 or w.pods or (delete and w.live_replicas is not None)]
    validator_up = any(w.component == Component.VALIDATOR for w in alive)
    serving = _serving_acts(workloads, serving=False)
    if serving:
        return LifecyclePlan(replicas, serving, needs_power_grant=validator_up, waiting="traffic to be taken off")
    if not alive:
        return LifecyclePlan(replicas, done=True)
    last = max(_stage(w.component) for w in alive)
    stage = [w for w in alive if _stage(w.component) == last]
    stops = tuple(Act(ActKind.SCALE_DOWN, w.name, w.kind, w.component) for w in stage if (w.live_replicas or 0) > 0)
    if stops:
        return LifecyclePlan(replicas, stops, needs_power_grant=validator_up, waiting=f"{_names(stops)} to stop")
    ends = tuple(Act(ActKind.DELETE_POD, w.name, w.kind, w.component) for w in stage if _ends_by_deletion(w))
    if ends:
        return LifecyclePlan(replicas, ends, needs_power_grant=validator_up, waiting=f"{_names(ends)} to be deleted")
    left = sorted(w.name for w in stage if w.kind == POD and not w.pods[0].deleting)
    if left:
        waiting = (
            f"pods to end: {', '.join(left[:5])}; no StatefulSet or Deployment of this node stands behind them, and they are"
            " not the operator's to delete"
        )
        return LifecyclePlan(replicas, needs_power_grant=validator_up, waiting=waiting, stranded=True)
    leaving = sorted(pod.name for w in stage for pod in w.pods)
    if leaving:
        return LifecyclePlan(replicas, needs_power_grant=validator_up, waiting="pods to end: " + ", ".join(leaving[:5]))
    gone = tuple(Act(ActKind.DELETE_WORKLOAD, w.name, w.kind, w.component) for w in stage)
    return LifecyclePlan(replicas, gone, needs_power_grant=validator_up, waiting=f"{_names(gone)} to be removed")


def _ends_by_deletion(workload: Workload) -> bool:
    """A pod that was ours and that nobody would make again; the pods of a controller are its own to end."""
    return workload.kind == POD and any(pod.on_its_own and not pod.deleting for pod in workload.pods)


def _names(acts: Sequence[Act]) -> str:
    more = f" and {len(acts) - 3} more" if len(acts) > 3 else ""
    return ", ".join(act.target for act in acts[:3]) + more


def plan_lifecycle(goal: Goal, workloads: Sequence[Workload]) -> LifecyclePlan:
    """The next step from what is there to the goal; the same answer from any starting point."""
    if goal in (Goal.STOPPED, Goal.DELETED):
        return _stop(workloads, delete=goal is Goal.DELETED)
    replicas = _running_replicas(workloads)
    acts = (
        _lowering_acts(workloads) or _removing_acts(workloads) or _serving_acts(workloads, serving=goal is Goal.RUNNING)
    )
    not_ready = sorted(w.component for w in workloads if w.declared > 0 and not w.ready)
    waiting = "not ready yet: " + ", ".join(not_ready[:8]) if not_ready else None
    return LifecyclePlan(replicas, acts, waiting=waiting, done=not not_ready and not acts)
