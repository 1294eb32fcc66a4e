"""Would this plain write disrupt? The check that keeps server-side apply from going round the gate. Pure.

A workload's ``replicas`` and a StatefulSet's ``partition`` go down only under a grant; and while a StatefulSet is
disarmed (its partition protects no pod), its template changes only together with arming it again, because a change
would replace the pod at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass
from typing import Any, Final

from jil.api import kinds
from jil.api.kinds import Kind
from jil.cluster.errors import GrantRequired
from jil.cluster.fieldset import Field, Path
from jil.plan.acts import Act

#: Kinds whose plain writes are reviewed: through them a running validator can be taken down.
GUARDED: Final = frozenset({kinds.STATEFUL_SET, kinds.DEPLOYMENT, kinds.POD})

#: A version that no object ever has: etcd's first write is its second revision. An apply that names it makes an object or
#: conflicts with the one that is there; it takes nothing over.
ABSENT: Final = "1"

_SEAL: Final = object()
_REPLICAS: Final[Path] = (Field("spec"), Field("replicas"))
_STRATEGY: Final[Path] = (Field("spec"), Field("updateStrategy"))
_TEMPLATE: Final[Path] = (Field("spec"), Field("template"))


@dataclass(frozen=True)
class Reviewed:
    """Proof that a write was compared with one version of the live object. Only ``review`` makes one."""

    kind: Kind
    namespace: str | None
    name: str
    uid: str
    resource_version: str
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("Reviewed comes from jil.cluster.review.review, which looks at the live object")

    def covers(self, kind: Kind, manifest: Mapping[str, Any]) -> bool:
        """Whether ``manifest`` goes to the reviewed object and names its version as precondition (ABSENT, or nothing, for
        one that was not there)."""
        metadata = manifest["metadata"]
        version = metadata.get("resourceVersion", "")
        return (
            kind == self.kind
            and metadata.get("namespace") == self.namespace
            and metadata["name"] == self.name
            and metadata.get("uid", "") == self.uid
            and (version == self.resource_version or (version == ABSENT and not self.uid))
        )

    def at(self, resource_version: str) -> bool:
        """Whether this is a review of that version."""
        return bool(self.resource_version) and self.resource_version == resource_version


def review(
    kind: Kind,
    intent: Mapping[str, Any],
    live: Mapping[str, Any] | None,
    *,
    template_changes: bool,
    removed: Iterable[Path] = (),
) -> Reviewed:
    """Compare a write with the live object (None: it does not exist). Raises GrantRequired when it would disrupt.

    ``template_changes`` says whether the write changes ``spec.template``; ``removed`` are fields that it removes.
    """
    metadata = intent["metadata"]
    name, namespace = str(metadata["name"]), metadata.get("namespace")
    if live is None:
        return Reviewed(kind, namespace, name, "", "", _SEAL)
    if kind in (kinds.STATEFUL_SET, kinds.DEPLOYMENT):
        _refuse_disruption(
            kind,
            f"{kind.kind} {namespace}/{name}",
            intent,
            live,
            template_changes=template_changes,
            removed=tuple(removed),
        )
    elif kind in GUARDED:
        raise GrantRequired(Act.DELETE_POD, f"{kind.kind} {namespace}/{name}", "pods are never applied")
    found = live["metadata"]
    return Reviewed(kind, namespace, name, str(found["uid"]), str(found["resourceVersion"]), _SEAL)


def _refuse_disruption(
    kind: Kind,
    target: str,
    intent: Mapping[str, Any],
    live: Mapping[str, Any],
    *,
    template_changes: bool,
    removed: tuple[Path, ...],
) -> None:
    have = _replicas(live)
    want = have if "replicas" not in (intent.get("spec") or {}) else _replicas(intent)
    if any(_overlaps(_REPLICAS, path) for path in removed):
        want = 1
    if want < have:
        raise GrantRequired(Act.STOP, target, f"replicas would go down from {have} to {want}")
    if kind != kinds.STATEFUL_SET or have == 0:
        return
    armed_for, arms_for = _partition(live), _partition(intent)
    if any(_overlaps(_STRATEGY, path) for path in removed):
        arms_for = 0
    if arms_for < armed_for:
        raise GrantRequired(Act.DISARM, target, f"partition would go down from {armed_for} to {arms_for}")
    changes = template_changes or any(_overlaps(_TEMPLATE, path) for path in removed)
    if changes and arms_for < want:
        raise GrantRequired(
            Act.DISARM, target, f"the pod template would change while partition {arms_for} leaves pods unprotected"
        )


def _overlaps(one: Path, other: Path) -> bool:
    """Whether one is the other, or lies within it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _replicas(obj: Mapping[str, Any]) -> int:
    value = (obj.get("spec") or {}).get("replicas")
    return 1 if value is None else int(value)


def _partition(obj: Mapping[str, Any]) -> int:
    """Pods with this ordinal or a higher one are replaced. OnDelete protects none: they come back changed."""
    strategy = (obj.get("spec") or {}).get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return 0
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
