"""When which node's health is read next: a node that is well every few seconds, one that is not yet well every second.

Nothing but the reading itself tells that a node has become well, so who waits for a node waits for its next turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jil.observe.lines import NodeKey

EAGER_SECONDS = 1.0
"""Between two readings of a node that is not well."""
EAGER_FOR_SECONDS = 120.0
"""Since it was last well, or first asked for. A node that stays ill is read like the others: thousands may be ill."""


@dataclass
class _Turn:
    next: float
    ill_since: float | None
    under_way: bool = False


class Turns:
    """``interval``: seconds between two readings of a node that is well; ``clock``: monotonic seconds."""

    def __init__(self, interval: float, clock: Callable[[], float]) -> None:
        self._interval = interval
        self._clock = clock
        self._turns: dict[NodeKey, _Turn] = {}

    @property
    def pause(self) -> float:
        """Seconds until it is worth asking again who is due."""
        return min(self._interval, EAGER_SECONDS)

    def due(self, keys: Iterable[NodeKey]) -> list[NodeKey]:
        """Those of ``keys`` whose turn has come, each until ``done``; a node that is read already is not read twice."""
        now = self._clock()
        found = []
        for key in keys:
            turn = self._turns.setdefault(key, _Turn(now, now))
            if not turn.under_way and turn.next <= now:
                turn.under_way = True
                # From the beginning of the reading: one that takes long must not make the next one later.
                turn.next = now
                found.append(key)
        return found

    def done(self, key: NodeKey, *, well: bool) -> None:
        """The reading of ``key`` has ended. Nothing happens if the node was forgotten meanwhile."""
        turn = self._turns.get(key)
        if turn is None:
            return
        now = self._clock()
        turn.under_way = False
        if well:
            turn.ill_since = None
        elif turn.ill_since is None:
            turn.ill_since = now
        eager = turn.ill_since is not None and now - turn.ill_since < EAGER_FOR_SECONDS
        turn.next += self.pause if eager else self._interval

    def forget(self, key: NodeKey) -> None:
        """Nobody asks for the node any more."""
        self._turns.pop(key, None)
