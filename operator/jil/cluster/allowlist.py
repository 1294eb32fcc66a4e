"""The one writer of JILImageAllowList objects.

A list has parts with an owner each: what releases let run (``ReleasePart``), and one entry for every break-glass operation
whose time is not over. Each owner gives its part whole, every time; the others' stay as they are. Writes are
compare-and-swap, and there is none when nothing differs. Every digest that comes or goes has its line in the audit log.

A list belongs to its Namespace object (ownerReference with the UID), so it goes when that goes, and a namespace that is
made anew under the same name begins with a list of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from jil.api import kinds, labels
from jil.api.allowlist import AllowedImage, AllowListSpec, BrokenGlass, CachedVerdict, JILImageAllowList
from jil.api.kinds import Kind
from jil.cluster.client import Manifest
from jil.cluster.errors import AlreadyExists, Conflict, NotFound

_audit = logging.getLogger("jil.audit")

#: Times that a write which lost the race to the other owner is tried again before the caller hears of it.
_ATTEMPTS = 4


class AllowListClient(Protocol):
    """The part of the client that the lists need."""

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Manifest:
        """GET. Raises NotFound."""

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """POST. Raises AlreadyExists."""

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """PUT with the resourceVersion as precondition. Raises Conflict, NotFound."""


@dataclass(frozen=True)
class ReleasePart:
    """All that the releases of a namespace let run, and the verdicts behind it; replaces what was there before."""

    network: str
    policy_hash: str | None
    #: ``sha256:...`` -> image, releases and, for what runs on without a verdict, since when.
    digests: Mapping[str, AllowedImage]
    verdicts: Sequence[CachedVerdict] = field(default=())

    def into(self, spec: AllowListSpec | None) -> AllowListSpec:
        """``spec`` with this part in place of its own one; a new list when there is none, or one of another network."""
        return AllowListSpec(
            network=self.network,
            policy_hash=self.policy_hash,
            digests=dict(sorted(self.digests.items())),
            verdicts=tuple(sorted(self.verdicts, key=lambda verdict: (verdict.release, verdict.image))),
            break_glass=spec.break_glass if spec is not None and spec.network == self.network else (),
        )


def with_break_glass(
    spec: AllowListSpec, operation: str, entry: BrokenGlass | None, in_force: Callable[[BrokenGlass], bool]
) -> AllowListSpec:
    """``spec`` with exactly this entry of JILOperation ``operation``, or with none; of the others what is in force."""
    kept = [other for other in spec.break_glass if other.operation != operation and in_force(other)]
    found = [*kept, entry] if entry is not None else kept
    return spec.model_copy(update={"break_glass": tuple(sorted(found, key=lambda glass: glass.operation))})


def allowed(spec: AllowListSpec, digest: str) -> bool:
    """Whether admission lets the digest in: what the policy of chart jil-operator says, for those who ask in Python."""
    return digest in spec.digests or any(glass.digest == digest for glass in spec.break_glass)


class AllowLists:
    """``seen`` is the list as the watch last saw it, or None: it saves the read when nothing has to be written.

    ``remember`` is told what a write returned, so that the next look need not wait for the watch.
    """

    def __init__(
        self,
        client: AllowListClient,
        *,
        seen: Callable[[str], Manifest | None] = lambda namespace: None,
        remember: Callable[[Kind, Manifest], object] = lambda kind, obj: None,
    ) -> None:
        self._client = client
        self._seen = seen
        self._remember = remember
        self._parsed: dict[str, tuple[str, AllowListSpec]] = {}

    def read(self, namespace: str) -> AllowListSpec | None:
        """The list as the watch last saw it. Raises InvalidObject when this operator cannot read it.

        It is the same object as long as the list is: a list holds a thousand verdicts, and each image is looked up.
        """
        stored = self._seen(namespace)
        if stored is None:
            self._parsed.pop(namespace, None)
            return None
        version = str(stored["metadata"]["resourceVersion"])
        known = self._parsed.get(namespace)
        if known is None or known[0] != version:
            known = self._parsed[namespace] = (version, JILImageAllowList.parse(stored).spec)
        return known[1]

    async def publish_releases(self, namespace: str, *, namespace_uid: str, part: ReleasePart) -> AllowListSpec:
        """Make ``part`` the releases' part of the namespace's list; a list that is not there is made.

        From the moment that it exists, admission lets nothing else into the namespace. Raises Conflict (also while the
        list of a namespace that had the name before is still there), ValueError for a part that breaks the bounds of
        the API, and what the client raises.
        """
        written = await self._publish(namespace, namespace_uid, part.into, make=True)
        if written is None:
            raise AssertionError("a list that is made is there")
        return written

    async def publish_break_glass(
        self,
        namespace: str,
        *,
        namespace_uid: str,
        operation: str,
        entry: BrokenGlass | None,
        in_force: Callable[[BrokenGlass], bool] = lambda glass: True,
    ) -> AllowListSpec | None:
        """Make ``entry`` the one of JILOperation ``operation``; None takes it out. Other entries go unless ``in_force``.

        Returns None, and writes nothing, when the namespace has no list: making one would keep out all that is not in
        it. Raises as ``publish_releases``.
        """
        return await self._publish(
            namespace,
            namespace_uid,
            lambda spec: with_break_glass(spec, operation, entry, in_force) if spec is not None else None,
            make=False,
        )

    # -- inside ------------------------------------------------------------------------------------------------------
    async def _publish(
        self,
        namespace: str,
        namespace_uid: str,
        change: Callable[[AllowListSpec | None], AllowListSpec | None],
        *,
        make: bool,
    ) -> AllowListSpec | None:
        seen = self._seen(namespace)
        if seen is not None and _owner(seen) == namespace_uid:
            spec = self.read(namespace)
            if spec is not None and change(spec) == spec:
                return spec
        for _ in range(_ATTEMPTS):
            try:
                live = await self._client.get(kinds.JIL_IMAGE_ALLOW_LIST, namespace)
            except NotFound:
                if not make:
                    return None
                live = None
            try:
                return await self._write(namespace, namespace_uid, live, change)
            except (Conflict, AlreadyExists, NotFound) as error:
                lost = error
                if _is_of_another_namespace(live, namespace_uid):
                    break
        raise lost

    async def _write(
        self,
        namespace: str,
        namespace_uid: str,
        live: Manifest | None,
        change: Callable[[AllowListSpec | None], AllowListSpec | None],
    ) -> AllowListSpec | None:
        if _is_of_another_namespace(live, namespace_uid):
            raise Conflict(
                "PUT",
                kinds.JIL_IMAGE_ALLOW_LIST.path(name=namespace),
                message=f"the allow-list belongs to a namespace {namespace} that is gone; it is waited for its deletion",
            )
        before = JILImageAllowList.parse(live).spec if live is not None else None
        after = change(before)
        if after is None or after == before:
            return after
        # Also what was made by copying and never went through the bounds.
        after = AllowListSpec.model_validate(after.wire())
        if live is None:
            manifest = _manifest(namespace, namespace_uid, after)
            written = await self._client.create(kinds.JIL_IMAGE_ALLOW_LIST, manifest)
        else:
            marks = {**(live["metadata"].get("labels") or {}), labels.NETWORK: after.network}
            metadata = {**live["metadata"], "labels": marks}
            changed = {**live, "metadata": metadata, "spec": after.wire()}
            written = await self._client.replace(kinds.JIL_IMAGE_ALLOW_LIST, changed)
        self._remember(kinds.JIL_IMAGE_ALLOW_LIST, written)
        _tell(namespace, before, after)
        return after


def _manifest(namespace: str, namespace_uid: str, spec: AllowListSpec) -> Manifest:
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": namespace_uid}
    metadata = {
        "name": namespace,
        "labels": {
            labels.APP_MANAGED_BY: labels.MANAGED_BY,
            labels.APP_PART_OF: labels.PART_OF,
            labels.NETWORK: spec.network,
        },
        "ownerReferences": [owner],
    }
    return {**kinds.JIL_IMAGE_ALLOW_LIST.head(namespace), "metadata": metadata, "spec": spec.wire()}


def _owner(manifest: Manifest) -> str | None:
    owners = manifest["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("kind") == "Namespace"), None)


def _is_of_another_namespace(live: Manifest | None, namespace_uid: str) -> bool:
    return live is not None and (_owner(live) != namespace_uid or "deletionTimestamp" in live["metadata"])


def _tell(namespace: str, before: AllowListSpec | None, after: AllowListSpec) -> None:
    """One line for a write that lets something in or out; verdicts alone let nothing."""
    was, now = _reasons(before), _reasons(after)
    added = {digest: why for digest, why in now.items() if was.get(digest) != why}
    removed = sorted(was.keys() - now.keys())
    if before is not None and not added and not removed:
        return
    facts: dict[str, Any] = {
        "action": "image.allow",
        "namespace": namespace,
        "network": after.network,
        "policyHash": after.policy_hash,
        "made": before is None,
        "added": added,
        "removed": removed,
    }
    _audit.info("image.allow", extra={"audit": facts})


def _reasons(spec: AllowListSpec | None) -> dict[str, list[str]]:
    """Digest -> why it may run, as words."""
    if spec is None:
        return {}
    found: dict[str, list[str]] = {}
    for digest, image in spec.digests.items():
        kept = [f"kept since {_time(image.kept_since)}"] if image.kept_since else []
        found[digest] = [*(f"release {name}" for name in image.releases), *kept]
    for glass in spec.break_glass:
        why = f"operation {glass.operation} of {glass.requested_by} until {_time(glass.until)}"
        found[glass.digest] = [*found.get(glass.digest, []), why]
    return found


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
