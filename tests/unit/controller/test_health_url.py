"""Where a node's health is read: at its Service's address, and nowhere when there is no Service."""

from __future__ import annotations

from typing import Any

import pytest

from jil.api import kinds
from jil.controller.app import health_url
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
