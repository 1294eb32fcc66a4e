"""An operator that begins with a view of yesterday: its lists are those of before, and no event comes."""

from __future__ import annotations

import json
from typing import Any

from tests.faults.proxy import Answer, Exchange, Forward, Script
from tests.faults.rig import Rig


class OldLists(Script):
    """Lists are answered with what they were when this was made. What is read one by one is true."""

    def __init__(self, rig: Rig) -> None:
        self._lists = {
            path: Answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode())
            for path, body in _lists(rig).items()
        }

    async def exchange(self, exchange: Exchange, forward: Forward) -> Answer | None:
        path = exchange.path.partition("?")[0]
        if exchange.method == "GET" and path in self._lists:
            return self._lists[path]
        return await forward()

    def begin(self, rig: Rig) -> None:
        """A new life of the operator sees the old lists, and no events."""
        rig.a.kill()
        rig.expire_lease()
        rig.a.proxy.script = self
        rig.a.proxy.mute = True
        rig.a.begin(rig.plant)

    def thaw(self, rig: Rig) -> None:
        """It sees everything again."""
        self._lists.clear()
        rig.a.proxy.mute = False
        rig.a.proxy.cut()


#: What the operator watches, as far as old views of it can mislead.
_WATCHED = (
    "/apis/jil.io/v1alpha1/jilnetworks",
    "/apis/jil.io/v1alpha1/jilnodes",
    "/apis/jil.io/v1alpha1/jiljurisdictions",
    "/apis/jil.io/v1alpha1/namespaces/jil-system/jilnoderecords",
)
_CHILDREN = (
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/deployments",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/configmaps",
    "/api/v1/persistentvolumeclaims",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/policy/v1/poddisruptionbudgets",
)


def _lists(rig: Rig) -> dict[str, dict[str, Any]]:
    ours = "?labelSelector=app.kubernetes.io%2Fmanaged-by%3Djil-operator"
    found = {path: rig.world.api.get(path) for path in _WATCHED}
    return found | {path: rig.world.api.get(path + ours) for path in _CHILDREN}
