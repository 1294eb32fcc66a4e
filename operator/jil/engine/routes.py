"""From a change in the store to the objects that have to be looked at again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from jil.api import labels
from jil.api.kinds import JIL_NODE, Kind
from jil.engine.queue import Key
from jil.engine.store import Change


@dataclass(frozen=True)
class Later:
    """A key that may wait ``seconds``: what happens to it meanwhile is one look."""

    key: Key
    seconds: float


Route = Callable[[Change], Iterable[Key | Later]]


def key_of(kind: Kind, obj: Mapping[str, object]) -> Key:
    """The queue's key of an object."""
    metadata = obj["metadata"]
    if not isinstance(metadata, Mapping):
        raise TypeError(f"{kind.kind} without metadata")
    return Key(kind.kind, metadata.get("namespace"), str(metadata["name"]))


def to_itself(change: Change) -> Iterable[Key]:
    """The object that changed, unless only its status did: we wrote that ourselves."""
    if not change.only_status:
        yield key_of(change.kind, change.object)


def to_its_node(change: Change) -> Iterable[Key]:
    """The JILNode whose label a child bears or bore: the status of a child matters, its owner waits for it."""
    namespace = change.object["metadata"].get("namespace")
    for obj in (change.old, change.new):
        if obj is not None and (node := (obj["metadata"].get("labels") or {}).get(labels.NODE)):
            yield Key(JIL_NODE.kind, namespace, str(node))


def all_of(*routes: Route) -> Route:
    """Every key that any of the routes names."""

    def route(change: Change) -> Iterable[Key | Later]:
        for each in routes:
            yield from each(change)

    return route


def nowhere(change: Change) -> Iterable[Key]:
    """Watched for others to read; nothing is looked at because of it."""
    return ()
