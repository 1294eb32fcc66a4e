"""Where a node's health is read: at its Service's address, and nowhere when there is no Service."""

from __future__ import annotations

from typing import Any

import pytest

from jil.api import kinds, labels
from jil.controller.app import health_pods, health_url
from jil.engine.store import Store

TEMPLATE = "http://{address}:8081/v1/health"


def _store(**spec: Any) -> Store:
    store = Store()
    metadata = {"name": "n-health", "namespace": "ns", "uid": "u", "resourceVersion": "1", **spec.pop("metadata", {})}
    store.put(kinds.SERVICE, {"metadata": metadata, "spec": spec})
    return store


@pytest.mark.parametrize(("address", "host"), [("10.96.0.7", "10.96.0.7"), ("fd00::7", "[fd00::7]")])
def test_the_address_of_the_service_is_asked(address: str, host: str) -> None:
    assert health_url(TEMPLATE, _store(clusterIP=address))("ns", "n") == f"http://{host}:8081/v1/health"


def test_a_service_that_is_not_there_or_is_going_is_asked_nowhere() -> None:
    assert health_url(TEMPLATE, Store())("ns", "n") is None
    assert health_url(TEMPLATE, _store())("ns", "n") is None
    going = _store(clusterIP="10.96.0.7", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert health_url(TEMPLATE, going)("ns", "n") is None


def test_who_answers_is_another_one_when_a_health_pod_comes_goes_or_begins_to_end() -> None:
    store, seen = Store(), set[str]()

    def pod(name: str, component: str, version: int, **metadata: Any) -> dict[str, Any]:
        marks = {labels.NODE: "n", labels.APP_NAME: component}
        head = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": str(version), "labels": marks}
        return {"metadata": head | metadata}

    seen.add(health_pods(store, ("ns", "n")))
    store.put(kinds.POD, pod("h1", "health", 1))
    seen.add(health_pods(store, ("ns", "n")))
    store.put(kinds.POD, pod("h2", "health", 2))
    seen.add(health_pods(store, ("ns", "n")))
    store.put(kinds.POD, pod("h1", "health", 3, deletionTimestamp="2026-01-01T00:00:00Z"))
    seen.add(health_pods(store, ("ns", "n")))
    assert len(seen) == 4
    store.put(kinds.POD, pod("db", "database", 4))
    assert health_pods(store, ("ns", "n")) in seen, "what else the node has answers nothing here"
