"""From a change to the keys that have to be looked at."""

from __future__ import annotations

from typing import Any

import pytest

from jil.api.kinds import CONFIG_MAP, JIL_NETWORK, JIL_NODE, POD, SECRET
from jil.engine.queue import Key
from jil.engine.routes import all_of, nowhere, to_its_node, to_itself
from jil.engine.store import Change
from jil.engine.watch import WatchSpec


def obj(name: str, node: str | None = None, namespace: str | None = "x", **more: Any) -> dict[str, Any]:
    labels = {"labels": {"jil.io/node": node}} if node else {}
    return {"metadata": {"name": name, "namespace": namespace, **labels}, **more}


def test_i5_secrets_are_never_watched() -> None:
    with pytest.raises(ValueError, match="never watched"):
        WatchSpec(SECRET)


def test_an_object_is_looked_at_itself_unless_only_its_status_changed() -> None:
    assert list(to_itself(Change(JIL_NODE, None, obj("n")))) == [Key("JILNode", "x", "n")]
    assert list(to_itself(Change(JIL_NODE, obj("n"), None))) == [Key("JILNode", "x", "n")]
    assert list(to_itself(Change(JIL_NODE, obj("n", status={"a": 1}), obj("n", status={"a": 2})))) == []
    cluster = obj("main", namespace=None)
    assert list(to_itself(Change(JIL_NETWORK, None, cluster))) == [Key("JILNetwork", None, "main")]


def test_a_child_leads_to_its_node_and_to_the_one_it_belonged_to() -> None:
    change = Change(POD, obj("p", "old"), obj("p", "new"))
    assert list(to_its_node(change)) == [Key("JILNode", "x", "old"), Key("JILNode", "x", "new")]
    assert list(to_its_node(Change(POD, obj("p"), None))) == []


def test_routes_can_be_combined_and_be_empty() -> None:
    change = Change(CONFIG_MAP, None, obj("c", "n"))
    assert list(all_of(to_itself, to_its_node)(change)) == [Key("ConfigMap", "x", "c"), Key("JILNode", "x", "n")]
    assert list(nowhere(change)) == []
