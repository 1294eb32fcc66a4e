"""Events: merged, limited, never in the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jil.api.conditions import Reason
from jil.api.kinds import Kind
from jil.cluster.errors import Forbidden, NotLeader
from jil.cluster.events import EventLimits, EventReason, EventRecorder
from tests.unit.cluster.clocks import ManualClock

NODE = {
    "apiVersion": "jil.io/v1alpha1",
    "kind": "JILNode",
    "metadata": {"name": "ch-zug-01", "namespace": "jil-ch", "uid": "u1", "resourceVersion": "5"},
}
NETWORK = {"apiVersion": "jil.io/v1alpha1", "kind": "JILNetwork", "metadata": {"name": "main", "uid": "u2"}}


class Client:
    def __init__(self, error: Exception | None = None) -> None:
        self.created: list[dict[str, Any]] = []
        self.patched: list[tuple[str, dict[str, Any]]] = []
        self.error = error

    async def create(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        if self.error:
            raise self.error
        self.created.append(manifest)
        return manifest

    async def merge_patch(self, kind: Kind, name: str, namespace: str | None, body: dict[str, Any]) -> dict[str, Any]:
        self.patched.append((name, body))
        return body


class Rig:
    def __init__(self, limits: EventLimits | None = None, error: Exception | None = None) -> None:
        self.client, self.clock, self.outcomes = Client(error), ManualClock(), list[str]()
        self.recorder = EventRecorder(
            self.client, instance="pod-1", clock=self.clock, limits=limits, count=self.outcomes.append, sleep=_no_sleep
        )

    def say(self, note: str = "drift undone", about: Any = NODE) -> None:
        self.recorder.normal(about, EventReason.RESTORED, note, action="Apply")


async def _no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


async def test_an_event_has_the_shape_of_events_k8s_io() -> None:
    rig = Rig()
    rig.recorder.warning(NODE, Reason.KEY_LOST, "the key is gone", action="Reconcile")
    await rig.recorder.drain(1)
    (event,) = rig.client.created
    assert event["type"] == "Warning"
    assert event["reason"] == "KeyLost"
    assert event["action"] == "Reconcile"
    assert event["metadata"]["namespace"] == "jil-ch"
    assert event["metadata"]["name"].startswith("ch-zug-01.")
    assert event["regarding"]["uid"] == "u1"
    assert event["eventTime"].endswith("Z")
    assert event["reportingController"] == "jil.io/operator"


async def test_repetitions_become_one_series_that_is_written_now_and_then() -> None:
    rig = Rig()
    for _ in range(10):
        rig.say()
        rig.clock.forward(1)
    rig.clock.forward(30)
    rig.say()
    await rig.recorder.drain(1)
    assert len(rig.client.created) == 1
    assert [body["series"]["count"] for _, body in rig.client.patched] == [2, 11]
    assert rig.outcomes.count("merged") == 8


async def test_after_the_window_a_repetition_is_a_new_event() -> None:
    rig = Rig()
    rig.say()
    rig.clock.forward(601)
    rig.say()
    await rig.recorder.drain(1)
    assert len({event["metadata"]["name"] for event in rig.client.created}) == 2


async def test_one_object_cannot_fill_the_cluster_with_events() -> None:
    rig = Rig(EventLimits(burst=3, refill=10))
    for number in range(8):
        rig.say(f"note {number}")
    rig.say("about another", about=NETWORK)
    await rig.recorder.drain(1)
    assert len(rig.client.created) == 4
    assert rig.outcomes.count("limited") == 5
    rig.clock.forward(10)
    rig.say("after a while")
    await rig.recorder.drain(1)
    assert len(rig.client.created) == 5


async def test_events_about_cluster_scoped_objects_go_to_the_default_namespace() -> None:
    rig = Rig()
    rig.say(about=NETWORK)
    await rig.recorder.drain(1)
    assert rig.client.created[0]["metadata"]["namespace"] == "default"
    assert "namespace" not in rig.client.created[0]["regarding"]


async def test_a_full_queue_drops_and_counts() -> None:
    rig = Rig(EventLimits(queue=2))
    for number in range(4):
        rig.say(f"note {number}")
    assert rig.outcomes == ["overflow", "overflow"]


@pytest.mark.parametrize("error", [Forbidden("POST", "/events", status=403), NotLeader("no")])
async def test_what_cannot_be_written_is_counted_and_nothing_else_happens(error: Exception) -> None:
    rig = Rig(error=error)
    rig.say()
    await rig.recorder.drain(1)
    assert rig.outcomes == ["failed"]


async def test_recording_never_raises_even_about_nonsense() -> None:
    rig = Rig()
    rig.say(about={"kind": "X"})
    assert rig.outcomes == ["failed"]


async def test_long_notes_and_names_are_cut() -> None:
    rig = Rig()
    rig.say("x" * 5000, about={"kind": "ConfigMap", "metadata": {"name": "n" * 253, "namespace": "y", "uid": "u"}})
    await rig.recorder.drain(1)
    assert len(rig.client.created[0]["note"]) == 1024
    assert len(rig.client.created[0]["metadata"]["name"]) <= 253


async def test_run_writes_until_cancelled() -> None:
    rig = Rig()
    running = asyncio.create_task(rig.recorder.run())
    rig.say()
    await asyncio.sleep(0.01)
    running.cancel()
    assert rig.outcomes == ["posted"]
