"""A Kubernetes node is being emptied: which pods of a JILNode move, in which order, and what they will wait for.

The validator's PodDisruptionBudget admits no eviction, so ``kubectl drain`` waits for it until the operator has moved
the pod itself, under a grant. The same is done for the other workloads of one pod; catalogue services are Deployments,
which an eviction moves without harm. A node that is not ready or unreachable is not being emptied: it is broken, and
unreachable is never permission.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jil.plan.acts import Act
from jil.plan.podview import PodView

#: Taint key -> who sets it. Only those that announce that the node's pods are to go; "preferably not here" (a deletion
#: *candidate*, PreferNoSchedule) announces nothing.
LEAVING_TAINTS: Final[Mapping[str, str]] = {
    "node.kubernetes.io/unschedulable": "cordoned (kubectl cordon or drain)",
    "ToBeDeletedByClusterAutoscaler": "the cluster autoscaler removes it",
    "karpenter.sh/disrupted": "Karpenter removes it",
    "karpenter.sh/disruption": "Karpenter (before v1) removes it",
    "cloud.google.com/impending-node-termination": "its cloud ends it",
    "aws-node-termination-handler/spot-itn": "its cloud ends it",
    "aws-node-termination-handler/scheduled-maintenance": "its cloud ends it",
    "aws-node-termination-handler/asg-lifecycle-termination": "its cloud ends it",
}

#: Order of leaving, that of stopping: the validator first, the database last.
_ORDER: Final = ("validator", "broker", "cache", "database")


@dataclass(frozen=True, slots=True)
class DrainAct:
    """One pod to move. ``returns`` says where it can run again, and what it waits for if it cannot yet."""

    act: Act
    pod: PodView
    reason: str
    returns: str


def leaving(node: Mapping[str, Any]) -> str | None:
    """Why the Kubernetes node is being emptied, or None when it is not. ``node`` as the API server returned it."""
    spec = node.get("spec", {})
    name = node["metadata"]["name"]
    if spec.get("unschedulable"):
        return f"{name} is cordoned"
    for taint in spec.get("taints", []):
        why = LEAVING_TAINTS.get(taint.get("key", ""))
        if why is not None and taint.get("effect") in ("NoSchedule", "NoExecute"):
            return f"{name} is leaving: {why}"
    return None


def plan_drain(
    node: Mapping[str, Any], pods: Sequence[PodView], local_volumes: Mapping[str, str]
) -> tuple[DrainAct, ...]:
    """The acts to ask grants for, first one first, for the pods of ONE JILNode on the Kubernetes ``node``.

    ``local_volumes``: pod name -> the only Kubernetes node that the pod's volumes can be used on; pods whose volumes
    can move are not in it. Pods that are ending already, or have ended, are left alone. One act is taken per pass; the
    next pass computes the rest anew.
    """
    why = leaving(node)
    if why is None:
        return ()
    name = node["metadata"]["name"]
    staying = [pod for pod in pods if pod.kube_node == name and not pod.deleting and not pod.terminal]
    moved = sorted(
        (pod for pod in staying if pod.component in _ORDER), key=lambda pod: (_ORDER.index(pod.component), pod.name)
    )
    return tuple(DrainAct(Act.DRAIN, pod, why, _returns(pod, name, local_volumes.get(pod.name))) for pod in moved)


def _returns(pod: PodView, leaving_node: str, only_on: str | None) -> str:
    if only_on is None:
        return f"{pod.name} starts again on another node; its volume moves with it"
    if only_on == leaving_node:
        return (
            f"{pod.name} stays Pending until {only_on} takes pods again (kubectl uncordon {only_on}): its volume lives "
            f"on that node's own disk. If {only_on} never returns, the volume and what is on it go with it"
        )
    return f"{pod.name} starts again on {only_on}, where its volume lives"
