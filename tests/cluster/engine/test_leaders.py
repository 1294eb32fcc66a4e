"""Two real operator processes and one Lease: who writes, seen from the API server's audit log."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jil.api import kinds
from testbed.controlplane import ControlPlane
from tests.cluster.engine.rig import Process, get, holder, make_intent, make_lease, moment, until, writes

Start = Callable[..., Process]
#: Quicker terms where the test is not about how long a take-over takes.
QUICK = {"JIL_LEASE_DURATION": "9", "JIL_LEASE_RENEW_DEADLINE": "6", "JIL_LEASE_RETRY": "1.5"}
#: Terms that end neither by a busy machine nor while the test waits.
LONG = {"JIL_LEASE_DURATION": "280", "JIL_LEASE_RENEW_DEADLINE": "240", "JIL_LEASE_RETRY": "1.5"}


@pytest.fixture
def start(control_plane: ControlPlane, namespace: str) -> Iterator[Start]:
    """Starts operator processes by name; each is a user of its own for the audit log."""
    make_lease(control_plane, namespace)
    started: list[Process] = []

    def begin(name: str, **environ: str) -> Process:
        process = Process(control_plane, namespace, f"{name}-{namespace}", **environ)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.end()


async def pair(control_plane: ControlPlane, namespace: str, start: Start, **environ: str) -> tuple[Process, Process]:
    """A leader that writes ten times a second, and a standby that is ready to take over."""
    make_intent(control_plane, namespace, "beat", beat="yes")
    first = start("first", **environ)
    await until("the first leads", first.leads)
    await until("the first writes", lambda: writer(control_plane, namespace).startswith(first.user))
    second = start("second", **environ)
    await until("the second is up", lambda: second.said("the store is full"))
    return first, second


def beat(control_plane: ControlPlane, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = get(control_plane, kinds.CONFIG_MAP, namespace, "beat")["data"]
    return found


def writer(control_plane: ControlPlane, namespace: str) -> str:
    return str(beat(control_plane, namespace).get("writer", ""))


def fencing_of(entry: dict[str, Any]) -> int:
    """The term in which a write was sent."""
    return int(entry["requestObject"]["data"]["fencing"])


async def test_a_killed_leader_is_replaced_in_less_than_20_seconds(
    control_plane: ControlPlane, namespace: str, start: Start
) -> None:
    first, second = await pair(control_plane, namespace, start)
    fencing = int(beat(control_plane, namespace)["fencing"])
    first.signal(signal.SIGKILL)
    took = await until("the second writes", lambda: writer(control_plane, namespace).startswith(second.user))
    assert took < 20
    assert int(beat(control_plane, namespace)["fencing"]) > fencing


async def test_i2_a_leader_that_was_stopped_and_goes_on_writes_nothing(
    control_plane: ControlPlane, namespace: str, start: Start
) -> None:
    first, second = await pair(control_plane, namespace, start, **QUICK)
    fencing = int(beat(control_plane, namespace)["fencing"])
    since = control_plane.audit_position()
    first.signal(signal.SIGSTOP)
    await until("the second writes", lambda: writer(control_plane, namespace).startswith(second.user))
    resumed = time.time()
    first.signal(signal.SIGCONT)
    await until("the first has noticed", lambda: first.said("not leading any more"))
    await asyncio.sleep(3)
    assert first.child.poll() is None, first.output()
    # Where the second lost its lease meanwhile, because the machine stood still, the first may write in a term anew.
    late = [
        entry
        for entry in writes(control_plane, since, namespace=namespace, user=first.user)
        if moment(entry) >= resumed and fencing_of(entry) <= fencing
    ]
    assert late == [], "the deposed leader wrote"


async def test_a_leader_that_was_stopped_only_briefly_goes_on_leading(
    control_plane: ControlPlane, namespace: str, start: Start
) -> None:
    first, second = await pair(control_plane, namespace, start, **LONG)
    held = holder(control_plane, namespace)
    for _ in range(3):
        first.signal(signal.SIGSTOP)
        await asyncio.sleep(1)
        first.signal(signal.SIGCONT)
        await asyncio.sleep(1)
    since = control_plane.audit_position()
    await until(
        "the first goes on writing",
        lambda: len(writes(control_plane, since, namespace=namespace, user=first.user)) > 10,
    )
    assert holder(control_plane, namespace) == held
    assert writes(control_plane, since, namespace=namespace, user=second.user) == []


async def test_an_orderly_end_gives_the_lease_back_last_and_the_other_takes_over_at_once(
    control_plane: ControlPlane, namespace: str, start: Start
) -> None:
    since = control_plane.audit_position()
    first, second = await pair(control_plane, namespace, start, **LONG)
    first.signal(signal.SIGTERM)
    # At once: a lease that was not given back would run for minutes more.
    await until("the second writes", lambda: writer(control_plane, namespace).startswith(second.user))
    await until("the first has ended", lambda: first.child.poll() is not None)
    assert first.child.returncode == 0, first.output()
    last = max(moment(entry) for entry in writes(control_plane, since, namespace=namespace, user=first.user))
    begun = min(moment(entry) for entry in writes(control_plane, since, namespace=namespace, user=second.user))
    assert last < begun


async def test_i2_at_no_time_do_two_processes_write(control_plane: ControlPlane, namespace: str, start: Start) -> None:
    """Leaders are stopped, resumed and replaced; in the audit log each one's writes form one block per term.

    The first, deposed while it was stopped, stands for election again in the same process.
    """
    since = control_plane.audit_position()
    first, second = await pair(control_plane, namespace, start, **QUICK)
    first.signal(signal.SIGSTOP)
    await until("the second writes", lambda: writer(control_plane, namespace).startswith(second.user))
    second.signal(signal.SIGSTOP)
    first.signal(signal.SIGCONT)
    await until("the first writes", lambda: writer(control_plane, namespace).startswith(first.user))
    second.signal(signal.SIGCONT)
    await asyncio.sleep(3)
    fencing: list[int] = []
    writers: dict[int, set[str]] = {}
    for entry in writes(control_plane, since, namespace=namespace):
        number = fencing_of(entry)
        writers.setdefault(number, set()).add(entry["user"]["username"])
        if not fencing or fencing[-1] != number:
            fencing.append(number)
    # A term may end, and another begin, because the machine stood still.
    assert len(fencing) >= 3
    assert fencing == sorted(fencing), "a write of an earlier term came after one of a later term"
    assert all(len(one) == 1 for one in writers.values()), "two processes wrote in one term"
