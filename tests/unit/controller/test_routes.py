"""Who is looked at when a record changes, and how soon."""

from __future__ import annotations

from typing import Any

import pytest

from jil.api import kinds
from jil.api.kinds import Kind
from jil.controller.jil_routes import PEERS_SECONDS, JilRoutes
from jil.engine.queue import Key
from jil.engine.routes import Later
from jil.engine.store import Change, Store

NETWORK = Key("JILNetwork", None, "devnet")
JURISDICTION = Key("JILJurisdiction", "ns", "main")
NEW, WELL = Key("JILNode", "ns", "new"), Key("JILNode", "ns", "well")


def _obj(kind: Kind, name: str, **parts: Any) -> dict[str, Any]:
    namespace = "jil-system" if kind == kinds.JIL_NODE_RECORD else "ns"
    return kind.head(name, namespace) | {"metadata": {"name": name, "namespace": namespace, "uid": name}, **parts}


@pytest.fixture
def routes() -> JilRoutes:
    """Two nodes of one network: one is Ready, one is on its way."""
    store = Store()
    store.put(kinds.JIL_JURISDICTION, _obj(kinds.JIL_JURISDICTION, "main", spec={"network": "devnet"}))
    store.put(kinds.JIL_NODE, _obj(kinds.JIL_NODE, "new", spec={}, status={"phase": "Provisioning"}))
    store.put(kinds.JIL_NODE, _obj(kinds.JIL_NODE, "well", spec={}, status={"phase": "Ready"}))
    return JilRoutes(store, system_namespace="jil-system")


def _changed(before: dict[str, Any], after: dict[str, Any]) -> Change:
    record = kinds.JIL_NODE_RECORD
    old, new = (_obj(record, "r", spec={"network": "devnet"} | spec) for spec in (before, after))
    return Change(record, old, new)


def test_a_further_peer_is_no_hurry_for_a_node_that_is_well(routes: JilRoutes) -> None:
    found = list(routes.table()[kinds.JIL_NODE_RECORD](_changed({}, {"keys": {"node": {"peerId": "a"}}})))
    assert found == [NETWORK, JURISDICTION, NEW, Later(WELL, PEERS_SECONDS)]


def test_what_a_record_says_of_volumes_concerns_no_other_node(routes: JilRoutes) -> None:
    assert list(routes.table()[kinds.JIL_NODE_RECORD](_changed({}, {"volumes": []}))) == [NETWORK]
