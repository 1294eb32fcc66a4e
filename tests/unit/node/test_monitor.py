"""The monitor: deadlines, staleness, and that one hanging component delays nobody."""

from __future__ import annotations

import asyncio
from typing import Any

from jil.node.monitor import Monitor, describe, running


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """Answers, fails or hangs as told."""

    name = "component"

    def __init__(self) -> None:
        self.answer: str | Exception | None = "v1"  # None: hang
        self.asked = 0
        self.aborted = 0
        self.closed = False
        self.release = asyncio.Event()
        self.stubborn = False

    async def observe(self) -> str:
        self.asked += 1
        if self.answer is None:
            while not self.release.is_set():
                try:
                    await self.release.wait()
                except asyncio.CancelledError:
                    if not self.stubborn:
                        raise
            return "late"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def abort(self) -> None:
        self.aborted += 1

    async def close(self) -> None:
        self.closed = True


def monitor(check: Any, clock: Clock | None = None, **more: Any) -> Monitor[str]:
    return Monitor(check, interval=2.0, deadline=more.pop("deadline", 0.01), monotonic=clock or Clock(), **more)


async def test_a_result_is_not_ok_before_the_first_check() -> None:
    result = monitor(Scripted()).result()
    assert not result.ok
    assert "not checked yet" in (result.error or "")


async def test_an_answer_is_kept_with_its_age() -> None:
    clock = Clock()
    watched = monitor(Scripted(), clock)
    await watched.refresh()
    clock.now += 3
    result = watched.result()
    assert (result.ok, result.value, result.error, result.age) == (True, "v1", None, 3)


async def test_a_failure_is_told_in_one_redacted_line() -> None:
    check = Scripted()
    check.answer = RuntimeError("refused:\n  password s3cret\n")
    watched = monitor(check, redact=lambda text: text.replace("s3cret", "[redacted]"))
    await watched.refresh()
    result = watched.result()
    assert (result.ok, result.value, result.error) == (False, None, "refused: password [redacted]")


async def test_a_hanging_check_is_given_up_at_its_deadline() -> None:
    check = Scripted()
    check.answer = None
    watched = monitor(check)
    await watched.refresh()
    assert watched.result().error == "no answer within 0.01 s"
    assert check.aborted == 1


async def test_no_second_check_is_started_while_one_cannot_be_ended() -> None:
    check, clock = Scripted(), Clock()
    check.answer, check.stubborn = None, True
    watched = monitor(check, clock)
    await watched.refresh()
    clock.now += 7
    for _ in range(3):
        await watched.refresh()
    assert check.asked == 1
    assert "no answer for 7.0 s" in (watched.result().error or "")
    check.release.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    check.answer = "v2"
    await watched.refresh()
    assert watched.result().value == "v2"


async def test_a_good_result_that_nobody_refreshes_stops_counting_as_good() -> None:
    clock = Clock()
    watched = monitor(Scripted(), clock, deadline=1.0)
    await watched.refresh()
    clock.now += 9.0
    assert watched.result().ok
    clock.now += 0.5
    result = watched.result()
    assert not result.ok
    assert "last checked 10 s ago" in (result.error or "")


async def test_one_hanging_component_does_not_delay_the_others() -> None:
    hanging, lively = Scripted(), Scripted()
    hanging.answer = None
    slow = Monitor[str](hanging, interval=0.0, deadline=30)
    quick = Monitor[str](lively, interval=0.0, deadline=30)
    async with running([slow, quick]):
        async with asyncio.timeout(5):
            while lively.asked < 3:
                await asyncio.sleep(0.001)
    assert hanging.asked == 1
    assert quick.result().ok
    assert hanging.closed
    assert lively.closed


async def test_a_check_that_fails_to_close_does_not_disturb_the_end() -> None:
    class Careless(Scripted):
        async def close(self) -> None:
            raise RuntimeError("never mind")

    async with running([monitor(Careless())]):
        await asyncio.sleep(0)


def test_an_exception_without_text_is_described_by_its_type() -> None:
    assert describe(TimeoutError()) == "TimeoutError"
    assert len(describe(RuntimeError("x" * 5000))) == 500
