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
    starting: str = ""
    """What a pod without trouble still waits for, in words; "" when it is ready or says nothing."""
    machine_lost: str = ""
    """Why nothing that the pod says is news: its machine does not report. "" when it does."""
    containers_ended: bool = False
    """Every container is terminated and none will be restarted: the process is observed to be gone."""
    created: datetime | None = None
    ready_since: datetime | None = None
    """When the Ready condition last changed."""
    image: str = ""
    """Image of the first container, as the pod was told to run it."""
    on_its_own: bool = False
    """It was made from a template of the operator's, and has no controller (any more)."""

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
        starting=_starting(spec, status, conditions) if trouble is None else "",
        containers_ended=_ended(status, conditions),
        created=_time(meta.get("creationTimestamp")),
        ready_since=_time(conditions.get("Ready", {}).get("lastTransitionTime")),
        image=next((c.get("image", "") for c in spec.get("containers", [])), ""),
        on_its_own=pod_labels.get(labels.APP_MANAGED_BY) == labels.MANAGED_BY
        and not any(owner.get("controller") for owner in meta.get("ownerReferences") or ()),
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
    final = status.get("phase") in ("Succeeded", "Failed")
    for entry in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        state = entry.get("state", {})
        last = entry.get("lastState", {}).get("terminated", {})
        waiting = state.get("waiting")
        if waiting and waiting.get("reason", "") not in _BENIGN_WAITING:
            text = waiting.get("message", waiting["reason"])
            return waiting["reason"], f"container {entry['name']}: {text}{_how_it_ended('last ', last)}"
        ended = state.get("terminated", {})
        if not final and ended.get("exitCode", 0) != 0:
            word = ended.get("reason") or "Error"
            return word, f"container {entry['name']} has ended{_how_it_ended('', ended)} and will be restarted"
        if "running" in state and not entry.get("ready") and last.get("exitCode", 0) != 0:
            # Between two ends of a crash loop: without this the condition would come and go with every round.
            times = entry.get("restartCount", 0)
            message = f"container {entry['name']} runs again and is not ready; it was restarted {times} times"
            return "Restarted", message + _how_it_ended("last ", last)
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return scheduled.get("reason", "Unschedulable"), scheduled.get("message", "")
    return None, ""


def _how_it_ended(which: str, terminated: Mapping[str, Any]) -> str:
    if "exitCode" not in terminated:
        return ""
    parts = [f"{which}exit code {terminated['exitCode']}", terminated.get("reason", ""), terminated.get("message", "")]
    return f" ({', '.join(part for part in parts if part)[:300]})"


def _starting(spec: Mapping[str, Any], status: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
    """The step that a pod on its way is at. Times are absolute: a text that counts seconds would change all the time."""
    if conditions.get("Ready", {}).get("status") == "True" or not spec.get("nodeName"):
        return ""
    machine = spec["nodeName"]
    for entry in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        state = entry.get("state", {})
        name = entry["name"]
        if "waiting" in state:
            word = state["waiting"].get("reason", "ContainerCreating")
            sandbox = conditions.get("PodReadyToStartContainers", {})
            if sandbox.get("status") == "False":
                since = sandbox.get("lastTransitionTime", "")
                return (
                    f"{word} on {machine}{f' since {since}' if since else ''}: its volumes or its network are not there "
                    "yet; the Events of the pod say why (kubectl describe pod)"
                )
            return f"container {name}: {word} on {machine}: its image is being pulled, or it is about to start"
        if "running" in state and not entry.get("ready"):
            since = state["running"].get("startedAt", "")
            what = "has not become ready yet" if entry.get("started") else "has not passed its startup probe yet"
            return f"container {name} runs{f' since {since}' if since else ''} on {machine} and {what}"
    return ""


def machine_lost(node: Mapping[str, Any] | None) -> str:
    """Why nothing from this Kubernetes node is news, or "": it reports. ``node`` as the API server returned it."""
    ready = next((c for c in (node or {}).get("status", {}).get("conditions", []) if c.get("type") == "Ready"), None)
    if node is None or ready is None or ready.get("status") == "True":
        return ""
    words = ready.get("message") or ready.get("reason") or "not ready"
    return (
        f"Kubernetes node {node['metadata']['name']} is not ready since {ready.get('lastTransitionTime', '?')}: {words}"
    )
