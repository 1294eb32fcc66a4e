"""What an applier remembers of the children that it has looked at: what has not changed is not compared again.

Everything here may be forgotten at any time: the next look compares in full.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from jil.api.kinds import Kind
from jil.cluster import fieldset
from jil.cluster.client import Manifest

K = TypeVar("K")
V = TypeVar("V")

#: The children of 2,000 nodes: looks go through them in turns, so with fewer places none would still be there.
_CHILDREN: Final = 100_000
#: Intents whose hashes are kept, and with them the intents: as many as are rendered and kept.
_INTENTS: Final = 2_500

#: Hash of an intent and of its pod template, see ``hashes``.
Stamp = tuple[str, str]


class LookedAt:
    """Bounded; what was asked for longest ago goes first."""

    def __init__(self) -> None:
        # uid -> (resourceVersion, intent hash): compared in full and found equal.
        self._equal: OrderedDict[str, tuple[str, str]] = OrderedDict()
        # uid -> (intent hash, content hash): the server says that applying this intent to this content changes nothing.
        self._settled: OrderedDict[str, tuple[str, str]] = OrderedDict()
        # kind, namespace and name -> (intent, its hashes): whoever renders keeps what has not changed.
        self._stamps: OrderedDict[tuple[Kind, str | None, str], tuple[Manifest, Stamp]] = OrderedDict()

    def stamp(self, kind: Kind, intent: Manifest) -> Stamp:
        """The hashes of an intent, known by the very object: what was rendered is never changed."""
        name = (kind, intent["metadata"].get("namespace"), intent["metadata"]["name"])
        known = self._stamps.get(name)
        if known is None or known[0] is not intent:
            known = (intent, hashes(intent))
        _put(self._stamps, name, known, _INTENTS)
        return known[1]

    def found_equal(self, live: Manifest, stamp: Stamp) -> None:
        """This version of ``live`` is what the intent asks for."""
        metadata = live["metadata"]
        _put(self._equal, str(metadata["uid"]), (metadata["resourceVersion"], stamp[0]), _CHILDREN)

    def is_equal(self, live: Manifest, stamp: Stamp) -> bool:
        """Whether ``found_equal`` was said of just this."""
        metadata = live["metadata"]
        return self._equal.get(str(metadata["uid"])) == (metadata["resourceVersion"], stamp[0])

    def called_the_same(self, live: Manifest, stamp: Stamp) -> None:
        """The server took the intent and changed nothing of ``live``: a default, or a webhook that changes it back."""
        _put(self._settled, str(live["metadata"]["uid"]), (stamp[0], _content(live)), _CHILDREN)

    def is_called_the_same(self, live: Manifest, stamp: Stamp) -> bool:
        """Whether ``called_the_same`` was said of this intent and this content, in whatever version."""
        known = self._settled.get(str(live["metadata"]["uid"]))
        return known is not None and known == (stamp[0], _content(live))


def hashes(intent: Mapping[str, Any]) -> Stamp:
    """Sixteen hex digits each of the whole intent and of its pod template ("" when it has none)."""
    template = (intent.get("spec") or {}).get("template")
    return _digest(intent), _digest(template) if template is not None else ""


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content(obj: Mapping[str, Any]) -> str:
    """Digest of what an apply could change: not the status, the versions and the times."""
    metadata = {
        key: value
        for key, value in obj["metadata"].items()
        if key not in ("resourceVersion", "generation", "managedFields")
    }
    owners = [[entry.manager, entry.operation, entry.tree] for entry in fieldset.entries(obj) if not entry.subresource]
    rest = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    return _digest([metadata, owners, rest])


def _put(memory: OrderedDict[K, V], key: K, value: V, room: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > room:
        memory.popitem(last=False)
