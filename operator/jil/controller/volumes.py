"""The volumes of a node: claimed once, grown, kept, and never quietly replaced by empty ones (I4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jil.api import kinds, labels
from jil.api.conditions import ConditionType, Finding, Reason, false, true
from jil.api.labels import Component
from jil.api.quantity import parse_quantity
from jil.api.record import JILNodeRecord, Volume
from jil.cluster.client import Manifest
from jil.cluster.errors import Conflict, Forbidden, Invalid, NotFound
from jil.cluster.together import side_by_side
from jil.controller.deps import Deps
from jil.render import storage
from jil.render.context import NodeContext


@dataclass(frozen=True)
class VolumesOutcome:
    record: JILNodeRecord
    finding: Finding
    blocked: frozenset[Component] = frozenset()
    """Components whose volume is lost or foreign: they are not started on another one."""
    only_on: Mapping[str, str] = field(default_factory=dict)
    """Component -> the one Kubernetes node from which its volume can be reached; those that can move are not in it."""


class Volumes:
    """The volumes of all nodes. Remembers which PersistentVolumes were seen kept, so that a node at rest reads none."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._only_on: dict[str, str | None] = {}

    async def _kept(self, name: str) -> str | None:
        """Makes the volume outlive its claim, once per process. Returns the one host that it is bound to, if any."""
        if name not in self._only_on:
            volume = await _retain(self._deps, name)
            if volume is None:
                return None
            self._only_on[name] = only_host(volume)
        return self._only_on[name]

    async def validator_host(self, record: JILNodeRecord) -> str | None:
        """The one host of the recorded volume of the validator, None when it can move or is not bound."""
        volume = record.spec.volume(Component.VALIDATOR.value)
        return await self._kept(volume.pv_name) if volume and volume.pv_name else None

    async def ensure(self, ctx: NodeContext, record: JILNodeRecord) -> VolumesOutcome:
        """Every claim exists, has its size, is the recorded one; bound volumes outlive their claim."""
        volumes = {v.component: v for v in record.spec.volumes}
        problems: list[tuple[Component, Reason, str]] = []
        waiting: list[str] = []
        larger: list[str] = []
        only_on: dict[str, str] = {}
        components = storage.components(ctx)
        claims = await side_by_side([_claim(self._deps, ctx, one, volumes.get(one.value)) for one in components])
        bound = [str(found) for claim in claims if isinstance(claim, dict) and (found := _to_keep(claim))]
        hosts = dict(zip(bound, await side_by_side([self._kept(name) for name in bound]), strict=True))
        for component, claim in zip(components, claims, strict=True):
            if isinstance(claim, _Lost):
                problems.append((component, claim.reason, claim.message))
                continue
            pv_name = claim.get("spec", {}).get("volumeName")
            volumes[component.value] = Volume(
                component=component.value, pvc_uid=claim["metadata"]["uid"], pv_name=pv_name
            )
            if claim.get("status", {}).get("phase") == "Lost":
                name = claim["metadata"]["name"]
                problems.append(
                    (component, Reason.VOLUME_LOST, f"claim {name} has lost its volume {pv_name}: restore a backup")
                )
            elif claim["metadata"].get("deletionTimestamp"):
                name = claim["metadata"]["name"]
                problems.append(
                    (
                        component,
                        Reason.VOLUME_DELETING,
                        f"claim {name} is being deleted; its data stays on volume {pv_name}",
                    )
                )
            elif pv_name is None:
                waiting.append(f"{claim['metadata']['name']} is not bound yet")
            else:
                host = hosts[pv_name]
                if host is not None:
                    only_on[component.value] = host
                if claim.get("shrunk"):
                    larger.append(claim["shrunk"])
                growing = claim.get("refused") or _growing(claim)
                if growing:
                    waiting.append(growing)
        recorded = tuple(sorted(volumes.values(), key=lambda v: v.component))
        record = await self._deps.records.change(record, volumes=recorded)
        type_ = ConditionType.STORAGE_READY
        if problems:
            _, reason, message = problems[0]
            finding = false(type_, reason, "; ".join(p[2] for p in problems)[:2000] or message)
        elif waiting:
            finding = false(type_, Reason.WAITING_FOR_VOLUME, "; ".join(waiting)[:2000])
        elif larger:
            finding = true(type_, Reason.STORAGE_SHRINK, "; ".join(larger)[:2000])
        else:
            finding = true(type_, Reason.READY, f"{len(volumes)} volumes are bound and kept on deletion")
        blocked = frozenset(c for c, reason, _ in problems if reason is not Reason.VOLUME_DELETING)
        return VolumesOutcome(record, finding, blocked, only_on)


def _to_keep(claim: Manifest) -> str | None:
    """The volume of a claim that is well: bound, and neither lost nor on its way out."""
    if claim.get("status", {}).get("phase") == "Lost" or claim["metadata"].get("deletionTimestamp"):
        return None
    name: str | None = claim.get("spec", {}).get("volumeName")
    return name


@dataclass(frozen=True)
class _Lost:
    reason: Reason
    message: str


async def _claim(deps: Deps, ctx: NodeContext, component: Component, recorded: Volume | None) -> Manifest | _Lost:
    intent = storage.claim(ctx, component)
    name = intent["metadata"]["name"]
    where = (kinds.PERSISTENT_VOLUME_CLAIM, ctx.namespace, name)
    live = deps.store.get(*where) if recorded is None else await deps.find(*where)
    if live is None and recorded is not None:
        reason = Reason.SIGN_STATE_LOST if component is Component.VALIDATOR else Reason.VOLUME_LOST
        return _Lost(
            reason,
            f"claim {name} is gone, but the record of {ctx.node.node_id} names it (UID {recorded.pvc_uid}, volume"
            f" {recorded.pv_name or 'unbound'}). No empty volume is started in its place: bind the retained volume to a new"
            f" claim {name} and adopt it with a JILOperation AdoptVolume, or restore a backup",
        )
    if live is None:
        try:
            live, made = await _make(deps, intent)
        except (Forbidden, Invalid) as error:
            # A quota or a policy: told as what it is, and everything else of the node goes on.
            return _Lost(Reason.WAITING_FOR_VOLUME, f"claim {name} is refused: {error.message}")
        if made:
            return live
    uid = live["metadata"]["uid"]
    if recorded is not None and recorded.pvc_uid != uid:
        reason = Reason.SIGN_STATE_LOST if component is Component.VALIDATOR else Reason.VOLUME_LOST
        return _Lost(
            reason,
            f"claim {name} is not the recorded one (UID {uid}, recorded {recorded.pvc_uid}): somebody made it anew. It is"
            " not used until its content is confirmed to be this node's (JILOperation AdoptVolume with this claimUID)",
        )
    holder = _holder(deps, uid, ctx.node.node_id) if recorded is None else None
    if holder is not None:
        return _Lost(
            Reason.NAME_TAKEN,
            f"claim {name} (UID {uid}) holds the {component.value} of node {holder}, whose JILNode had this name before, and"
            f" is kept for it: apply {ctx.node.node_id} under another name, or {holder} again under this one",
        )
    shrunk = None
    asked = live["spec"]["resources"]["requests"]["storage"]
    if parse_quantity(intent["spec"]["resources"]["requests"]["storage"]) < parse_quantity(asked):
        # The schema refuses shrinking; a JILNode that was deleted and applied again smaller still lands here.
        wanted = intent["spec"]["resources"]["requests"]["storage"]
        shrunk = f"claim {name} keeps its {asked}: {wanted} is asked for, and volumes do not shrink"
        intent["spec"]["resources"]["requests"]["storage"] = asked
    intent["spec"]["accessModes"] = live["spec"]["accessModes"]
    if "storageClassName" in live["spec"]:
        intent["spec"]["storageClassName"] = live["spec"]["storageClassName"]
    try:
        claim = (await deps.applier.ensure(intent, live)).object
        return {**claim, "shrunk": shrunk} if shrunk else claim
    except (Forbidden, Invalid) as error:
        # A StorageClass that cannot grow, for one: the volume that is there serves on.
        return {**live, "refused": error.message}


async def _make(deps: Deps, intent: Manifest) -> tuple[Manifest, bool]:
    """The claim, and whether it was made just now. The watch may lag, or somebody have made it: what is there is to be
    looked at like any other."""
    try:
        return (await deps.applier.create(intent)).object, True
    except Conflict:
        meta = intent["metadata"]
        live = await deps.find(kinds.PERSISTENT_VOLUME_CLAIM, meta["namespace"], meta["name"])
        if live is not None:
            return live, False
        return (await deps.applier.ensure(intent, None)).object, True


def _holder(deps: Deps, uid: str, node_id: str) -> str | None:
    """The other node whose record names the claim: volumes are kept for it after its JILNode is gone."""
    for raw in deps.store.list(kinds.JIL_NODE_RECORD, deps.system_namespace):
        other = str(raw["spec"]["nodeId"])
        if other != node_id and any(volume["pvcUID"] == uid for volume in raw["spec"].get("volumes") or ()):
            return other
    return None


async def _retain(deps: Deps, name: str) -> Manifest | None:
    """A dynamically made volume is deleted with its claim unless its policy says Retain. Returns the volume."""
    try:
        volume = await deps.client.get(kinds.PERSISTENT_VOLUME, name)
    except NotFound:
        return None
    meta = volume["metadata"]
    operations: list[dict[str, Any]] = []
    if volume["spec"].get("persistentVolumeReclaimPolicy") != "Retain":
        operations.append({"op": "add", "path": "/spec/persistentVolumeReclaimPolicy", "value": "Retain"})
    if (meta.get("labels") or {}).get(labels.APP_MANAGED_BY) != labels.MANAGED_BY:
        # By this label the deletion guard knows the volume.
        if not meta.get("labels"):
            operations.append({"op": "add", "path": "/metadata/labels", "value": {}})
        key = labels.APP_MANAGED_BY.replace("/", "~1")
        operations.append({"op": "add", "path": f"/metadata/labels/{key}", "value": labels.MANAGED_BY})
    if not operations:
        return volume
    return await deps.client.json_patch(
        kinds.PERSISTENT_VOLUME, name, None, operations, resource_version=meta["resourceVersion"]
    )


def only_host(volume: Manifest) -> str | None:
    """The one host that the volume's affinity admits (then a pod that uses it can run nowhere else), or None."""
    required: dict[str, Any] = volume["spec"].get("nodeAffinity", {}).get("required", {})
    terms = required.get("nodeSelectorTerms", [])
    if len(terms) != 1:
        return None
    for expression in terms[0].get("matchExpressions", []):
        hosts = expression.get("values", [])
        named = expression.get("key") == "kubernetes.io/hostname" and expression.get("operator") == "In"
        if named and len(hosts) == 1:
            return str(hosts[0])
    return None


def _growing(claim: Manifest) -> str | None:
    asked = claim["spec"]["resources"]["requests"]["storage"]
    has = claim.get("status", {}).get("capacity", {}).get("storage")
    if has is None or parse_quantity(has) >= parse_quantity(asked):
        return None
    resize = {c["type"]: c for c in claim.get("status", {}).get("conditions", [])}
    word = next((c.get("message") or t for t, c in resize.items() if c.get("status") == "True"), "")
    return f"{claim['metadata']['name']} grows from {has} to {asked} {f'({word})' if word else ''}".rstrip()
