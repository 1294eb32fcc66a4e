"""What changed lately while this process did not lead: a new leader looks at that first.

It looks at everything, but in a large fleet that takes a while, and what broke in the seconds in which nobody led is more
likely to need it than the rest. Nothing depends on these notes: what is not among them comes with everything else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from jil.engine.queue import Key

#: Longer than a Lease of a leader that is gone can last; before that, somebody led and has looked himself.
_SECONDS: Final = 60.0
#: The newest ones: more are a change of everything, and then there is no order that helps.
_MOST: Final = 1_000


class Missed:
    """``clock``: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._noted: OrderedDict[Key, float] = OrderedDict()

    def note(self, key: Key) -> None:
        """Something of ``key`` has changed."""
        self._noted[key] = self._clock()
        self._noted.move_to_end(key)
        if len(self._noted) > _MOST:
            self._noted.popitem(last=False)

    def take(self) -> list[Key]:
        """What changed in the last minute, the longest ago first; forgets it all."""
        since = self._clock() - _SECONDS
        found = [key for key, when in self._noted.items() if when >= since]
        self._noted.clear()
        return found
