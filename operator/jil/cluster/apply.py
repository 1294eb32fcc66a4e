"""Making a child equal to its intent: server-side apply of the full intent, skipped when nothing differs.

Four things can differ, and each is found without guessing at schemas:

1. the intent changed since it was applied (its hash stands in an annotation of the child);
2. somebody changed one of our fields: it is no longer in our part of ``managedFields``;
3. we own a field that the intent no longer has;
4. a value differs (belt and braces; it also words the difference for people).

What other managers *added* is not undone by server-side apply, so it is removed by a JSON patch of exactly the version
that was looked at. Kubernetes' own controllers and subresource writes (scale, status) are left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from jil.api import kinds, labels
from jil.api.kinds import Kind, kind_of
from jil.cluster import compare, fieldset
from jil.cluster.client import Manifest, PatchOperation
from jil.cluster.errors import Conflict, NotFound, NotOurs
from jil.cluster.fieldset import Entry, Field, Path
from jil.cluster.looked_at import LookedAt, Stamp, hashes
from jil.cluster.review import ABSENT, GUARDED, Reviewed, review

#: ``<hash of the intent>-<hash of its pod template>`` as last applied.
APPLIED: Final = "jil.io/applied"
#: Managers that are part of Kubernetes: what they set is the cluster's business.
SYSTEM_MANAGERS: Final = frozenset(
    {"kube-controller-manager", "kube-scheduler", "kubelet", "kube-apiserver", "cloud-controller-manager"}
)
#: Top-level fields in which nothing foreign may stay. Metadata is everybody's.
_OURS: Final = ("spec", "data", "binaryData")
#: Allocated by the API server or the volume binder for whoever created the object; immutable or pointless to remove.
_ALLOCATED: Final = frozenset(
    {"volumeName", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort", "nodePort"}
)
#: How often a write is tried anew on a fresh read before the conflict goes to the work queue.
_ATTEMPTS: Final = 3
#: The API server gives addresses to Services one after the other. More requests than keep it busy would only wait there,
#: and their deadline with them: of ten nodes at once the last Service waited five seconds.
_ADDRESSES_AT_ONCE: Final = 2


class Change(StrEnum):
    """What ``ensure`` did."""

    CREATED = "Created"
    UNCHANGED = "Unchanged"
    UPDATED = "Updated"
    FOREIGN_REMOVED = "ForeignRemoved"
    #: The object is being deleted: nothing was written, look again when it is gone.
    DELETING = "Deleting"


@dataclass(frozen=True)
class Foreign:
    """A field that somebody else added to a child."""

    manager: str
    path: Path

    def __str__(self) -> str:
        return f"{fieldset.show(self.path)} (by {self.manager})"


@dataclass(frozen=True)
class Outcome:
    """``drift``: the same intent had been applied before, so somebody else changed the child."""

    change: Change
    object: Manifest
    differences: tuple[str, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    drift: bool = False


class ApplyClient(Protocol):
    """The part of the client that this file uses."""

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Manifest:
        """GET."""

    async def apply(self, kind: Kind, manifest: Manifest, *, reviewed: Reviewed | None = None) -> Manifest:
        """Server-side apply."""

    async def json_patch(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        operations: list[PatchOperation],
        *,
        resource_version: str,
        reviewed: Reviewed | None = None,
    ) -> Manifest:
        """JSON patch."""


@dataclass(frozen=True)
class Gap:
    """What lies between an intent and a live object. ``surplus`` are paths that we own and no longer want."""

    hash_differs: bool
    template_hash_differs: bool
    lost: tuple[Path, ...]
    surplus: tuple[Path, ...]
    values: tuple[compare.Difference, ...]
    foreign: tuple[Foreign, ...]

    @property
    def needs_apply(self) -> bool:
        """Whether server-side apply has something to do."""
        return self.hash_differs or bool(self.lost or self.surplus or self.values)

    @property
    def changes_template(self) -> bool:
        """Whether closing the gap touches ``spec.template`` of a workload."""
        paths = (*self.lost, *self.surplus, *(value.path for value in self.values))
        return self.template_hash_differs or any(
            path[:2] == (Field("spec"), Field("template")) or path == (Field("spec"),) for path in paths
        )

    def told(self) -> tuple[str, ...]:
        """One line per difference, values first."""
        shown = {difference.path for difference in self.values}
        lines = [str(difference) for difference in self.values]
        lines += [
            f"{fieldset.show(path) or 'the whole object'}: set by another manager"
            for path in self.lost
            if path not in shown
        ]
        lines += [f"{fieldset.show(path)}: no longer wanted" for path in self.surplus]
        return tuple(lines)


def gap(intent: Manifest, live: Manifest, *, manager: str = labels.FIELD_MANAGER, stamp: Stamp | None = None) -> Gap:
    """Compare ``intent`` (as rendered) with ``live`` (with its managedFields). Pure. ``stamp``: its hashes, if known."""
    stored = ((live["metadata"].get("annotations") or {}).get(APPLIED) or "-").partition("-")
    whole, template = stamp or hashes(intent)
    all_entries = fieldset.entries(live)
    ours = [entry.tree for entry in all_entries if entry.manager == manager and not entry.subresource]
    applied = [entry.tree for entry in all_entries if entry.manager == manager and entry.operation == "Apply"]
    others = [entry.tree for entry in all_entries if entry.manager != manager]
    wanted = _managed_part(intent)
    with_stamp = _annotated(intent, f"{whole}-{template}")
    return Gap(
        hash_differs=stored[0] != whole,
        template_hash_differs=stored[2] != template,
        lost=tuple(fieldset.missing(ours, others, wanted)),
        surplus=tuple(path for tree in applied for path in fieldset.surplus(tree, with_stamp)),
        values=tuple(compare.differences(intent, live)),
        foreign=tuple(_foreign(all_entries, intent, live, manager)),
    )


def _foreign(all_entries: Iterable[Entry], intent: Manifest, live: Manifest, manager: str) -> Iterable[Foreign]:
    seen: set[Path] = set()
    for entry in all_entries:
        if entry.manager == manager or entry.subresource or entry.manager in SYSTEM_MANAGERS:
            continue
        tree = {key: child for key, child in entry.tree.items() if key.removeprefix("f:") in _OURS}
        for path in fieldset.surplus(tree, intent):
            allocated = any(isinstance(step, Field) and step.name in _ALLOCATED for step in path[1:])
            if path in seen or allocated or fieldset.pointer(live, path) is None:
                continue
            seen.add(path)
            yield Foreign(entry.manager, path)


def _managed_part(intent: Manifest) -> Manifest:
    """What of an intent shows up in managedFields: not its type, name and namespace."""
    part = {name: value for name, value in intent.items() if name not in ("apiVersion", "kind", "metadata", "status")}
    metadata = {
        name: intent["metadata"][name]
        for name in ("labels", "annotations", "finalizers")
        if intent["metadata"].get(name)
    }
    return {**part, "metadata": metadata} if metadata else part


def _annotated(intent: Manifest, stamp: str) -> Manifest:
    """The object as it is sent: the intent with the hash annotation. Its metadata are the caller's to add to."""
    metadata = dict(intent["metadata"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), APPLIED: stamp}
    return {**intent, "metadata": metadata}


class Applier:
    """``ensure`` for children. ``remember`` is called with every object that a write returned (the store's way in)."""

    def __init__(
        self,
        client: ApplyClient,
        *,
        remember: Callable[[Kind, Manifest], None] | None = None,
        count: Callable[[Change], None] = lambda change: None,
    ) -> None:
        """``count`` is told what came of every ``ensure``."""
        self._client = client
        self._count = count
        self._remember = remember or (lambda kind, obj: None)
        self._looked_at = LookedAt()
        self._addresses = asyncio.Semaphore(_ADDRESSES_AT_ONCE)

    async def ensure(self, intent: Manifest, live: Manifest | None) -> Outcome:
        """Make the object of ``intent`` exist and equal to it. ``live`` is the store's view, None when it has none.

        Raises GrantRequired when that would disrupt a running workload, ValueError for a Secret (identity is created
        once and never applied, I5), and what the client raises.
        """
        kind = _appliable(intent)
        for attempt in range(_ATTEMPTS):
            try:
                if attempt:
                    live = await self._read(kind, intent)
                outcome = await self._close(kind, intent, live, unread=not attempt)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                self._count(outcome.change)
                return outcome
        raise AssertionError("unreachable")

    async def create(self, intent: Manifest) -> Outcome:
        """Make the object of ``intent``. Raises Conflict when there is one, whoever made it: what is there is the caller's
        to look at, and nothing of it was changed."""
        outcome = await self._close(_appliable(intent), intent, None, unread=True)
        self._count(outcome.change)
        return outcome

    async def _read(self, kind: Kind, intent: Manifest) -> Manifest | None:
        """The live object. Raises NotOurs for one that somebody else made: force would take it over silently."""
        metadata = intent["metadata"]
        try:
            live = await self._client.get(kind, metadata["name"], metadata.get("namespace"))
        except NotFound:
            return None
        wanted = (metadata.get("labels") or {}).get(labels.APP_MANAGED_BY)
        if (
            wanted
            and (live["metadata"].get("labels") or {}).get(labels.APP_MANAGED_BY) != wanted
            and not _applied(live)
        ):
            raise NotOurs(f"{kind.kind} {metadata.get('namespace', '')}/{metadata['name']}")
        return live

    async def _close(self, kind: Kind, intent: Manifest, live: Manifest | None, *, unread: bool) -> Outcome:
        if live is None:
            reviewed = review(kind, intent, None, template_changes=True)
            body = _annotated(intent, "-".join(hashes(intent)))
            if unread:
                # The store may lag, or not see what bears no label of ours: what is there after all makes a Conflict, is
                # read then, and neither passes by the review nor is taken over.
                body["metadata"]["resourceVersion"] = ABSENT
            async with self._addresses if _wants_an_address(kind, intent) else contextlib.nullcontext():
                created = await self._client.apply(kind, body, reviewed=_if_guarded(kind, reviewed))
            self._remember(kind, created)
            return Outcome(Change.CREATED, created)
        if live["metadata"].get("deletionTimestamp"):
            return Outcome(Change.DELETING, live)
        stamp = self._looked_at.stamp(kind, intent)
        if self._looked_at.is_equal(live, stamp):
            return Outcome(Change.UNCHANGED, live)
        found = gap(intent, live, stamp=stamp)
        if not found.needs_apply and not found.foreign:
            self._looked_at.found_equal(live, stamp)
            return Outcome(Change.UNCHANGED, live)
        if self._looked_at.is_called_the_same(live, stamp):
            return Outcome(Change.UNCHANGED, live)
        return await self._write(kind, intent, live, found, stamp)

    async def _write(self, kind: Kind, intent: Manifest, live: Manifest, found: Gap, stamp: Stamp) -> Outcome:
        current = live
        if found.needs_apply:
            reviewed = review(kind, intent, live, template_changes=found.changes_template)
            body = _annotated(intent, "-".join(stamp))
            body["metadata"] |= {key: live["metadata"][key] for key in ("uid", "resourceVersion")}
            current = await self._client.apply(kind, body, reviewed=_if_guarded(kind, reviewed))
            self._remember(kind, current)
        foreign = tuple(_foreign(fieldset.entries(current), intent, current, labels.FIELD_MANAGER))
        if foreign:
            current = await self._remove(kind, intent, current, foreign)
            self._remember(kind, current)
        if current["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]:
            # Applied, and the server calls it the same (a default, a mutating webhook): do not ask again.
            self._looked_at.called_the_same(current, stamp)
            return Outcome(Change.UNCHANGED, current)
        return Outcome(
            Change.FOREIGN_REMOVED if foreign else Change.UPDATED,
            current,
            differences=found.told(),
            foreign=foreign,
            drift=not found.hash_differs,
        )

    async def _remove(self, kind: Kind, intent: Manifest, live: Manifest, foreign: tuple[Foreign, ...]) -> Manifest:
        paths = [each.path for each in foreign]
        reviewed = review(kind, intent, live, template_changes=False, removed=paths)
        metadata = live["metadata"]
        operations: list[PatchOperation] = list(fieldset.removals(live, paths))
        operations += _disown(live, paths)
        return await self._client.json_patch(
            kind,
            metadata["name"],
            metadata.get("namespace"),
            operations,
            resource_version=metadata["resourceVersion"],
            reviewed=_if_guarded(kind, reviewed),
        )


def _disown(live: Manifest, paths: list[Path]) -> list[PatchOperation]:
    """Take the paths out of the foreign managers' entries too.

    A manager that created the object owns its defaults. Removing a default changes nothing, so without this the same
    fields would be found again at every look.
    """
    changed = False
    kept: list[Mapping[str, Any]] = []
    for raw in live["metadata"].get("managedFields") or []:
        foreign = raw.get("manager") not in SYSTEM_MANAGERS | {labels.FIELD_MANAGER} and not raw.get("subresource")
        if not foreign or not raw.get("fieldsV1"):
            kept.append(raw)
            continue
        pruned = fieldset.prune(raw["fieldsV1"], paths)
        changed = changed or pruned != raw["fieldsV1"]
        if pruned:
            kept.append({**raw, "fieldsV1": pruned})
    return [{"op": "replace", "path": "/metadata/managedFields", "value": kept}] if changed else []


def _appliable(intent: Manifest) -> Kind:
    """The intent's kind. Raises ValueError for a Secret."""
    kind = kind_of(intent)
    if kind == kinds.SECRET:
        raise ValueError(f"Secret {intent['metadata']['name']}: Secrets are created once, never applied (I5)")
    return kind


def _applied(live: Mapping[str, Any]) -> bool:
    """Whether we applied it once: then a missing label is drift, to be put right, and no other owner."""
    return APPLIED in (live["metadata"].get("annotations") or {})


def _if_guarded(kind: Kind, reviewed: Reviewed) -> Reviewed | None:
    return reviewed if kind in GUARDED else None


def _wants_an_address(kind: Kind, intent: Manifest) -> bool:
    """A Service that gets whatever cluster IP is next; a headless one, or one that names its address, asks for none."""
    return kind == kinds.SERVICE and "clusterIP" not in intent["spec"]
