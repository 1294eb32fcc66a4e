"""Status is written when it differs, samples when they are due."""

from __future__ import annotations

from typing import Any

import pytest

from jil.api.kinds import JIL_NODE, Kind
from jil.cluster.status import StatusWriter, differs
from tests.unit.cluster.clocks import ManualClock
from tests.unit.cluster.objects import entry


class Client:
    def __init__(self) -> None:
        self.written: list[tuple[str, dict[str, Any]]] = []

    async def apply_status(self, kind: Kind, manifest: dict[str, Any], *, manager: str) -> dict[str, Any]:
        self.written.append((manager, manifest))
        return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": "99"}}


def node(status: dict[str, Any] | None = None, owned: dict[str, Any] | None = None) -> dict[str, Any]:
    fields = [entry("jil-operator-status", {"f:status": owned}, "Apply", "status")] if owned else []
    return {
        "metadata": {"name": "n", "namespace": "x", "uid": "u", "resourceVersion": "1", "managedFields": fields},
        "status": status or {},
    }


async def test_an_equal_status_is_not_written() -> None:
    client = Client()
    writer = StatusWriter(client, clock=ManualClock())
    assert not await writer.write(JIL_NODE, node({"phase": "Ready", "height": 7}), {"phase": "Ready"})
    assert client.written == []


async def test_a_different_status_is_applied_whole_with_its_own_manager_and_remembered() -> None:
    client, remembered = Client(), []
    writer = StatusWriter(client, clock=ManualClock(), remember=lambda kind, obj: remembered.append(obj))
    assert await writer.write(JIL_NODE, node({"phase": "Starting"}), {"phase": "Ready", "conditions": []})
    ((manager, manifest),) = client.written
    assert manager == "jil-operator-status"
    assert manifest == {
        "apiVersion": "jil.io/v1alpha1",
        "kind": "JILNode",
        "metadata": {"name": "n", "namespace": "x", "uid": "u"},
        "status": {"phase": "Ready", "conditions": []},
    }
    assert remembered[0]["metadata"]["resourceVersion"] == "99"


@pytest.mark.parametrize(
    ("owned", "expected"),
    [({"f:phase": {}}, False), ({"f:phase": {}, "f:waitingFor": {"f:reason": {}}}, True), (None, False)],
)
def test_a_field_that_we_own_and_no_longer_say_is_a_difference(owned: Any, expected: bool) -> None:
    live = node({"phase": "Ready", "waitingFor": {"reason": "X"}, "height": 3}, owned)
    assert differs({"phase": "Ready"}, live, "jil-operator-status") is expected


async def test_samples_are_written_once_in_their_interval_or_when_a_threshold_is_crossed() -> None:
    client, clock = Client(), ManualClock()
    writer = StatusWriter(client, clock=clock)

    async def sample(height: int, *, crossed: bool = False) -> bool:
        return await writer.sample(JIL_NODE, node(), {"height": height}, interval=300.0, crossed=crossed)

    assert await sample(1)
    assert not await sample(2)
    clock.forward(299)
    assert not await sample(3)
    assert await sample(4, crossed=True)
    clock.forward(299)
    assert not await sample(5)
    clock.forward(1)
    assert await sample(6)
    assert [manager for manager, _ in client.written] == ["jil-operator-samples"] * 3
    writer.forget("u")
    assert await sample(7)


async def test_a_sample_that_says_what_is_stored_is_not_written() -> None:
    client = Client()
    writer = StatusWriter(client, clock=ManualClock())
    assert not await writer.sample(JIL_NODE, node({"height": 1}), {"height": 1}, interval=0.0)
    assert client.written == []
