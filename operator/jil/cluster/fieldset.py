"""Who owns which field: reading ``metadata.managedFields`` (FieldsV1). Pure.

A FieldsV1 tree names its children ``f:<field>``, ``k:<JSON of a list-map item's keys>``, ``v:<JSON of a set's value>``
and ``.`` for the thing itself; an empty child is owned as a whole (a scalar, or an atomic list or map). The tree
therefore carries the schema's list types: walking it beside an object needs no schema.
Source: Kubernetes documentation "Server-Side Apply", sigs.k8s.io/structured-merge-diff fieldpath.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """A key of an object."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"


@dataclass(frozen=True)
class Item:
    """The item of a list-map with these keys."""

    keys: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        return "[" + ",".join(f"{name}={value}" for name, value in self.keys) + "]"


@dataclass(frozen=True)
class Value:
    """A value of a set."""

    value: Any

    def __str__(self) -> str:
        return f"[={self.value}]"


Step = Field | Item | Value
Path = tuple[Step, ...]

#: What a list-map's key is when an item leaves it out (schema defaults of the keys that Kubernetes uses).
_KEY_DEFAULTS: Mapping[str, Any] = {"protocol": "TCP"}
_ABSENT = object()


def show(path: Path) -> str:
    """``spec.template.spec.containers[name=x].image``."""
    return "".join(str(step) for step in path).removeprefix(".")


@dataclass(frozen=True)
class Entry:
    """One manager's fields. ``operation`` is Apply or Update; ``subresource`` is "" for the object itself."""

    manager: str
    operation: str
    subresource: str
    tree: Tree


def entries(obj: Mapping[str, Any]) -> tuple[Entry, ...]:
    """The entries of ``metadata.managedFields``, in order; entries without fields are left out."""
    found = []
    for raw in (obj.get("metadata") or {}).get("managedFields") or ():
        tree = raw.get("fieldsV1")
        if tree:
            found.append(Entry(raw.get("manager", ""), raw.get("operation", ""), raw.get("subresource", ""), tree))
    return tuple(found)


def children(tree: Tree) -> Iterator[tuple[Step, Tree]]:
    """The steps below a node. Indices (``i:``) do not occur in what the API server writes and are skipped."""
    for key, child in tree.items():
        step = _step(key)
        if step is not None:
            yield step, child


@functools.lru_cache(maxsize=8192)
def _step(key: str) -> Step | None:
    """One key of a tree, parsed; the same few thousand occur in all objects."""
    prefix, _, rest = key.partition(":")
    if prefix == "f":
        return Field(rest)
    if prefix == "k":
        return Item(tuple(sorted(json.loads(rest).items())))
    return Value(json.loads(rest)) if prefix == "v" else None


def step_into(value: Any, step: Step) -> Any:
    """What lies below ``value`` at ``step``, or ``ABSENT``."""
    match step:
        case Field(name):
            return value.get(name, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        case Item():
            index = index_of(value, step)
            return value[index] if index is not None else _ABSENT
        case Value(wanted):
            return wanted if isinstance(value, list) and wanted in value else _ABSENT


def index_of(value: Any, step: Step) -> int | None:
    """Position of a list-map item or set value in the list ``value``; None when it is not there."""
    if not isinstance(value, list):
        return None
    for index, item in enumerate(value):
        if isinstance(step, Value) and item == step.value:
            return index
        if isinstance(step, Item) and isinstance(item, Mapping):
            pairs = ((item.get(name, _KEY_DEFAULTS.get(name, _ABSENT)), wanted) for name, wanted in step.keys)
            if all(have == wanted for have, wanted in pairs):
                return index
    return None


def is_absent(value: Any) -> bool:
    """Whether ``step_into`` found nothing; an explicit null counts as nothing."""
    return value is _ABSENT or value is None


def surplus(tree: Tree, intent: Any, at: Path = ()) -> Iterator[Path]:
    """The topmost owned paths that ``intent`` does not have."""
    for step, child in children(tree):
        inner = step_into(intent, step)
        path = (*at, step)
        if is_absent(inner):
            yield path
        elif child and isinstance(inner, (Mapping, list)):
            yield from surplus(child, inner, path)


def missing(own: Iterable[Tree], others: Iterable[Tree], intent: Any, at: Path = ()) -> Iterator[Path]:
    """Paths that ``intent`` sets and none of the ``own`` trees owns: somebody else changed them since.

    Whatever a foreign manager changes, inside an atomic list too, leaves our set; so this finds edits without comparing
    values. An empty map or list counts only when another manager owns the place: the server drops empty ones.
    """
    own, others = tuple(own), tuple(others)
    if any(not tree for tree in own) and at:
        return  # Owned as a whole.
    if not own:
        if not _is_empty(intent) or others:
            yield at
        return
    if isinstance(intent, Mapping):
        for name, value in intent.items():
            if value is None:
                continue
            step = Field(name)
            path = (*at, step)
            yield from missing(_below(own, step), _below(others, step), value, path)
    elif isinstance(intent, list):
        yield from _missing_items(own, others, intent, at)


def _missing_items(own: tuple[Tree, ...], others: tuple[Tree, ...], intent: list[Any], at: Path) -> Iterator[Path]:
    steps = [step for tree in own for step, _ in children(tree)]
    covered: set[int] = set()
    for step in dict.fromkeys(steps):
        index = index_of(intent, step)
        if index is None or index in covered:
            continue
        covered.add(index)
        if isinstance(step, Item):
            yield from missing(_below(own, step), _below(others, step), intent[index], (*at, step))
    for index, item in enumerate(intent):
        if index not in covered:
            yield (*at, Value(item.get("name", index) if isinstance(item, Mapping) else item))


def _below(trees: Iterable[Tree], step: Step) -> tuple[Tree, ...]:
    if isinstance(step, Field):
        key = f"f:{step.name}"
        return tuple(tree[key] for tree in trees if key in tree)
    return tuple(child for tree in trees for found, child in children(tree) if found == step)


def _is_empty(value: Any) -> bool:
    return isinstance(value, (Mapping, list)) and not value


def pointer(obj: Any, path: Path) -> tuple[str | int, ...] | None:
    """``path`` as keys and list indices in ``obj``; None when ``obj`` does not have it."""
    found: list[str | int] = []
    value = obj
    for step in path:
        if isinstance(step, Field):
            inner = step_into(value, step)
            if inner is _ABSENT:
                return None
            found.append(step.name)
            value = inner
        else:
            index = index_of(value, step)
            if index is None:
                return None
            found.append(index)
            value = value[index]
    return tuple(found)


def removals(obj: Any, paths: Iterable[Path]) -> list[dict[str, str]]:
    """JSON-patch operations that remove ``paths`` from ``obj``, later list items first so that indices stay right."""
    pointers = {found for path in paths if (found := pointer(obj, path)) is not None}
    topmost = [each for each in pointers if not any(each[:end] in pointers for end in range(1, len(each)))]
    # Within one parent all keys are of one type; the tag keeps a mixed comparison from ever happening across parents.
    ordered = sorted(topmost, key=lambda each: [(isinstance(key, str), key) for key in each], reverse=True)
    return [{"op": "remove", "path": json_pointer(each)} for each in ordered]


def json_pointer(keys: Iterable[str | int]) -> str:
    """RFC 6901."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def prune(tree: Tree, paths: Iterable[Path]) -> dict[str, Any]:
    """``tree`` without ``paths`` and everything below them; emptied branches go too."""
    unwanted = set(paths)
    kept: dict[str, Any] = {}
    for key, child in tree.items():
        step = next((step for step, _ in children({key: child})), None)
        if step is None:
            kept[key] = child
            continue
        below = {path[1:] for path in unwanted if path and path[0] == step}
        if () in below:
            continue
        pruned = prune(child, below) if below else dict(child)
        if child and not (pruned.keys() - {"."}) and below:
            # Only the container itself is left, and it holds nothing of this manager's any more.
            if "." in pruned:
                kept[key] = pruned
            continue
        kept[key] = pruned
    return kept
