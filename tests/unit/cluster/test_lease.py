"""Leader election in virtual time: who leads when, and that never two are sure at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from jil.api.kinds import Kind
from jil.cluster.errors import AlreadyExists, Conflict, NotFound, NotLeader, ServerUnavailable
from jil.cluster.lease import LeaderElector, LeaseTimes
from tests.unit.cluster.clocks import LoopClock

pytestmark = pytest.mark.looptime


class LeaseServer:
    """One Lease with the API server's rules for versions; can be down, slow, or lose its answers."""

    def __init__(self, *, exists: bool = True) -> None:
        self.lease: dict[str, Any] | None = {"metadata": {"name": "l", "resourceVersion": "1"}} if exists else None
        self.version = 1
        self.down = False
        self.latency = 0.0
        self.loses_answers = False
        self.holders: list[tuple[float, str]] = []

    async def _request(self) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.down:
            raise ServerUnavailable("PUT", "/lease", reason="NoConnection")

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> dict[str, Any]:
        await self._request()
        if self.lease is None:
            raise NotFound("GET", "/lease", status=404)
        return self.lease

    async def create(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._request()
        if self.lease is not None:
            raise AlreadyExists("POST", "/lease", status=409)
        return self._store(manifest)

    async def replace(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._request()
        if self.lease is None:
            raise NotFound("PUT", "/lease", status=404)
        if manifest["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("PUT", "/lease", status=409)
        stored = self._store(manifest)
        if self.loses_answers:
            raise ServerUnavailable("PUT", "/lease", reason="Timeout")
        return stored

    def _store(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(self.version)}}
        self.holders.append((asyncio.get_running_loop().time(), manifest["spec"]["holderIdentity"]))
        return self.lease


def candidate(server: LeaseServer, name: str, clock: LoopClock | None = None) -> LeaderElector:
    return LeaderElector(server, name="l", namespace="ns", identity=name, clock=clock or LoopClock())


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], bool], seconds: float) -> float:
    """Virtual seconds until the condition holds; fails after ``seconds``."""
    begun = now()
    while not condition():
        assert now() - begun < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.05)
    return now() - begun


async def lead(elector: LeaderElector) -> None:
    """What the runtime does: stand for election for ever."""
    while True:
        await elector.acquire()
        await elector.hold()


async def test_an_empty_lease_is_taken_at_once() -> None:
    elector = candidate(LeaseServer(), "a")
    held = await elector.acquire()
    assert now() < 0.1
    assert held.fencing == int(LoopClock().now().timestamp() // 2)
    elector.fence()


async def test_i2_an_operator_that_is_installed_again_has_a_higher_fencing_number_than_the_one_before() -> None:
    """The chart's Lease goes and comes with the release; the ledgers stay, sealed with the number of the last leader, which
    may just have been elected, after one that was ended in order."""
    elector = candidate(LeaseServer(), "a")
    for _ in range(3):
        before = await elector.acquire()
        await elector.release()
    await asyncio.sleep(6)
    assert (await candidate(LeaseServer(), "b").acquire()).fencing > before.fencing


@pytest.mark.parametrize("transitions", [1, 3])
async def test_i2_a_lease_that_counts_from_one_gives_no_number_below_that_of_the_ledgers(transitions: int) -> None:
    """Set back by hand, restored from a backup, or made by somebody else: the ledgers are sealed higher."""
    before = await candidate(LeaseServer(), "a").acquire()
    server = LeaseServer()
    assert server.lease is not None
    server.lease["spec"] = {"holderIdentity": "", "leaseTransitions": transitions}
    await asyncio.sleep(60)
    assert (await candidate(server, "b").acquire()).fencing > before.fencing


async def test_i2_a_clock_that_is_behind_takes_no_number_below_that_of_the_lease() -> None:
    server = LeaseServer()
    assert server.lease is not None
    server.lease["spec"] = {"holderIdentity": "", "leaseTransitions": 2_000_000_000}
    assert (await candidate(server, "a").acquire()).fencing == 2_000_000_001


async def test_nobody_leads_before_it_has_acquired() -> None:
    with pytest.raises(NotLeader, match="does not hold"):
        candidate(LeaseServer(), "a").fence()


async def test_a_killed_leader_is_replaced_in_less_than_20_seconds() -> None:
    server = LeaseServer()
    first, second = candidate(server, "a"), candidate(server, "b")
    old = asyncio.create_task(lead(first))
    await asyncio.sleep(7.3)
    first_number = first.fencing
    new = asyncio.create_task(lead(second))
    await asyncio.sleep(30)
    assert not second.leading
    old.cancel()
    took = await until(lambda: second.leading, 20)
    assert 14 <= took < 18.5
    assert second.fencing > first_number
    new.cancel()


async def test_a_released_lease_is_taken_over_at_once_and_the_old_holder_writes_no_more() -> None:
    server = LeaseServer()
    first, second = candidate(server, "a"), candidate(server, "b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(5)
    await first.release()
    with pytest.raises(NotLeader):
        first.fence()
    await until(lambda: second.leading, 1.5)
    assert waiting.done()


async def test_the_fence_closes_by_itself_when_renewals_fail() -> None:
    server = LeaseServer()
    elector = candidate(server, "a")
    await elector.acquire()
    holding = asyncio.create_task(elector.hold())
    await asyncio.sleep(5)
    server.latency = 1000.0
    # The last renewal was sent at 4 s: sure until 14 s, whatever the request that hangs meanwhile comes to.
    await asyncio.sleep(8.9)
    elector.fence()
    await asyncio.sleep(0.2)
    with pytest.raises(NotLeader, match=r"sure are only 10 s"):
        elector.fence()
    await until(holding.done, 5)
    assert "not renewed" in holding.result()


async def test_certainty_counts_from_when_a_renewal_was_sent_not_from_its_answer() -> None:
    server = LeaseServer()
    server.latency = 3.0
    elector = candidate(server, "a")
    await elector.acquire()  # GET until 3 s, PUT sent at 3 s
    assert now() == pytest.approx(6.0, abs=0.1)
    server.down = True
    await asyncio.sleep(6.5)
    elector.fence()
    await asyncio.sleep(1.0)
    with pytest.raises(NotLeader):
        elector.fence()


async def test_a_lost_answer_does_not_lose_the_lease() -> None:
    server = LeaseServer()
    elector = candidate(server, "a")
    await elector.acquire()
    holding = asyncio.create_task(elector.hold())
    await asyncio.sleep(3)
    server.loses_answers = True
    await asyncio.sleep(2)
    server.loses_answers = False
    await asyncio.sleep(60)
    elector.fence()
    assert not holding.done()
    holding.cancel()


async def test_a_stopped_process_finds_the_fence_closed_when_it_goes_on() -> None:
    server, clock = LeaseServer(), LoopClock()
    elector = candidate(server, "a", clock)
    await elector.acquire()
    elector.fence()
    clock.jumped = 11.0
    with pytest.raises(NotLeader):
        elector.fence()


async def test_doubt_closes_the_fence_until_the_next_renewal() -> None:
    elector = candidate(LeaseServer(), "a")
    await elector.acquire()
    holding = asyncio.create_task(elector.hold())
    await asyncio.sleep(1)
    elector.doubt()
    with pytest.raises(NotLeader):
        elector.fence()
    await asyncio.sleep(1.5)
    elector.fence()
    holding.cancel()


async def test_a_deleted_lease_ends_leadership_and_the_fencing_number_still_grows() -> None:
    server = LeaseServer()
    elector = candidate(server, "a")
    await elector.acquire()
    first = elector.fencing
    holding = asyncio.create_task(elector.hold())
    server.lease = None
    await until(holding.done, 3)
    assert holding.result() == "the Lease was deleted"
    assert not elector.leading
    begun = now()
    await elector.acquire()
    assert now() - begun >= 10, "another process may be sure of the old lease for that long"
    assert elector.fencing > first


async def test_a_new_candidate_waits_before_it_makes_a_lease_that_is_missing() -> None:
    server = LeaseServer(exists=False)
    elector = candidate(server, "b")
    await elector.acquire()
    assert 10 <= now() < 12


async def test_another_holder_ends_leadership_at_once() -> None:
    server = LeaseServer()
    elector = candidate(server, "a")
    await elector.acquire()
    holding = asyncio.create_task(elector.hold())
    await asyncio.sleep(1)
    assert server.lease is not None
    server._store({**server.lease, "spec": {**server.lease["spec"], "holderIdentity": "thief"}})
    await until(holding.done, 3)
    assert holding.result() == "thief holds it now"


async def test_a_label_edited_on_the_lease_does_not_end_leadership() -> None:
    server = LeaseServer()
    elector = candidate(server, "a")
    await elector.acquire()
    holding = asyncio.create_task(elector.hold())
    await asyncio.sleep(1)
    assert server.lease is not None
    server._store({**server.lease, "metadata": {**server.lease["metadata"], "labels": {"x": "y"}}})
    await asyncio.sleep(20)
    elector.fence()
    holding.cancel()


async def test_the_same_process_takes_its_own_lease_back_at_once_after_an_outage() -> None:
    server = LeaseServer()
    elector = candidate(server, "a")
    task = asyncio.create_task(lead(elector))
    await asyncio.sleep(5)
    first = elector.fencing
    server.down = True
    await asyncio.sleep(120)
    assert not elector.leading
    server.down = False
    assert await until(lambda: elector.leading, 5) < 3
    assert elector.fencing > first
    task.cancel()


async def test_another_candidate_does_not_trust_the_wall_clock_in_the_lease() -> None:
    server = LeaseServer()
    first = candidate(server, "a")
    task = asyncio.create_task(lead(first))
    await asyncio.sleep(1)
    assert server.lease is not None
    server.lease["spec"]["renewTime"] = "1990-01-01T00:00:00.000000Z"
    second = asyncio.create_task(candidate(server, "b").acquire())
    await asyncio.sleep(60)
    assert not second.done()
    task.cancel()
    second.cancel()


@pytest.mark.parametrize("seed", range(3))
async def test_i2_never_are_two_candidates_sure_at_once(seed: int) -> None:
    """Three candidates, twelve minutes of outages, latency, lost answers, stopped processes and deletions."""
    chance = random.Random(seed)
    server = LeaseServer()
    clocks = [LoopClock() for _ in range(3)]
    electors = [candidate(server, name, clock) for name, clock in zip("abc", clocks, strict=True)]
    tasks: list[asyncio.Task[None] | None] = [asyncio.create_task(lead(each)) for each in electors]
    fencings: list[int] = []
    led = 0
    for step in range(2_500):
        await asyncio.sleep(0.3)
        sure = [elector for elector in electors if elector.leading]
        assert len(sure) <= 1, f"{[each.identity for each in sure]} are both sure at {now():.1f} s (seed {seed})"
        if sure:
            led += 1
            if not fencings or fencings[-1] != sure[0].fencing:
                assert sure[0].fencing > max(fencings, default=0)
                fencings.append(sure[0].fencing)
        if step % 40 == 0:
            server.down = chance.random() < 0.15
            server.latency = chance.choice([0.0, 0.0, 0.05, 1.0, 3.0])
            server.loses_answers = chance.random() < 0.1
            if chance.random() < 0.03:
                server.lease = None
            index = chance.randrange(3)
            if chance.random() < 0.2:  # Stopped: its clock goes on, it does not.
                if (running := tasks[index]) is not None:
                    running.cancel()
                    tasks[index] = None
                else:
                    tasks[index] = asyncio.create_task(lead(electors[index]))
    for task in tasks:
        if task is not None:
            task.cancel()
    assert led > 400
    assert len(fencings) > 3


@pytest.mark.parametrize("times", [(10, 10, 2), (15, 10, 6), (15, 10, 0)])
def test_lease_times_that_cannot_work_are_refused(times: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="15 / 10 / 2"):
        LeaseTimes(*times)
