"""Typed views of objects of the store, made once per version: every look at a node needs the network, the release and the
records of all members, which seldom change."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from jil.api.objects import Resource
from jil.engine.store import Manifest

R = TypeVar("R", bound=Resource)

#: Views that are kept: the members of some dozen networks.
_KEPT = 512


class Typed:
    """``typed(JILNetwork, raw)``. Known by the very object, not by its name or version: what comes out of the store is
    never changed, and what is read live is another object."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[type[Resource], str | None, str], tuple[Manifest, Resource]] = OrderedDict()

    def __call__(self, model: type[R], raw: Manifest) -> R:
        """The view of ``raw``. Raises InvalidObject, each time anew."""
        name = (model, raw["metadata"].get("namespace"), str(raw["metadata"].get("name")))
        known = self._made.get(name)
        if known is not None and known[0] is raw and isinstance(known[1], model):
            self._made.move_to_end(name)
            return known[1]
        made = model.parse(raw)
        self._made[name] = (raw, made)
        self._made.move_to_end(name)
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return made
