"""What a Pod object says, as the few facts that decisions are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jil.api import labels

_BENIGN_WAITING = ("ContainerCreating", "PodInitializing", "")


@dataclass(frozen=True)
class PodView:
    """One pod. ``trouble`` is the kubelet's or scheduler's own word for what keeps it from running, with its message."""

    name: str
    uid: str
    resource_version: str
    component: str
    kube_node: str | None
    phase: str
    ready: bool
    deleting: bool
    serving: bool
    permit: str | None
    trouble: str | None = None
    trouble_message: str = ""
    containers_ended: bool = False
    """Every container is terminated and none will be restarted: the process is observed to be gone."""
    created: datetime | None = None
    ready_since: datetime | None = None
    """When the Ready condition last changed."""
    image: str = ""
    """Image of the first container, as the pod was told to run it."""

    @property
    def terminal(self) -> bool:
        return self.phase in ("Succeeded", "Failed") or (self.deleting and self.containers_ended)


def pod_view(pod: Mapping[str, Any]) -> PodView:
    """Reads a Pod as the API server returned it; missing parts mean "not there yet"."""
    meta, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    trouble, message = _trouble(status, conditions)
    pod_labels = meta.get("labels", {})
    return PodView(
        name=meta["name"],
        uid=meta["uid"],
        resource_version=meta.get("resourceVersion", ""),
        component=pod_labels.get(labels.APP_NAME, ""),
        kube_node=spec.get("nodeName"),
        phase=status.get("phase", "Pending"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        deleting=bool(meta.get("deletionTimestamp")),
        serving=pod_labels.get(labels.SERVING) == "true",
        permit=meta.get("annotations", {}).get(labels.START_PERMIT),
        trouble=trouble,
        trouble_message=message,
        containers_ended=_ended(status, conditions),
        created=_time(meta.get("creationTimestamp")),
        ready_since=_time(conditions.get("Ready", {}).get("lastTransitionTime")),
        image=next((c.get("image", "") for c in spec.get("containers", [])), ""),
    )


def _ended(status: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    """Whether the kubelet reported the end of the whole pod.

    A container that is terminated may be about to be restarted in place, so the phase must be a final one as well; and a
    final phase that the pod garbage collector wrote is no report of a kubelet.
    """
    statuses = status.get("containerStatuses", [])
    if conditions.get("DisruptionTarget", {}).get("reason") == "DeletionByPodGC":
        return False
    final = status.get("phase") in ("Succeeded", "Failed")
    return final and bool(statuses) and all("terminated" in s.get("state", {}) for s in statuses)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _trouble(status: Mapping[str, Any], conditions: Mapping[str, Any]) -> tuple[str | None, str]:
    for entry in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = entry.get("state", {}).get("waiting")
        if waiting and waiting.get("reason", "") not in _BENIGN_WAITING:
            last = entry.get("lastState", {}).get("terminated", {})
            ended = f" (last exit code {last['exitCode']})" if "exitCode" in last else ""
            return waiting["reason"], f"container {entry['name']}: {waiting.get('message', waiting['reason'])}{ended}"
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return scheduled.get("reason", "Unschedulable"), scheduled.get("message", "")
    return None, ""
