"""What a Pod object says, as the few facts that decisions are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    statuses = status.get("containerStatuses", [])
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
        containers_ended=bool(statuses) and all("terminated" in s.get("state", {}) for s in statuses),
        image=next((c.get("image", "") for c in spec.get("containers", [])), ""),
    )


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
