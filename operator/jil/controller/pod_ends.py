"""What was seen of validator pods at their end: the evidence on which the next one may start."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from jil.cluster.client import Manifest
from jil.plan.permit import Guard, PodEnd, Predecessor
from jil.plan.podview import pod_view

REMEMBERED_PODS = 2_000


def guard_of(pod: Mapping[str, Any]) -> Guard:
    """How far the start guard of a pod got, by its kubelet's report."""
    for status in pod.get("status", {}).get("initContainerStatuses", []):
        if status.get("name") == "guard":
            if status.get("restartCount", 0) > 0:
                return Guard.UNKNOWN  # it may have passed once and been run again after its machine restarted
            terminated = status.get("state", {}).get("terminated")
            if terminated is not None:
                return Guard.PASSED if terminated.get("exitCode") == 0 else Guard.NEVER_PASSED
    return Guard.UNKNOWN


class PodEnds:
    """The last that was seen of validator pods, by UID: whether their kubelet reported every container as ended.

    Held in memory: after a restart of the operator a pod that went meanwhile counts as vanished, the safe answer.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Predecessor] = OrderedDict()

    def saw(self, pod: Manifest) -> None:
        """To be called with every version of a validator's pod, the last one of a DELETED event included."""
        view = pod_view(pod)
        if not view.containers_ended:
            self._seen.pop(view.uid, None)
            return
        self._seen[view.uid] = Predecessor(PodEnd.TERMINATED, guard_of(pod))
        self._seen.move_to_end(view.uid)
        while len(self._seen) > REMEMBERED_PODS:
            self._seen.popitem(last=False)

    def of(self, uid: str) -> Predecessor | None:
        return self._seen.get(uid)
