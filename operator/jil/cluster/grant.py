"""The ticket without which the client does nothing disruptive.

Only ``jil.cluster.disruption`` issues grants (a unit test reads the whole package's syntax trees for any other use of
``_issue``). The client asks for one before it deletes, scales, disarms or takes out of serving; it takes the target,
its UID and its resourceVersion from the grant and from nowhere else, so a grant works for exactly the object that the
gate looked at, once: the first write changes the resourceVersion.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import Final

from jil.api.kinds import Kind
from jil.plan.acts import Act

_SEAL: Final = object()


@dataclass(frozen=True)
class TargetRef:
    """One object at one version. ``namespace`` is None for cluster-scoped kinds."""

    kind: Kind
    namespace: str | None
    name: str
    uid: str
    resource_version: str

    def __post_init__(self) -> None:
        missing = [field for field in ("name", "uid", "resource_version") if not getattr(self, field)]
        if missing:
            raise ValueError(
                f"target {self} lacks {', '.join(missing)}: a disruptive request is only made against one known "
                "version of one object, read it first"
            )

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind.kind} {where}"


@dataclass(frozen=True)
class Grant:
    """Permission for one act on one target. ``id`` stands in the ledger, in the User-Agent and so in the audit log."""

    id: str
    act: Act
    target: TargetRef
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a Grant is issued by jil.cluster.disruption, never constructed: ask the gate")
        if not self.id or any(character.isspace() or character == "/" for character in self.id):
            raise ValueError(f"grant id {self.id!r} must be one word without '/': it stands in the User-Agent")


def _issue(grant_id: str, act: Act, target: TargetRef) -> Grant:
    """For ``jil.cluster.disruption`` alone, after the ledger has been written."""
    return Grant(grant_id, act, target, _SEAL)
