"""Sweeps: ghosts go, what was missed comes in, and a watch that keeps missing things is called deaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jil.api.kinds import CONFIG_MAP, POD, Kind
from jil.cluster.client import Listing
from jil.cluster.errors import NotFound, ServerUnavailable
from jil.engine.metrics import Metrics
from jil.engine.store import Store
from jil.engine.sweep import Found, Sweeper
from jil.engine.watch import WatchSpec


def obj(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "x", "uid": f"u-{name}", "resourceVersion": str(version)}}


class Server:
    """Lists ``objects``; ``during_grace`` happens while the sweep waits for the watch."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 100
        self.down = False
        self.selectors: list[str | None] = []
        self.gets: list[str] = []
        self.during_grace: Callable[[], object] = lambda: None

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        metadata_only: bool = False,
    ) -> Listing:
        if self.down:
            raise ServerUnavailable("GET", "/pods", reason="NoConnection")
        self.selectors.append(label_selector)
        return Listing(list(self.objects.values()), str(self.version))

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> dict[str, Any]:
        self.gets.append(name)
        if name not in self.objects:
            raise NotFound("GET", "/x", status=404)
        return self.objects[name]

    async def sleep(self, seconds: float) -> None:
        self.during_grace()


class Rig:
    def __init__(self) -> None:
        self.server, self.store, self.metrics = Server(), Store(), Metrics()
        spec = WatchSpec(POD, "a=b")
        self.sweeper = Sweeper(self.server, self.store, [spec], self.metrics, grace=5, sleep=self.server.sleep)

    async def sweep(self) -> Found:
        return (await self.sweeper.sweep())["Pod"]

    def names(self) -> list[str]:
        return [each["metadata"]["name"] for each in self.store.list(POD)]


async def test_filling_reads_everything_in_full_with_the_selector_of_the_watch() -> None:
    rig = Rig()
    rig.server.objects = {"a": obj("a", 5), "b": obj("b", 6)}
    await rig.sweeper.fill()
    assert rig.names() == ["a", "b"]
    assert rig.server.selectors == ["a=b"]


async def test_a_ghost_that_the_server_does_not_have_is_dropped() -> None:
    rig = Rig()
    rig.store.put(POD, obj("ghost", 50))
    assert await rig.sweep() == Found(missed=0, ghosts=1)
    assert rig.names() == []
    assert not rig.store.put(POD, obj("ghost", 60)), "a late event of it is older than the list"


async def test_an_object_newer_than_the_list_is_no_ghost() -> None:
    rig = Rig()
    rig.store.put(POD, obj("new", 101))
    assert await rig.sweep() == Found(0, 0)
    assert rig.names() == ["new"]


async def test_what_the_watch_missed_is_read_in_full() -> None:
    rig = Rig()
    rig.store.put(POD, obj("old", 5))
    rig.server.objects = {"old": obj("old", 8), "unknown": obj("unknown", 9)}
    assert await rig.sweep() == Found(missed=2, ghosts=0)
    assert sorted(rig.server.gets) == ["old", "unknown"]
    assert rig.names() == ["old", "unknown"]


async def test_what_the_watch_says_within_the_grace_was_not_missed() -> None:
    rig = Rig()
    rig.server.objects = {"a": obj("a", 8)}
    rig.server.during_grace = lambda: rig.store.put(POD, obj("a", 9))
    assert await rig.sweep() == Found(0, 0)
    assert rig.server.gets == []


async def test_an_object_deleted_meanwhile_is_neither_missed_nor_brought_back() -> None:
    rig = Rig()
    rig.store.put(POD, obj("a", 8))
    rig.server.objects = {"a": obj("a", 8)}
    rig.store.remove(POD, obj("a", 102))
    assert await rig.sweep() == Found(0, 0)
    assert rig.names() == []


async def test_two_sweeps_in_a_row_that_find_something_mean_a_deaf_watch() -> None:
    rig = Rig()
    for version in (8, 18):
        assert rig.sweeper.deaf_kinds() == []
        rig.server.objects = {"a": obj("a", version)}
        await rig.sweep()
    assert rig.sweeper.deaf_kinds() == ["Pod"]
    await rig.sweep()
    assert rig.sweeper.deaf_kinds() == []


async def test_the_first_sweeps_say_nothing_about_a_watch_that_may_not_have_begun() -> None:
    rig = Rig()
    for version in (8, 18, 28):
        rig.server.objects = {"a": obj("a", version)}
        await rig.sweeper.sweep(judge=False)
    assert rig.sweeper.deaf_kinds() == []


async def test_a_kind_that_cannot_be_listed_is_counted_and_nothing_is_dropped() -> None:
    rig = Rig()
    rig.store.put(POD, obj("a", 8))
    rig.server.down = True
    assert await rig.sweeper.sweep() == {}
    assert rig.names() == ["a"]
    assert rig.metrics.sweep_failures.labels("Pod")._value.get() == 1
    assert rig.store.count(CONFIG_MAP) == 0
