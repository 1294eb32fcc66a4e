"""Is the loop turning, and do the watches hear? What /livez says.

The heartbeat costs no request: whoever leads renews the Lease every two seconds, this process reads or writes it anyway
(as leader or as candidate), and watches it like any other kind. A renewal that we know of and that does not come back
by watch within a limit means that the watch is half-dead: connected, and deaf.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from jil.cluster.clock import Clock

#: Seconds between two looks.
TICK = 1.0
#: A Lease that nobody has seen change for this long is no heartbeat: the API server is away, or nobody leads.
_QUIET = 15.0


class Watchdog:
    """``last_seen`` gives resourceVersion and time (monotonic) of the newest Lease known by direct requests."""

    def __init__(
        self,
        *,
        clock: Clock,
        last_seen: Callable[[], tuple[str, float] | None],
        heartbeat_limit: float,
        lag_limit: float,
        deaf_kinds: Callable[[], list[str]] = list,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._last_seen = last_seen
        self._heartbeat_limit = heartbeat_limit
        self._lag_limit = lag_limit
        self._deaf_kinds = deaf_kinds
        self._sleep = sleep
        self._heard = 0
        self._expected: tuple[int, float] | None = None
        self._ticked: float | None = None
        self.lag = 0.0

    def heard(self, resource_version: str) -> None:
        """The watch delivered a Lease."""
        self._heard = max(self._heard, _number(resource_version))

    def heartbeat_age(self) -> float:
        """Seconds for which a renewal has not come back; 0 when none is outstanding."""
        return self._clock.monotonic() - self._expected[1] if self._expected else 0.0

    def problems(self) -> list[str]:
        """What a restart would mend; empty when nothing."""
        found = []
        age = self.heartbeat_age()
        if age > self._heartbeat_limit:
            found.append(f"watch is deaf: a renewal of the Lease has not come back for {age:.0f} s")
        if self._ticked is not None:
            late = self._clock.monotonic() - self._ticked - TICK
            if late > self._lag_limit:
                found.append(f"event loop hangs: the last tick is {late:.0f} s late")
        found += [f"watch of {kind} is deaf: two sweeps in a row found what it missed" for kind in self._deaf_kinds()]
        return found

    async def run(self, report: Callable[[float, float], None] = lambda lag, age: None) -> None:
        """Tick until cancelled; ``report`` gets loop lag and heartbeat age in seconds."""
        self._ticked = self._clock.monotonic()
        while True:
            await self._sleep(TICK)
            now = self._clock.monotonic()
            self.lag = max(0.0, now - self._ticked - TICK)
            self._ticked = now
            self.look()
            report(self.lag, self.heartbeat_age())

    def look(self) -> None:
        """Compare what is known of the Lease with what the watch delivered."""
        seen = self._last_seen()
        now = self._clock.monotonic()
        if self._expected is not None and self._heard >= self._expected[0]:
            self._expected = None
        if seen is None or now - seen[1] > _QUIET:
            self._expected = None  # Nothing new to hear; do not blame the watch for an absent API server.
        elif self._expected is None and _number(seen[0]) > self._heard:
            self._expected = (_number(seen[0]), now)


def _number(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdigit() else 0
