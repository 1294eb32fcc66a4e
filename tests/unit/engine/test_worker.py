"""From the outcome of a reconcile to the next look."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from jil.api.objects import InvalidObject
from jil.cluster import context
from jil.cluster.errors import (
    ApiError,
    Conflict,
    Forbidden,
    GrantRequired,
    Invalid,
    NotFound,
    NotLeader,
    ServerUnavailable,
    TooManyRequests,
)
from jil.engine.metrics import OUTCOMES, Metrics
from jil.engine.outcome import DependencyDown, InvalidSpec, Result
from jil.engine.queue import Key, WorkQueue
from jil.engine.worker import Worker
from tests.unit.cluster.clocks import LoopClock

pytestmark = pytest.mark.looptime

KEY = Key("JILNode", "x", "n")
NODE = {"kind": "JILNode", "metadata": {"name": "n", "namespace": "x", "uid": "u"}}


class Events:
    def __init__(self) -> None:
        self.warnings: list[tuple[str, str]] = []

    def warning(self, regarding: Any, reason: Any, note: str, *, action: str) -> None:
        self.warnings.append((reason.value, note))


class Rig:
    """One worker, one key, a reconciler that does what the test says."""

    def __init__(self, *behaviours: Any) -> None:
        self.behaviours = list(behaviours)
        self.looks: list[float] = []
        self.queue = WorkQueue(clock=lambda: asyncio.get_running_loop().time(), chance=lambda: 0.0)
        self.events, self.metrics = Events(), Metrics()
        self.worker = Worker(
            self.queue,
            {"JILNode": self.reconcile},
            events=self.events,  # type: ignore[arg-type]
            metrics=self.metrics,
            clock=LoopClock(),
            find=lambda key: NODE,
            timeout=30,
        )

    async def reconcile(self, key: Key) -> Result:
        self.looks.append(asyncio.get_running_loop().time())
        behaviour = self.behaviours.pop(0) if self.behaviours else Result()
        if isinstance(behaviour, Exception):
            raise behaviour
        if isinstance(behaviour, float):
            await asyncio.sleep(behaviour)
            return Result()
        return behaviour

    async def run(self, seconds: float) -> None:
        self.queue.add(KEY)
        task = asyncio.create_task(self.worker.run())
        await asyncio.sleep(seconds)
        task.cancel()

    def counted(self, outcome: str) -> float:
        return float(self.metrics.reconciles.labels("JILNode", outcome)._value.get())


def api(error: type[ApiError], **more: Any) -> ApiError:
    return error("PATCH", "/x", status=1, **more)


async def test_a_result_says_when_to_look_again() -> None:
    rig = Rig(Result(requeue_after=7))
    await rig.run(100)
    assert rig.looks == [0, 7]
    assert rig.counted("ok") == 2


@pytest.mark.parametrize("error", [InvalidSpec("no"), InvalidObject("JILNode", "n", ("spec.x: bad",))])
async def test_an_invalid_spec_is_not_tried_again(error: Exception) -> None:
    rig = Rig(error)
    await rig.run(1000)
    assert rig.looks == [0]
    assert rig.counted("invalid_spec") == 1


@pytest.mark.parametrize("error", [Conflict, NotFound])
async def test_a_conflict_is_looked_at_at_once(error: type[ApiError]) -> None:
    rig = Rig(api(error), api(error))
    await rig.run(10)
    assert rig.looks == [0, 0, 0]


async def test_many_conflicts_in_a_row_back_off() -> None:
    rig = Rig(*[api(Conflict)] * 8)
    await rig.run(0.2)
    assert len(rig.looks) == 6
    await rig.run(20)
    assert rig.counted("conflict") == 8


async def test_a_dependency_that_is_down_is_tried_with_growing_pauses() -> None:
    rig = Rig(*[DependencyDown("broker")] * 3, api(ServerUnavailable))
    await rig.run(100)
    assert rig.looks == pytest.approx([0, 0.25, 0.75, 1.75, 3.75])
    assert rig.counted("dependency") == 4


async def test_retry_after_is_honoured() -> None:
    rig = Rig(api(TooManyRequests, retry_after=30.0))
    await rig.run(100)
    assert rig.looks == [0, 30]


@pytest.mark.parametrize(
    ("error", "outcome", "event"),
    [
        (api(Forbidden), "forbidden", None),
        (api(Invalid, message="spec.x is immutable"), "rejected", "WriteRefused"),
        (ZeroDivisionError("oops"), "bug", "ReconcileFailed"),
        (GrantRequired("Stop", "StatefulSet x/n", "down"), "bug", "ReconcileFailed"),
    ],
)
async def test_what_needs_a_person_backs_off_and_says_so(error: Exception, outcome: str, event: str | None) -> None:
    rig = Rig(error)
    await rig.run(100)
    assert len(rig.looks) == 2
    assert rig.counted(outcome) == 1
    assert [reason for reason, _ in rig.events.warnings] == ([event] if event else [])


async def test_a_reconcile_that_takes_too_long_is_broken_off() -> None:
    rig = Rig(1000.0)
    await rig.run(100)
    assert rig.counted("timeout") == 1
    assert rig.looks == pytest.approx([0, 30.25])


async def test_a_write_that_the_fence_refused_is_tried_again_soon() -> None:
    rig = Rig(NotLeader("doubt"))
    await rig.run(10)
    assert rig.looks == [0, 1]
    assert rig.counted("not_leader") == 1


async def test_one_failure_does_not_end_the_worker() -> None:
    rig = Rig(ZeroDivisionError(), ZeroDivisionError(), Result())
    await rig.run(100)
    assert rig.counted("ok") == 1


async def test_log_lines_of_a_reconcile_know_it(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[str, str]] = []

    async def reconcile(key: Key) -> Result:
        seen.append((context.resource_key.get(), context.reconcile_id.get()))
        return Result()

    rig = Rig()
    rig.worker._reconcilers = {"JILNode": reconcile}
    with caplog.at_level(logging.DEBUG):
        await rig.run(1)
    assert seen[0][0] == "JILNode x/n"
    assert len(seen[0][1]) == 8
    assert context.reconcile_id.get() == ""


def test_every_outcome_is_declared() -> None:
    assert len(set(OUTCOMES)) == len(OUTCOMES) == 9
