"""In which order a new leader looks at what there is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jil.api import kinds
from jil.cluster.clock import SystemClock
from jil.engine.metrics import Metrics
from jil.engine.outcome import Result
from jil.engine.queue import Key, WorkQueue
from jil.engine.settings import Settings
from jil.engine.store import Store
from jil.engine.term import Term


class NoEvents:
    def warning(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing here is worth an Event")


@pytest.fixture
def store() -> Store:
    filled = Store()
    for number in range(20):
        metadata = {"name": f"n{number:02}", "namespace": "a", "uid": f"u{number}", "resourceVersion": str(number + 1)}
        filled.put(kinds.JIL_NODE, {"metadata": metadata})
    return filled


async def looks(store: Store, queue: WorkQueue, missed: list[Key], *, result: Result | None = None) -> list[str]:
    """The names of the nodes that one worker looks at, until it has nothing to do."""
    seen: list[str] = []

    async def look(key: Key) -> Result:
        seen.append(key.name)
        if key.name == "n05":
            queue.add(Key("JILNode", "a", "n19"))  # an event, while everything is looked at for the first time
        return result or Result()

    async def prepare() -> None:
        return None

    term = Term(
        queue,
        store,
        {"JILNode": look},
        kinds=[kinds.JIL_NODE],
        events=NoEvents(),  # type: ignore[arg-type]
        metrics=Metrics(),
        clock=SystemClock(),
        settings=Settings(workers=1),
        prepare=prepare,
        missed=lambda: missed,
    )
    serving = asyncio.create_task(term.serve())
    async with asyncio.timeout(10):
        while len(seen) < 20 or queue.depth() or queue.working():
            await asyncio.sleep(0)
    serving.cancel()
    return seen


async def test_a_new_leader_looks_first_at_what_changed_while_nobody_led_and_then_at_everything(store: Store) -> None:
    order = await looks(store, WorkQueue(), [Key("JILNode", "a", "n17"), Key("JILNode", "a", "n18")])
    assert order[:3] == ["n17", "n18", "n00"]
    assert sorted(order) == [f"n{number:02}" for number in range(20)]


async def test_what_changes_while_a_new_leader_looks_at_everything_does_not_wait_for_the_rest(store: Store) -> None:
    order = await looks(store, WorkQueue(), [])
    assert order[:8] == ["n00", "n01", "n02", "n03", "n04", "n05", "n19", "n06"]


@pytest.mark.parametrize(("seconds", "waits"), [(60.0, True), (5.0, False)])
async def test_the_next_look_at_a_node_at_rest_is_routine_and_that_at_one_under_way_is_not(
    store: Store, seconds: float, waits: bool
) -> None:
    now = 0.0
    queue = WorkQueue(clock=lambda: now)
    await looks(store, queue, [], result=Result(requeue_after=seconds))
    now = 61.0
    queue.done(await queue.get())
    queue.add(Key("JILNode", "b", "new"))
    assert ((await queue.get()).name == "new") is waits
