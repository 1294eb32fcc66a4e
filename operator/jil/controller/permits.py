"""The start permit: read the pod and what is known of the one before it, decide (plan/permit.py), record, then hand out.

The permit travels in an annotation of the very pod that it is for, which the start guard reads through the downward API:
no token in the validator's pod, no way to read anybody else's permit, and a permit that cannot outlive its pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.labels import Component
from jil.api.record import JILNodeRecord, PermitEnd, PermitMode
from jil.api.record import Permit as RecordedPermit
from jil.cluster.client import Manifest
from jil.cluster.errors import NotFound
from jil.cluster.record import whole_seconds
from jil.controller.deps import Deps
from jil.controller.network import ledger_existed
from jil.controller.node_audit import audit
from jil.controller.pod_ends import guard_of
from jil.plan.permit import (
    Guard,
    Hold,
    HoldReason,
    IssuedPermit,
    Permit,
    PodEnd,
    Predecessor,
    SigningRecord,
    SignVolume,
    StartingPod,
    decide_permit,
)
from jil.plan.podview import pod_view

_REASON: Mapping[HoldReason, Reason] = {
    HoldReason.SIGN_STATE_LOST: Reason.SIGN_STATE_LOST,
    HoldReason.FENCING_UNCONFIRMED: Reason.FENCING_UNCONFIRMED,
}


@dataclass(frozen=True)
class PermitFor:
    """Whose validator: a permit depends on nothing else of a node, so that no fault of its spec takes it away."""

    namespace: str
    name: str


class Permits:
    """Gives the validator's pod its permit, or says why it has to wait."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def note_end(self, record: JILNodeRecord) -> JILNodeRecord:
        """How the permitted pod ended goes into the record: after a restart of the operator it is still known."""
        permit = record.spec.permit
        seen = self._deps.pod_ends.of(permit.pod_uid) if permit and permit.ended is None else None
        if permit is None or seen is None:
            return record
        return await self._deps.records.change(
            record, permit=permit.model_copy(update={"ended": PermitEnd(seen.guard.value)})
        )

    async def ensure(
        self, ctx: PermitFor, record: JILNodeRecord, *, only_on: str | None
    ) -> tuple[JILNodeRecord, tuple[Reason, str] | None]:
        """The current pod has the permit it may have; returns the hold to show when it has none."""
        name = labels.pod_name(ctx.name, Component.VALIDATOR)
        known = self._deps.store.get(kinds.POD, ctx.namespace, name)
        if known is not None and self._settled(known, record):
            return record, None
        pod = await self._live(ctx.namespace, name)
        if pod is None:
            return record, None  # not made yet; the workload's own condition says so
        answer = self._decide(ctx, record, pod, only_on)
        if isinstance(answer, Hold):
            if answer.reason in (HoldReason.POD_ENDING, HoldReason.POD_NOT_SCHEDULED):
                return record, None
            message = f"{answer.message}; {answer.remedy}"
            return record, (_REASON.get(answer.reason, Reason.WAITING_FOR_PERMIT), message)
        if not record.spec.bootstrapped:
            # The ledger comes before the first validator: a missing ledger of a bootstrapped network is then a lost one.
            existed = ledger_existed(self._deps, record.spec.network)
            denial = await self._deps.gate.establish(record.spec.network, ledger_existed=existed)
            if denial is not None:
                return record, (Reason.WAITING_FOR_GRANT, str(denial))
        return await self._issue(ctx, record, pod, answer), None

    def _settled(self, pod: Manifest, record: JILNodeRecord) -> bool:
        """The pod has the recorded permit, and nothing about it is to be changed."""
        permit = record.spec.permit
        annotation = _annotation(pod)
        if permit is None or annotation is None or permit.pod_uid != pod["metadata"]["uid"]:
            return False
        if annotation.get("podUID") != permit.pod_uid or annotation.get("mode") != permit.mode.value:
            return False
        # The right to create a sign state is taken back as soon as it was used.
        return not (permit.mode is PermitMode.CREATE and guard_of(pod) is Guard.PASSED)

    async def _live(self, namespace: str, name: str) -> Manifest | None:
        """Read live, and through the store: what signs is not decided on a cache."""
        try:
            pod = await self._deps.client.get(kinds.POD, name, namespace)
        except NotFound:
            return None
        self._deps.store.put(kinds.POD, pod)
        return pod

    def _decide(self, ctx: PermitFor, record: JILNodeRecord, pod: Manifest, only_on: str | None) -> Permit | Hold:
        view = pod_view(pod)
        permit = record.spec.permit
        volume = self._deps.store.get(
            kinds.PERSISTENT_VOLUME_CLAIM, ctx.namespace, labels.child_name(ctx.name, Component.VALIDATOR)
        )
        recorded = record.spec.volume(Component.VALIDATOR.value)
        return decide_permit(
            SigningRecord(
                bootstrapped=record.spec.bootstrapped,
                highest_signed_height=record.spec.highest_signed_height,
                permit=IssuedPermit(permit.pod_uid, permit.kube_node, permit.mode) if permit else None,
                pvc_uid=recorded.pvc_uid if recorded else None,
            ),
            StartingPod(
                name=view.name,
                uid=view.uid,
                kube_node=view.kube_node,
                ending=view.deleting or view.phase in ("Succeeded", "Failed"),
                guard=guard_of(pod),
            ),
            SignVolume(volume["metadata"]["uid"], only_on) if volume else None,
            predecessor=self._predecessor(ctx, permit.pod_uid, view.uid, permit.ended) if permit else None,
        )

    def _predecessor(self, ctx: PermitFor, uid: str, current: str, ended: str | None) -> Predecessor | None:
        if uid == current:
            return None
        for raw in self._deps.store.children(kinds.POD, ctx.namespace, ctx.name):
            if raw["metadata"]["uid"] == uid:
                return Predecessor(PodEnd.PRESENT, guard_of(raw))
        seen = self._deps.pod_ends.of(uid)
        if seen is None and ended is not None:
            # A person saw to the end of the pod, not to how far its guard had got.
            guard = Guard.UNKNOWN if ended == PermitEnd.CONFIRMED else Guard(ended)
            seen = Predecessor(PodEnd.TERMINATED, guard)
        return seen or Predecessor(PodEnd.VANISHED)

    async def _issue(self, ctx: PermitFor, record: JILNodeRecord, pod: Manifest, answer: Permit) -> JILNodeRecord:
        meta = pod["metadata"]
        permit = RecordedPermit(
            pod_uid=meta["uid"],
            pod_name=meta["name"],
            kube_node=pod["spec"].get("nodeName"),
            mode=answer.mode,
            issued_at=whole_seconds(self._deps.clock.now()),
        )
        before = record.spec.permit
        if before is not None and (before.pod_uid, before.mode) == (permit.pod_uid, permit.mode):
            permit = before  # the same answer again after a crash in between
        else:
            # The record first: a permit that nobody wrote down could be given twice.
            record = await self._deps.records.change(record, permit=permit, bootstrapped=True)
            audit(
                "validator.permit",
                node=f"{ctx.namespace}/{ctx.name}",
                pod=meta["name"],
                podUID=meta["uid"],
                mode=permit.mode.value,
            )
        value = json.dumps(
            {"podUID": meta["uid"], "mode": answer.mode.value, "minHeight": answer.min_height},
            separators=(",", ":"),
            sort_keys=True,
        )
        if (meta.get("annotations") or {}).get(labels.START_PERMIT) != value:
            updated = await self._deps.client.annotate(
                kinds.POD, meta["name"], ctx.namespace, {labels.START_PERMIT: value}, uid=meta["uid"]
            )
            self._deps.store.put(kinds.POD, updated)
        return record


def _annotation(pod: Manifest) -> dict[str, Any] | None:
    raw = (pod["metadata"].get("annotations") or {}).get(labels.START_PERMIT)
    if raw is None:
        return None
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
