"""Events and status on a real API server: it accepts their shapes, and repetitions and equal values cost nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from jil.api import kinds
from jil.cluster.access import Credentials, from_kubeconfig
from jil.cluster.client import KubeClient
from jil.cluster.clock import SystemClock
from jil.cluster.connection import Connection
from jil.cluster.events import EventReason, EventRecorder
from jil.cluster.status import StatusWriter
from testbed.controlplane import ControlPlane
from tests.cluster.engine import tiny
from tests.cluster.engine.rig import make_intent, make_lease, operator, until
from tests.waiting import PATIENCE_S


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[KubeClient]:
    connection = Connection(Credentials(from_kubeconfig(control_plane.kubeconfig)), write_timeout=PATIENCE_S)
    yield KubeClient(connection, fence=lambda: None)
    await connection.close()


def recorder(client: KubeClient, outcomes: list[str]) -> EventRecorder:
    return EventRecorder(client, instance="test", clock=SystemClock(), count=outcomes.append)


def events_in(control_plane: ControlPlane, namespace: str, reason: str) -> list[dict[str, Any]]:
    found = control_plane.admin.get(kinds.EVENT.path(namespace=namespace))["items"]
    return [event for event in found if event["reason"] == reason]


async def test_an_event_and_its_repetitions_are_one_object_with_a_series(
    control_plane: ControlPlane, namespace: str, client: KubeClient
) -> None:
    make_intent(control_plane, namespace, "one")
    about = await client.get(kinds.CONFIG_MAP, "one", namespace)
    outcomes: list[str] = []
    events = recorder(client, outcomes)
    for _ in range(5):
        events.normal(about, EventReason.RESTORED, "env X was added by kubectl-edit, removed", action="Apply")
    await events.drain(60)
    assert outcomes == ["merged", "merged", "merged", "posted", "series"]
    (event,) = events_in(control_plane, namespace, "Restored")
    assert event["series"]["count"] == 2
    assert event["regarding"]["name"] == "one"
    assert event["type"] == "Normal"


async def test_an_event_about_a_cluster_scoped_object_is_accepted(
    control_plane: ControlPlane, namespace: str, client: KubeClient
) -> None:
    about = await client.get(kinds.NAMESPACE, namespace)
    outcomes: list[str] = []
    events = recorder(client, outcomes)
    events.warning(about, EventReason.DENIED, "not labelled", action="Reconcile")
    await events.drain(60)
    assert outcomes == ["posted"]
    assert any(e["regarding"]["name"] == namespace for e in events_in(control_plane, "default", "Denied"))


async def test_a_bug_in_a_reconcile_is_an_event_and_the_operator_goes_on(
    control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_lease(control_plane, namespace)

    def broken(*_: object, **__: object) -> dict[str, Any]:
        raise ZeroDivisionError("a bug")

    async with operator(namespace, control_plane.kubeconfig) as (_, running):
        monkeypatch.setattr(tiny, "statefulset", broken)
        make_intent(control_plane, namespace, "one")
        await until("the Event", lambda: events_in(control_plane, namespace, "ReconcileFailed"))
        (event, *_) = events_in(control_plane, namespace, "ReconcileFailed")
        assert "ZeroDivisionError" in event["note"]
        assert event["type"] == "Warning"
        monkeypatch.undo()
        path = kinds.STATEFUL_SET.path(namespace=namespace, name="one")
        await until("it goes on", lambda: control_plane.admin.exists(path))
        assert not running.done()


async def test_status_and_samples_have_managers_of_their_own_and_equal_ones_are_not_written() -> None:
    """On a Deployment, whose status takes the same requests as that of any custom resource; nobody else may write it
    meanwhile, so this control plane is the test's own."""
    with ControlPlane() as mine:
        mine.stop_component("kube-controller-manager")
        connection = Connection(Credentials(from_kubeconfig(mine.kubeconfig)), write_timeout=PATIENCE_S)
        client = KubeClient(connection, fence=lambda: None)
        mine.admin.create(kinds.DEPLOYMENT.path(namespace="default"), tiny.deployment("default", "one"))
        writer = StatusWriter(client, clock=SystemClock())
        live = await client.get(kinds.DEPLOYMENT, "one", "default")
        assert await writer.write(kinds.DEPLOYMENT, live, {"observedGeneration": 1, "replicas": 1})
        assert await writer.sample(kinds.DEPLOYMENT, live, {"unavailableReplicas": 1}, interval=300.0)
        live = await client.get(kinds.DEPLOYMENT, "one", "default")
        assert live["status"] == {"observedGeneration": 1, "replicas": 1, "unavailableReplicas": 1}
        managers = {e["manager"] for e in live["metadata"]["managedFields"] if e.get("subresource") == "status"}
        assert managers == {"jil-operator-status", "jil-operator-samples"}
        assert not await writer.write(kinds.DEPLOYMENT, live, {"observedGeneration": 1, "replicas": 1})
        assert await writer.write(kinds.DEPLOYMENT, live, {"observedGeneration": 1})
        live = await client.get(kinds.DEPLOYMENT, "one", "default")
        assert live["status"] == {"observedGeneration": 1, "unavailableReplicas": 1}, "what is left out disappears"
        await connection.close()
