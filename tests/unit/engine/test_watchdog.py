"""Deaf watches and hanging loops are noticed; an absent API server is nobody's fault here."""

from __future__ import annotations

import asyncio

import pytest

from jil.engine.watchdog import Watchdog
from tests.unit.cluster.clocks import LoopClock, ManualClock


class Rig:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.seen: tuple[str, float] | None = None
        self.deaf: list[str] = []
        self.dog = Watchdog(
            clock=self.clock,
            last_seen=lambda: self.seen,
            heartbeat_limit=90,
            lag_limit=15,
            deaf_kinds=lambda: self.deaf,
        )

    def renewals(self, seconds: int, *, heard: bool, first: int = 100) -> None:
        for step in range(0, seconds, 2):
            self.clock.forward(2)
            self.seen = (str(first + step), self.clock.seconds)
            if heard:
                self.dog.heard(str(first + step))
            self.dog.look()


def test_renewals_that_come_back_are_a_healthy_watch() -> None:
    rig = Rig()
    rig.renewals(600, heard=True)
    assert rig.dog.problems() == []
    assert rig.dog.heartbeat_age() == 0


def test_renewals_that_do_not_come_back_are_a_deaf_watch() -> None:
    rig = Rig()
    rig.renewals(60, heard=True)
    rig.renewals(88, heard=False, first=200)
    assert rig.dog.problems() == []
    rig.renewals(10, heard=False, first=400)
    assert "watch is deaf" in rig.dog.problems()[0]
    rig.dog.heard("900")
    rig.dog.look()
    assert rig.dog.problems() == []


def test_a_watch_that_is_only_slow_is_not_deaf() -> None:
    rig = Rig()
    for step in range(0, 2000, 2):
        rig.clock.forward(2)
        rig.seen = (str(1000 + step), rig.clock.seconds)
        rig.dog.heard(str(1000 + step - 40))
        rig.dog.look()
        assert rig.dog.problems() == []


def test_an_absent_api_server_is_not_the_watchs_fault() -> None:
    rig = Rig()
    rig.renewals(60, heard=True)
    rig.renewals(2, heard=False, first=500)  # renewed, then everything went away
    for _ in range(600):
        rig.clock.forward(1)
        rig.dog.look()
        assert rig.dog.problems() == []


def test_a_kind_whose_changes_only_sweeps_find_is_a_deaf_watch() -> None:
    rig = Rig()
    rig.deaf = ["Pod"]
    assert rig.dog.problems() == ["watch of Pod is deaf: two sweeps in a row found what it missed"]


@pytest.mark.looptime
async def test_a_loop_that_hangs_is_noticed() -> None:
    clock = LoopClock()
    dog = Watchdog(clock=clock, last_seen=lambda: None, heartbeat_limit=90, lag_limit=15)
    reported: list[float] = []
    running = asyncio.create_task(dog.run(lambda lag, age: reported.append(lag)))
    await asyncio.sleep(3.5)
    assert dog.problems() == []
    clock.jumped += 20  # time passed, and no tick
    assert "event loop hangs" in dog.problems()[0]
    await asyncio.sleep(1)
    assert dog.problems() == []
    assert max(reported) == pytest.approx(20)
    running.cancel()
