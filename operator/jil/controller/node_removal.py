"""Removing children that nothing needs any more, and everything but data, keys, record and address of a deleted node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.api.labels import Component
from jil.cluster.client import Manifest
from jil.controller.deps import Deps
from jil.controller.node_acts import NodeActs
from jil.controller.node_gate import ActSubject, FreeAct
from jil.plan.acts import Act
from jil.render.context import Object

#: What a deletion removes beside the workloads. Volumes, keys, the record and the p2p Service (the node's address, which
#: peers resolved once) stay.
CLEARED = (kinds.NETWORK_POLICY, kinds.POD_DISRUPTION_BUDGET, kinds.SERVICE, kinds.CONFIG_MAP)


class NodeRemoval:
    """Removes through the gate; what it removes signs nothing, so many go at once."""

    def __init__(self, deps: Deps, acts: NodeActs) -> None:
        self._deps = deps
        self._acts = acts

    async def clear(self, subject: ActSubject) -> bool:
        """After the workloads: everything that is not data, key, record or address. True when nothing is left."""
        keep = labels.p2p_service(subject.name)
        left = [
            _prune(kind, child, "the JILNode was deleted")
            for kind in CLEARED
            for child in self._deps.store.children(kind, subject.namespace, subject.name)
            if child["metadata"]["name"] != keep
        ]
        await self._acts.together(subject, left)
        return not left

    async def prune(self, subject: ActSubject, rendered: Sequence[Object]) -> None:
        """In a node at rest: children that nothing refers to any more. A configuration that a pod or an armed template
        still names is kept: an evicted pod comes back with it."""
        wanted = {(o["kind"], o["metadata"]["name"]) for o in rendered}
        used = self._used_config_maps(subject)
        bare = self._bare_validator(subject, wanted)
        left = [
            _prune(kind, child, "nothing refers to it any more")
            for kind in CLEARED
            for child in self._deps.store.children(kind, subject.namespace, subject.name)
            if (kind.kind, child["metadata"]["name"]) not in wanted
            and not (kind is kinds.CONFIG_MAP and child["metadata"]["name"] in used)
            and not (bare and child["metadata"]["labels"].get(labels.APP_NAME) == Component.VALIDATOR)
        ]
        await self._acts.together(subject, left)

    def _bare_validator(self, subject: ActSubject, wanted: Set[tuple[str, str]]) -> bool:
        """Whether a validator's pod is there that the spec does not have: as long as it signs, what peers reach it by
        and what keeps it from being evicted stays."""
        if (kinds.STATEFUL_SET.kind, labels.child_name(subject.name, Component.VALIDATOR)) in wanted:
            return False
        pods = self._deps.store.children(kinds.POD, subject.namespace, subject.name)
        return any(pod["metadata"]["labels"].get(labels.APP_NAME) == Component.VALIDATOR for pod in pods)

    def _used_config_maps(self, subject: ActSubject) -> set[str]:
        used: set[str] = set()
        for kind in (kinds.STATEFUL_SET, kinds.DEPLOYMENT):
            for workload in self._deps.store.children(kind, subject.namespace, subject.name):
                status = workload.get("status", {})
                if status.get("currentRevision") != status.get("updateRevision"):
                    # Armed: the old revision's configuration is not in the template that we see. Keep all of it.
                    component = workload["metadata"]["labels"].get(labels.APP_NAME)
                    used |= {
                        c["metadata"]["name"]
                        for c in self._deps.store.children(kinds.CONFIG_MAP, subject.namespace, subject.name)
                        if c["metadata"]["labels"].get(labels.APP_NAME) == component
                    }
                used |= _config_maps_of(workload["spec"]["template"]["spec"])
        for pod in self._deps.store.children(kinds.POD, subject.namespace, subject.name):
            used |= _config_maps_of(pod.get("spec", {}))
        return used


def _prune(kind: Kind, child: Manifest, reason: str) -> FreeAct:
    meta = child["metadata"]
    return FreeAct(Act.PRUNE, kind, meta["name"], meta["labels"].get(labels.APP_NAME, ""), reason)


def _config_maps_of(pod_spec: Mapping[str, Any]) -> set[str]:
    return {v["configMap"]["name"] for v in pod_spec.get("volumes", []) if "configMap" in v}
