"""Nodes that are asked for at the same time: first all get what workloads refer to, then all get their workloads.

A workload sets controllers, the scheduler and kubelets to work, and all of them the API server, where the Services of the
other nodes queue for their addresses: those are given one after the other, and a busy server takes six times as long for
each. So the workloads of a new node wait for the new nodes that are under way already: ten nodes have all their objects
after half the time then, and are Ready no later (docs/decisions/0011).

A node that is alone, or has workloads already, waits for nobody; nobody waits for a node that was begun later, nor longer
than ``PATIENCE``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from jil.api import kinds
from jil.engine.store import Store
from jil.observe.lines import NodeKey

#: Seconds. More than what comes before the workloads takes ten nodes at once on two processors; a look may hang longer.
PATIENCE: Final = 3.0


class Beginnings:
    """Of one process. Must be used inside one event loop."""

    def __init__(self, is_new: Callable[[NodeKey], bool]) -> None:
        """``is_new``: whether a node is to get its first workloads in this look."""
        self._is_new = is_new
        self._under_way: dict[NodeKey, asyncio.Event] = {}

    @contextlib.contextmanager
    def look(self, key: NodeKey) -> Iterator[None]:
        """Around a look at a node: however it ends, nobody waits for it any more."""
        if self._is_new(key):
            self._under_way[key] = asyncio.Event()
        try:
            yield
        finally:
            self._let_go(key)

    async def turn(self, key: NodeKey) -> None:
        """All that ``key``'s workloads refer to is there: returns when they may be made."""
        if not self._let_go(key):
            return
        others = list(self._under_way.values())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for other in others:
                    await other.wait()

    def _let_go(self, key: NodeKey) -> bool:
        begun = self._under_way.pop(key, None)
        if begun is not None:
            begun.set()
        return begun is not None


def is_new(store: Store) -> Callable[[NodeKey], bool]:
    """A JILNode that is there to stay and has no workload yet, as the watch has it."""

    def asked(key: NodeKey) -> bool:
        node = store.get(kinds.JIL_NODE, *key)
        if node is None or node["metadata"].get("deletionTimestamp"):
            return False
        return not store.children(kinds.STATEFUL_SET, *key)

    return asked
