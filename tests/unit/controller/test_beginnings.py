"""In virtual time: new nodes get their workloads after what all of them need first, and no fault of one holds up another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jil.api import kinds, labels
from jil.controller.beginnings import PATIENCE, Beginnings, is_new
from jil.engine.store import Store

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


class Looks:
    """Looks at nodes of which each takes so long until its workloads may come; ``started`` says when they came."""

    def __init__(self, *old: str) -> None:
        self.beginnings = Beginnings(lambda key: key[1] not in old)
        self.started: dict[str, float] = {}

    async def look(self, name: str, seconds: float, *, after: float = 0.0, fails: bool = False) -> None:
        await asyncio.sleep(after)
        with self.beginnings.look(("ns", name)):
            await asyncio.sleep(seconds)
            if fails:
                raise ValueError(name)
            await self.beginnings.turn(("ns", name))
            self.started[name] = now()


async def test_a_node_alone_waits_for_nobody() -> None:
    looks = Looks()
    await looks.look("a", 0.5)
    assert looks.started == {"a": 0.5}


async def test_nodes_that_begin_together_start_together() -> None:
    looks = Looks()
    await asyncio.gather(looks.look("a", 0.5), looks.look("b", 2.0), looks.look("c", 1.0))
    assert looks.started == {"a": 2.0, "b": 2.0, "c": 2.0}


async def test_a_node_that_has_workloads_neither_waits_nor_is_waited_for() -> None:
    looks = Looks("old")
    await asyncio.gather(looks.look("new", 1.0), looks.look("old", 2.0), looks.look("old", 0.5))
    assert looks.started == {"new": 1.0, "old": 2.0}


async def test_nobody_waits_for_a_node_that_began_after_it_was_ready_to_start() -> None:
    looks = Looks()
    await asyncio.gather(looks.look("a", 0.5), looks.look("b", 1.0), looks.look("late", 2.0, after=0.7))
    assert looks.started == {"a": 1.0, "b": 2.7, "late": 2.7}


async def test_a_look_that_hangs_holds_up_nobody_for_longer_than_patience_lasts() -> None:
    looks = Looks()
    await asyncio.gather(looks.look("a", 0.5), looks.look("hangs", 60.0))
    assert looks.started == {"a": 0.5 + PATIENCE, "hangs": 60.0}


async def test_a_look_that_fails_is_waited_for_no_more() -> None:
    looks = Looks()
    await asyncio.gather(looks.look("a", 0.5), looks.look("b", 1.0, fails=True), return_exceptions=True)
    assert looks.started == {"a": 1.0}


async def test_a_look_that_is_ended_with_its_leadership_is_waited_for_no_more() -> None:
    looks = Looks()
    ended = asyncio.create_task(looks.look("b", 60.0))
    other = asyncio.create_task(looks.look("a", 0.5))
    await asyncio.sleep(1.0)
    ended.cancel()
    await other
    assert looks.started == {"a": 1.0}


@pytest.mark.parametrize(
    ("node", "workload", "new"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, False, False),
        (None, False, False),
    ],
)
def test_new_is_a_node_that_stays_and_has_no_workload_yet(
    node: dict[str, Any] | None, workload: bool, new: bool
) -> None:
    store = Store()
    if node is not None:
        head = kinds.JIL_NODE.head("n", "ns")
        store.put(
            kinds.JIL_NODE, {**head, "metadata": {**head["metadata"], "uid": "1", "resourceVersion": "1", **node}}
        )
    if workload:
        head = kinds.STATEFUL_SET.head("n-database", "ns")
        metadata = {**head["metadata"], "uid": "2", "resourceVersion": "2", "labels": {labels.NODE: "n"}}
        store.put(kinds.STATEFUL_SET, {**head, "metadata": metadata})
    assert is_new(store)(("ns", "n")) is new
