"""Leader election on a Lease, and the fence that every write asks.

Rules, with client-go's defaults (15 / 10 / 2 s):

- A holder renews every ``retry`` seconds. It is surely the leader until ``renew_deadline`` after the moment in which it
  *sent* its last renewal that succeeded; then ``fence()`` refuses, whether or not anybody has noticed yet.
- Another candidate takes the lease only when it has *seen* no change for ``duration`` on its own monotonic clock. Wall
  clocks are written for people and compared by nobody.
- The difference (5 s by default) is what a write in flight has to arrive in; ``jil.cluster.connection`` bounds it.
- ``leaseTransitions`` is the fencing number: it grows with every acquisition, also by the same process, and is never
  below half the seconds since 1970 (or what was last seen). So it grows even when somebody deleted the Lease, set it
  back or installed the operator again, whatever the Lease that is found says; an int32 holds that until 2106.
- Doubt is loss: a renewal that finds another holder, another version or no Lease ends leadership at once.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.cluster.client import Manifest
from jil.cluster.clock import Clock
from jil.cluster.errors import AlreadyExists, ApiError, Conflict, NotFound, NotLeader, ServerUnavailable

log = logging.getLogger("jil.lease")

#: Seconds in which the least fencing number grows by one. Fewer than elections take that follow one another, so that none
#: gives out a number that the clock has not reached: whoever is installed anew soon after would not be above it.
_FENCE_SECONDS = 2

#: A call must leave time for another try within the renew deadline.
_CALLS_PER_DEADLINE = 2.5


class LeaseClient(Protocol):
    """The part of the client that the election uses; its own fence lets everything pass."""

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Manifest:
        """GET."""

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """POST."""

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """PUT with the resourceVersion as precondition."""


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds. Raises ValueError when they cannot work together."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry * 2 <= self.renew_deadline < self.duration:
            raise ValueError(
                f"lease times {self}: need 2 x retry <= renew_deadline < duration, e.g. 15 / 10 / 2 seconds"
            )

    @property
    def call(self) -> float:
        """Longest time for one request to the Lease."""
        return self.renew_deadline / _CALLS_PER_DEADLINE

    @property
    def grace(self) -> float:
        """What lies between the end of a holder's certainty and the earliest take-over."""
        return self.duration - self.renew_deadline


@dataclass(frozen=True)
class Held:
    """A lease that is ours, as last written or read: ``fencing`` grows with every acquisition anywhere."""

    lease: Manifest

    @property
    def fencing(self) -> int:
        """``leaseTransitions``."""
        return int(self.lease["spec"]["leaseTransitions"])


class LeaderElector:
    """One candidate: ``acquire()``, ``hold()`` until it returns, ``acquire()`` again; ``release()`` at the end.

    ``identity`` is unique per process: a restarted process must not take over its predecessor's lease as its own.
    """

    def __init__(
        self,
        client: LeaseClient,
        *,
        name: str,
        namespace: str,
        identity: str,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        times: LeaseTimes | None = None,
    ) -> None:
        self.identity = identity
        self.times = times or LeaseTimes()
        self._client = client
        self._name = name
        self._namespace = namespace
        self._clock = clock
        self._sleep = sleep
        self._held: Held | None = None
        self._sure_until = float("-inf")
        self._observed: tuple[object, float] | None = None
        self._absent_since: float | None = None
        self._last_fencing = 0
        #: resourceVersion of the newest Lease that this process wrote or read, and when (monotonic): the watchdog
        #: expects to see it come back through the watch.
        self.last_seen: tuple[str, float] | None = None

    # -- what the rest of the operator asks --------------------------------------------------------------------------
    def fence(self) -> None:
        """Return when this process surely holds the lease now; raises NotLeader otherwise. Never blocks."""
        if self._held is None:
            raise NotLeader(f"{self.identity} does not hold lease {self._namespace}/{self._name}")
        late = self._clock.monotonic() - self._sure_until
        if late >= 0:
            raise NotLeader(
                f"{self.identity} last renewed lease {self._namespace}/{self._name} "
                f"{late + self.times.renew_deadline:.1f} s ago, sure are only {self.times.renew_deadline:g} s"
            )

    @property
    def leading(self) -> bool:
        """Whether ``fence()`` would let a write pass."""
        try:
            self.fence()
        except NotLeader:
            return False
        return True

    @property
    def fencing(self) -> int:
        """The fencing number of the lease that is held. Raises NotLeader when none is."""
        self.fence()
        return self._held.fencing if self._held else 0

    def doubt(self) -> None:
        """Stop being sure at once (the process was stopped, a clock jumped); the next renewal settles it."""
        self._sure_until = float("-inf")

    # -- life --------------------------------------------------------------------------------------------------------
    async def acquire(self) -> Held:
        """Wait until the lease is ours. Errors of the API server are waited out."""
        while True:
            try:
                if (held := await self._try_acquire()) is not None:
                    return held
            except ApiError as error:
                log.warning("lease %s/%s: %s", self._namespace, self._name, error)
            # Twice as often as a holder renews: what is not seen at once is added to the time without a leader.
            await self._sleep(self.times.retry / 2)

    async def hold(self) -> str:
        """Renew until leadership is lost; returns why, and ``fence()`` refuses from then on.

        When cancelled, the lease stays ours until it is released or runs out.
        """
        while True:
            await self._sleep(self.times.retry)
            if self._held is None:
                return "released"
            lost = await self._try_renew(self._held)
            if lost is None and self._clock.monotonic() >= self._sure_until:
                lost = f"not renewed for {self.times.renew_deadline:g} s"
            if lost is not None:
                self._drop()
                return lost

    async def release(self) -> None:
        """Give the lease back so that another takes over at once. Only after every write has ended. Never raises."""
        held = self._held
        self._drop()
        if held is None:
            return
        spec = {**held.lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._stamp()}
        try:
            await self._in_time(self._client.replace(kinds.LEASE, {**held.lease, "spec": spec}))
        except ApiError as error:
            log.warning("lease %s/%s was not released: %s", self._namespace, self._name, error)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _drop(self) -> None:
        self._held = None
        self._sure_until = float("-inf")
        # What we wrote ourselves is no sign of life of somebody else, but its age counts for everybody.
        self._observed = None

    async def _try_acquire(self) -> Held | None:
        try:
            lease = await self._in_time(self._client.get(kinds.LEASE, self._name, self._namespace))
        except NotFound:
            return await self._try_create(self._clock.monotonic())
        self._absent_since = None
        self._seen(lease)
        if not self._free(lease):
            return None
        spec = lease.get("spec") or {}
        before = int(spec.get("leaseTransitions") or 0)
        # The chart's empty Lease comes again with every installation, and a Lease that counts from 1 was made by somebody
        # else; but ledgers remember who sealed them before.
        fencing = max(before + 1, self._lowest_fencing())
        wanted = {**lease, "spec": self._spec(fencing)}
        sent = self._clock.monotonic()
        try:
            return self._won(await self._in_time(self._client.replace(kinds.LEASE, wanted)), sent)
        except (Conflict, NotFound):
            return None

    async def _in_time(self, request: Awaitable[Manifest]) -> Manifest:
        """One request, which must leave time for another within the renew deadline."""
        try:
            async with asyncio.timeout(self.times.call):
                return await request
        except TimeoutError as error:
            message = f"no answer in {self.times.call:g} s"
            raise ServerUnavailable("-", f"lease {self._name}", reason="Timeout", message=message) from error

    def _free(self, lease: Manifest) -> bool:
        spec = lease.get("spec") or {}
        now = self._clock.monotonic()
        sign_of_life = (spec.get("holderIdentity"), spec.get("renewTime"), lease["metadata"].get("resourceVersion"))
        if self._observed is None or self._observed[0] != sign_of_life:
            self._observed = (sign_of_life, now)
        if spec.get("holderIdentity") in (None, "", self.identity):
            return True  # Our own from before: this process has stopped its writers since.
        promised = max(float(spec.get("leaseDurationSeconds") or 0), self.times.duration)
        return now - self._observed[1] >= promised

    async def _try_create(self, now: float) -> Held | None:
        """No Lease: the first start, or somebody deleted it under a leader, who may be sure for a little longer.

        The chart installs an empty Lease, so that only the second case waits.
        """
        if self._absent_since is None:
            self._absent_since = now
        if now - self._absent_since < self.times.renew_deadline:
            return None
        fencing = self._lowest_fencing()
        wanted: Manifest = {
            "apiVersion": kinds.LEASE.api_version,
            "kind": kinds.LEASE.kind,
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {labels.APP_MANAGED_BY: labels.MANAGED_BY, labels.APP_PART_OF: labels.PART_OF},
            },
            "spec": self._spec(fencing),
        }
        sent = self._clock.monotonic()
        try:
            return self._won(await self._in_time(self._client.create(kinds.LEASE, wanted)), sent)
        except AlreadyExists:
            return None

    def _lowest_fencing(self) -> int:
        """Above every number that an earlier Lease may have given out, as this one may not tell of its holders."""
        return max(int(self._clock.now().timestamp() // _FENCE_SECONDS), self._last_fencing + 1)

    async def _try_renew(self, held: Held) -> str | None:
        """One renewal. Returns why leadership is lost; None when renewed, or when it may still succeed next time."""
        sent = self._clock.monotonic()
        wanted = {**held.lease, "spec": self._spec(held.fencing, held.lease)}
        try:
            renewed = await self._in_time(self._client.replace(kinds.LEASE, wanted))
        except NotFound:
            return "the Lease was deleted"
        except Conflict:
            return await self._settle_conflict(held)
        except ApiError as error:
            log.warning("lease %s/%s was not renewed: %s", self._namespace, self._name, error)
            return None
        self._won(renewed, sent)
        return None

    async def _settle_conflict(self, held: Held) -> str | None:
        """Not the version we know: a renewal of ours whose answer got lost, a label edited, or another holder."""
        try:
            lease = await self._in_time(self._client.get(kinds.LEASE, self._name, self._namespace))
        except NotFound:
            return "the Lease was deleted"
        except ApiError:
            return None
        self._seen(lease)
        spec = lease.get("spec") or {}
        if (spec.get("holderIdentity"), spec.get("leaseTransitions")) != (self.identity, held.fencing):
            return f"{spec.get('holderIdentity') or 'nobody'} holds it now"
        self._held = Held(lease)  # Still ours; only the next renewal proves anything about time.
        return None

    def _won(self, lease: Manifest, sent: float) -> Held:
        self._seen(lease)
        self._held = Held(lease)
        self._sure_until = sent + self.times.renew_deadline
        return self._held

    def _seen(self, lease: Manifest) -> None:
        self._last_fencing = max(self._last_fencing, int((lease.get("spec") or {}).get("leaseTransitions") or 0))
        version = str(lease["metadata"].get("resourceVersion", ""))
        if self.last_seen is None or self.last_seen[0] != version:
            self.last_seen = (version, self._clock.monotonic())

    def _spec(self, fencing: int, before: Manifest | None = None) -> dict[str, Any]:
        stamp = self._stamp()
        acquired = before["spec"].get("acquireTime", stamp) if before else stamp
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self.times.duration),
            "acquireTime": acquired,
            "renewTime": stamp,
            "leaseTransitions": fencing,
        }

    def _stamp(self) -> str:
        return micro_time(self._clock.now())


def micro_time(moment: datetime) -> str:
    """Kubernetes MicroTime of an aware datetime."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
