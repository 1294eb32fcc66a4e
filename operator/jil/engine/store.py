"""What the cluster looks like as far as we have heard: the newest version of every watched object.

The newest resourceVersion wins, whether it comes from the watch, from a sweep or from the answer to a write of ours; so
a reconcile sees its own writes at once, and a late event undoes nothing. Objects that are gone leave a tombstone by UID
and version, so that an event that was under way does not bring them back. resourceVersions are compared as numbers,
which Kubernetes guarantees within one kind (KEP-5504; true of etcd-backed servers always).

Whatever changes the store is told to its listener, which decides what has to be looked at: nobody who puts something in
has to remember to.

Objects that come out are shared: never change them.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jil.api import labels
from jil.api.kinds import Kind

Manifest = dict[str, Any]
_Name = tuple[str | None, str]

#: Tombstones kept per kind; an event is never thousands of deletions late.
_TOMBSTONES = 5_000
#: Different trees of managedFields that are remembered; those of one release's children are some fifty.
_TREES = 2_000
_OWN_STATUS = {labels.STATUS_FIELD_MANAGER, labels.SAMPLES_FIELD_MANAGER}


@dataclass(frozen=True)
class Known:
    """Identity and version of one stored object."""

    uid: str
    version: int
    namespace: str | None
    name: str


@dataclass(frozen=True)
class Change:
    """What the store learned: ``old`` is None for a new object, ``new`` is None for one that is gone."""

    kind: Kind
    old: Manifest | None
    new: Manifest | None

    @property
    def object(self) -> Manifest:
        """The newest version there is."""
        found = self.new if self.new is not None else self.old
        if found is None:
            raise ValueError(f"a change of {self.kind.kind} without any object")
        return found

    @property
    def only_status(self) -> bool:
        """Whether nothing but the status and bookkeeping of an object changed."""
        return self.old is not None and self.new is not None and _essence(self.old) == _essence(self.new)


class _Shelf:
    """The objects of one kind."""

    def __init__(self) -> None:
        self.objects: dict[_Name, Manifest] = {}
        self.by_namespace: dict[str | None, set[_Name]] = {}
        self.by_node: dict[tuple[str | None, str], set[_Name]] = {}
        self.tombstones: OrderedDict[str, int] = OrderedDict()  # UID -> resourceVersion at which it was gone

    def set(self, name: _Name, obj: Manifest) -> None:
        self.unset(name)
        self.objects[name] = obj
        self.by_namespace.setdefault(name[0], set()).add(name)
        if node := _node_of(obj):
            self.by_node.setdefault((name[0], node), set()).add(name)

    def unset(self, name: _Name) -> Manifest | None:
        old = self.objects.pop(name, None)
        if old is None:
            return None
        _discard(self.by_namespace, name[0], name)
        if node := _node_of(old):
            _discard(self.by_node, (name[0], node), name)
        return old

    def bury(self, uid: str, version: int) -> None:
        self.tombstones[uid] = max(version, self.tombstones.get(uid, 0))
        while len(self.tombstones) > _TOMBSTONES:
            self.tombstones.popitem(last=False)


class _Trees:
    """Each different tree of managedFields once: thousands of children have the same few dozen, each as large as all
    the rest of its object."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def shared(self, obj: Manifest) -> Manifest:
        """The object with trees that others of its like have too; managedFields are equal, not the same."""
        entries = obj["metadata"].get("managedFields")
        if not entries:
            return obj
        same = [
            {**entry, "fieldsV1": self._one(entry["fieldsV1"])} if "fieldsV1" in entry else entry for entry in entries
        ]
        return {**obj, "metadata": {**obj["metadata"], "managedFields": same}}

    def _one(self, tree: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(tree, separators=(",", ":"))
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = tree
            while len(self._known) > _TREES:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(text)
        return known


class Store:
    """``children`` are the kinds whose managedFields are kept whole (apply compares them); others are trimmed."""

    def __init__(self, *, children: Iterable[Kind] = (), listener: Callable[[Change], None] | None = None) -> None:
        self._children = frozenset(children)
        self.listener = listener
        self._shelves: dict[Kind, _Shelf] = {}
        self._trees = _Trees()

    # -- in ----------------------------------------------------------------------------------------------------------
    def put(self, kind: Kind, obj: Manifest) -> bool:
        """Remember ``obj`` if it is news; False when it is old, the same, or of an object that was deleted."""
        metadata = obj["metadata"]
        shelf = self._shelves.setdefault(kind, _Shelf())
        uid, name = str(metadata.get("uid", "")), _name_of(obj)
        if self.buried(kind, obj):
            return False
        old = shelf.objects.get(name)
        if old is not None:
            if version_of(obj) <= version_of(old):
                return False
            if old["metadata"].get("uid") != uid:
                shelf.bury(str(old["metadata"].get("uid", "")), version_of(obj))
        stored = self._trees.shared(obj) if kind in self._children else _trimmed(obj)
        shelf.set(name, stored)
        self._tell(Change(kind, old, stored))
        return True

    def remove(self, kind: Kind, obj: Manifest, *, version: int = 0) -> bool:
        """``obj`` is gone, at ``version`` or at its own: deleted, or no longer matched by the watch's label selector.

        Older events of it are ignored from now on; a newer one says that it matches again. False when it was not known.
        """
        shelf = self._shelves.setdefault(kind, _Shelf())
        uid, name = str(obj["metadata"].get("uid", "")), _name_of(obj)
        shelf.bury(uid, max(version, version_of(obj)))
        old = shelf.objects.get(name)
        if old is None or old["metadata"].get("uid") != uid:
            return False  # Unknown, or another object has the name by now.
        shelf.unset(name)
        self._tell(Change(kind, old, None))
        return True

    def _tell(self, change: Change) -> None:
        if self.listener is not None:
            self.listener(change)

    # -- out ---------------------------------------------------------------------------------------------------------
    def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None."""
        shelf = self._shelves.get(kind)
        return shelf.objects.get((namespace, name)) if shelf else None

    def children(self, kind: Kind, namespace: str | None, node: str) -> list[Manifest]:
        """The objects of ``kind`` in ``namespace`` that bear the label of JILNode ``node``, by name."""
        shelf = self._shelves.get(kind)
        names = shelf.by_node.get((namespace, node), set()) if shelf else set()
        return [shelf.objects[name] for name in sorted(names, key=_sortable)] if shelf else []

    def known(self, kind: Kind) -> Iterator[Known]:
        """Identity and version of everything of a kind, for sweeps."""
        shelf = self._shelves.get(kind)
        for (namespace, name), obj in list(shelf.objects.items()) if shelf else ():
            yield Known(str(obj["metadata"].get("uid", "")), version_of(obj), namespace, name)

    def buried(self, kind: Kind, obj: Manifest) -> bool:
        """Whether this version of the object is from before it was gone."""
        shelf = self._shelves.get(kind)
        return shelf is not None and version_of(obj) <= shelf.tombstones.get(str(obj["metadata"].get("uid", "")), -1)

    def count(self, kind: Kind) -> int:
        """How many objects of a kind are known."""
        shelf = self._shelves.get(kind)
        return len(shelf.objects) if shelf else 0

    def list(self, kind: Kind, namespace: str | None = None) -> list[Manifest]:
        """All objects of a kind, or those of one namespace, by name."""
        shelf = self._shelves.get(kind)
        if shelf is None:
            return []
        names = shelf.objects.keys() if namespace is None else shelf.by_namespace.get(namespace, set())
        return [shelf.objects[name] for name in sorted(names, key=_sortable)]


def version_of(obj: Mapping[str, Any]) -> int:
    """resourceVersion as a number; 0 when there is none."""
    text = str(obj["metadata"].get("resourceVersion") or "0")
    return int(text) if text.isdigit() else 0


def _name_of(obj: Mapping[str, Any]) -> _Name:
    return obj["metadata"].get("namespace"), str(obj["metadata"]["name"])


def _sortable(name: _Name) -> tuple[str, str]:
    return name[0] or "", name[1]


def _node_of(obj: Mapping[str, Any]) -> str | None:
    return (obj["metadata"].get("labels") or {}).get(labels.NODE)


def _discard(index: dict[Any, set[_Name]], key: Any, name: _Name) -> None:
    names = index.get(key)
    if names is not None:
        names.discard(name)
        if not names:
            del index[key]


def _trimmed(obj: Manifest) -> Manifest:
    """Without the managedFields of others, half of an object's size. Those of our status are needed to write it."""
    entries = obj["metadata"].get("managedFields")
    if not entries:
        return obj
    kept = [entry for entry in entries if entry.get("manager") in _OWN_STATUS]
    return {**obj, "metadata": {**obj["metadata"], "managedFields": kept}}


def _essence(obj: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    metadata = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "managedFields", "generation")}
    return metadata, {k: v for k, v in obj.items() if k not in ("metadata", "status")}
