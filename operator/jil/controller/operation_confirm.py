"""ConfirmFencing and AdoptVolume: a person says what no program can see, and exactly the hold that waits for it ends.

Both name a UID, so that a command for yesterday's trouble cannot end today's: the pod that vanished, the claim that was
made anew. Nothing is believed that can be looked at: a pod that is still there is not over, whoever says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.operation import AdoptVolume, ConfirmFencing, JILOperation, OperationPhase, VolumeComponent
from jil.api.record import JILNodeRecord, Permit, PermitEnd, Volume
from jil.cluster.client import Manifest
from jil.cluster.errors import NotFound
from jil.controller.deps import Deps
from jil.controller.node_audit import audit
from jil.controller.operation import Step


def _refused(message: str, target: str) -> Step:
    return Step(OperationPhase.REFUSED, Reason.NOT_WAITING, message, target)


def _who(operation: JILOperation) -> dict[str, Any]:
    spec, meta = operation.spec, operation.metadata
    return {"who": spec.requested_by, "why": spec.reason, "operation": f"{meta.namespace}/{operation.name}"}


async def _record(deps: Deps, namespace: str, node: str) -> JILNodeRecord | Step:
    """The node's own record, read live, or the refusal."""
    raw = await deps.find(kinds.JIL_NODE, namespace, node)
    if raw is None:
        return _refused(f"namespace {namespace} has no JILNode {node} (kubectl get jn -n {namespace})", node)
    record = await deps.records.read(raw["spec"]["nodeId"])
    if record is None or record.spec.owner.uid != raw["metadata"]["uid"]:
        return _refused(f"JILNode {namespace}/{node} has no record of its own yet: it waits for nothing", node)
    return record


class ConfirmFencingHandler:
    """Writes into the record that the process of a vanished validator pod is over."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def hindrance(self, operation: JILOperation) -> Step | None:
        """The node does not wait for this pod, or the pod is there."""
        answer = await self._permit(operation)
        return answer if isinstance(answer, Step) else None

    async def run(self, operation: JILOperation) -> Step:
        """The end goes into the record; the next pass of the node gives the permit, with the sign state required."""
        asked = _fencing(operation)
        answer = await self._permit(operation, again=True)
        if isinstance(answer, Step):
            return answer
        record, permit = answer
        if permit.ended is None:
            await self._deps.records.change(record, permit=permit.model_copy(update={"ended": PermitEnd.CONFIRMED}))
            audit(
                "fencing.confirmed",
                **_who(operation),
                what=f"the process of pod {permit.pod_name} ({permit.pod_uid}) on {permit.kube_node} is over",
                node=f"{operation.metadata.namespace}/{asked.node}",
                before={"ended": None},
                after={"ended": PermitEnd.CONFIRMED.value},
            )
        said = f"{operation.spec.requested_by} confirmed that the process of pod {asked.pod_uid} is over"
        message = f"{said}: {asked.node} goes on"
        return Step(OperationPhase.SUCCEEDED, Reason.SUCCEEDED, message, asked.node)

    async def gone(self, namespace: str, name: str) -> None:
        """What was confirmed stays confirmed: there is nothing to take back."""

    async def _permit(self, operation: JILOperation, *, again: bool = False) -> tuple[JILNodeRecord, Permit] | Step:
        """Record and permit, or why this is not what the node waits for. ``again``: it may have been done already."""
        asked, namespace = _fencing(operation), operation.metadata.namespace or ""
        record = await _record(self._deps, namespace, asked.node)
        if isinstance(record, Step):
            return record
        permit = record.spec.permit
        if permit is None or permit.pod_uid != asked.pod_uid:
            last = f"its last permit went to pod {permit.pod_uid}" if permit else "it has no permit on record"
            return _refused(f"{asked.node} does not wait for the end of pod {asked.pod_uid}: {last}", asked.node)
        if permit.ended is not None and not (again and permit.ended is PermitEnd.CONFIRMED):
            return _refused(f"the end of pod {asked.pod_uid} is on record already: {permit.ended.value}", asked.node)
        try:
            pod = await self._deps.client.get(kinds.POD, permit.pod_name, namespace)
        except NotFound:
            return record, permit
        if pod["metadata"]["uid"] == permit.pod_uid:
            return _refused(
                f"pod {permit.pod_name} ({permit.pod_uid}) is still there, so its process may be: its kubelet has to report"
                " the end, or its Kubernetes node to be removed; never force-delete it",
                asked.node,
            )
        return record, permit


@dataclass(frozen=True)
class _Adoption:
    record: JILNodeRecord
    recorded: Volume
    claim: Manifest


class AdoptVolumeHandler:
    """Writes the claim that is there now into the record, in place of the one that is gone."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def hindrance(self, operation: JILOperation) -> Step | None:
        """The claim is not there, not bound, not the one that is named, or not the validator's own volume."""
        answer = await self._adoption(operation)
        return answer if isinstance(answer, Step) else None

    async def run(self, operation: JILOperation) -> Step:
        """The record names the claim; the next pass of the node labels it and starts on it."""
        asked = _adopt(operation)
        answer = await self._adoption(operation, again=True)
        if isinstance(answer, Step):
            return answer
        record, recorded, claim = answer.record, answer.recorded, answer.claim
        fresh = recorded.model_copy(update={"pvc_uid": asked.claim_uid, "pv_name": claim["spec"]["volumeName"]})
        if fresh != recorded:
            rest = (volume for volume in record.spec.volumes if volume.component != recorded.component)
            volumes = tuple(sorted((*rest, fresh), key=lambda volume: volume.component))
            await self._deps.records.change(record, volumes=volumes)
            audit(
                "volume.adopted",
                **_who(operation),
                what=f"claim {claim['metadata']['name']} holds the {asked.component.value} of {asked.node}",
                node=f"{operation.metadata.namespace}/{asked.node}",
                before=recorded.wire(),
                after=fresh.wire(),
            )
        name = f"claim {claim['metadata']['name']} (volume {fresh.pv_name})"
        message = f"{name} is the {asked.component.value} of {asked.node} now"
        return Step(OperationPhase.SUCCEEDED, Reason.SUCCEEDED, message, asked.node)

    async def gone(self, namespace: str, name: str) -> None:
        """What was adopted stays adopted."""

    async def _adoption(self, operation: JILOperation, *, again: bool = False) -> _Adoption | Step:
        asked, namespace = _adopt(operation), operation.metadata.namespace or ""
        record = await _record(self._deps, namespace, asked.node)
        if isinstance(record, Step):
            return record
        recorded = record.spec.volume(asked.component.value)
        name = labels.child_name(asked.node, asked.component.value)
        if recorded is None or (recorded.pvc_uid == asked.claim_uid and not again):
            state = "is the recorded one already" if recorded else "is waited for by nobody: no volume is on record"
            return _refused(f"claim {name} ({asked.claim_uid}) {state}", asked.node)
        try:
            claim = await self._deps.client.get(kinds.PERSISTENT_VOLUME_CLAIM, name, namespace)
        except NotFound:
            return _refused(f"claim {namespace}/{name} does not exist: bind the kept volume to it first", asked.node)
        volume = claim["spec"].get("volumeName")
        if claim["metadata"]["uid"] != asked.claim_uid or not volume:
            state = f"has UID {claim['metadata']['uid']}" if volume else "is bound to no volume yet"
            return _refused(f"claim {name} {state}; adopt the claim that was looked at, once it is bound", asked.node)
        if asked.component is VolumeComponent.VALIDATOR and volume != recorded.pv_name:
            return _refused(
                f"claim {name} is bound to volume {volume}, the validator has signed on {recorded.pv_name}: it goes on with"
                " that one or not at all, any other may hold an older sign state",
                asked.node,
            )
        return _Adoption(record, recorded, claim)


def _fencing(operation: JILOperation) -> ConfirmFencing:
    if operation.spec.confirm_fencing is None:
        raise ValueError(f"JILOperation {operation.name} has no confirmFencing: the CRD refuses that")
    return operation.spec.confirm_fencing


def _adopt(operation: JILOperation) -> AdoptVolume:
    if operation.spec.adopt_volume is None:
        raise ValueError(f"JILOperation {operation.name} has no adoptVolume: the CRD refuses that")
    return operation.spec.adopt_volume
