"""The store: the newest version wins, the dead stay dead, children are found by their node."""

from __future__ import annotations

import random
from typing import Any

import pytest

from jil.api.kinds import CONFIG_MAP, JIL_NODE, POD
from jil.engine.store import Change, Store


def pod(
    version: int, *, name: str = "p", uid: str = "u1", node: str | None = "n", namespace: str = "x"
) -> dict[str, Any]:
    labels = {"labels": {"jil.io/node": node}} if node else {}
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": str(version), **labels},
        "status": {"v": version},
    }


def test_a_newer_version_replaces_an_older_one_and_never_the_other_way() -> None:
    store = Store()
    assert store.put(POD, pod(9))
    assert store.put(POD, pod(10))
    assert not store.put(POD, pod(9)), "versions are numbers, not text"
    assert not store.put(POD, pod(10))
    found = store.get(POD, "x", "p")
    assert found is not None
    assert found["status"] == {"v": 10}


def test_a_late_event_does_not_bring_back_the_dead() -> None:
    store = Store()
    store.put(POD, pod(5))
    assert store.remove(POD, pod(7))
    assert not store.put(POD, pod(6))
    assert store.get(POD, "x", "p") is None


def test_a_deletion_that_comes_before_the_first_event_counts_too() -> None:
    store = Store()
    assert not store.remove(POD, pod(7))
    assert not store.put(POD, pod(6))


def test_an_object_that_matches_the_selector_again_comes_back() -> None:
    """Its label was taken off (the watch says DELETED) and put on again by us: the same UID, a newer version."""
    store = Store()
    store.put(POD, pod(5))
    store.remove(POD, pod(6))
    assert store.put(POD, pod(7))
    assert store.get(POD, "x", "p") is not None


def test_another_object_of_the_same_name_takes_the_place_and_survives_the_old_ones_end() -> None:
    store = Store()
    store.put(POD, pod(5, uid="old"))
    assert store.put(POD, pod(8, uid="new"))
    assert not store.put(POD, pod(6, uid="old"))
    assert not store.remove(POD, pod(7, uid="old"))
    found = store.get(POD, "x", "p")
    assert found is not None
    assert found["metadata"]["uid"] == "new"


def test_children_are_found_by_namespace_and_node_also_after_the_label_moved() -> None:
    store = Store()
    store.put(POD, pod(1, name="b", uid="b"))
    store.put(POD, pod(2, name="a", uid="a"))
    store.put(POD, pod(3, name="c", uid="c", node="other"))
    store.put(POD, pod(4, name="d", uid="d", namespace="y"))
    assert [each["metadata"]["name"] for each in store.children(POD, "x", "n")] == ["a", "b"]
    store.put(POD, pod(5, name="a", uid="a", node="other"))
    assert [each["metadata"]["name"] for each in store.children(POD, "x", "n")] == ["b"]
    store.put(POD, pod(6, name="b", uid="b", node=None))
    assert store.children(POD, "x", "n") == []
    assert [each["metadata"]["name"] for each in store.list(POD, "x")] == ["a", "b", "c"]
    assert len(store.list(POD)) == 4


def test_an_unknown_kind_is_empty() -> None:
    store = Store()
    assert store.list(POD) == []
    assert store.children(POD, "x", "n") == []
    assert store.get(POD, "x", "p") is None
    assert list(store.known(POD)) == []
    assert store.count(POD) == 0


def test_managed_fields_are_kept_for_children_and_trimmed_to_our_status_elsewhere() -> None:
    fields = [
        {"manager": "kubectl", "fieldsV1": {"f:spec": {}}},
        {"manager": "jil-operator-status", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]
    store = Store(children=[POD])
    for kind in (POD, JIL_NODE):
        obj = pod(1)
        obj["metadata"]["managedFields"] = fields
        store.put(kind, obj)
    child, own = store.get(POD, "x", "p"), store.get(JIL_NODE, "x", "p")
    assert child is not None
    assert own is not None
    assert child["metadata"]["managedFields"] == fields
    assert own["metadata"]["managedFields"] == fields[1:]


def test_every_change_is_told_and_nothing_else() -> None:
    told: list[Change] = []
    store = Store(listener=told.append)
    store.put(POD, pod(1))
    store.put(POD, pod(1))
    store.put(POD, pod(3))
    store.remove(POD, pod(4))
    store.remove(POD, pod(4))
    shown = [(c.old and c.old["status"]["v"], c.new and c.new["status"]["v"]) for c in told]
    assert shown == [(None, 1), (1, 3), (3, None)]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"status": {"v": 2}}, True),
        ({"spec": {"a": 2}}, False),
        ({"metadata": {"annotations": {"a": "b"}}}, False),
        ({"metadata": {"deletionTimestamp": "now"}}, False),
    ],
)
def test_a_change_of_the_status_alone_is_recognised(edit: dict[str, Any], expected: bool) -> None:
    old: dict[str, Any] = {"metadata": {"name": "n", "resourceVersion": "1"}, "spec": {"a": 1}, "status": {"v": 1}}
    new = {**old, **edit, "metadata": {**old["metadata"], "resourceVersion": "2", **edit.get("metadata", {})}}
    assert Change(JIL_NODE, old, new).only_status is expected


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_order_events_arrive_the_end_is_the_newest_state(seed: int) -> None:
    """Three objects of one name after each other, each changed and deleted; events shuffled, some twice."""
    chance = random.Random(seed)
    history: list[tuple[str, dict[str, Any]]] = []
    for life in range(3):
        base = life * 10
        history += [("put", pod(base + step, uid=f"u{life}")) for step in range(1, 5)]
        if life < 2:
            history.append(("remove", pod(base + 6, uid=f"u{life}")))
    events = history + chance.sample(history, 5)
    chance.shuffle(events)
    store = Store()
    for what, obj in events:
        store.put(CONFIG_MAP, obj) if what == "put" else store.remove(CONFIG_MAP, obj)
    found = store.get(CONFIG_MAP, "x", "p")
    assert found is not None
    assert (found["metadata"]["uid"], found["metadata"]["resourceVersion"]) == ("u2", "24")


def test_equal_trees_of_managed_fields_are_kept_once() -> None:
    """A fleet's children have the same few: a copy each would be half of the operator's memory."""
    store = Store(children=[POD])
    for name in ("a", "b"):
        obj = pod(1, name=name, uid=name)
        obj["metadata"]["managedFields"] = [
            {"manager": "m", "time": name, "fieldsV1": {"f:spec": {"f:x": {}}}},
            {"manager": "n", "operation": "Update"},
        ]
        store.put(POD, obj)
    first, second = (store.get(POD, "x", name) for name in ("a", "b"))
    assert first is not None
    assert second is not None
    ours, theirs = first["metadata"]["managedFields"], second["metadata"]["managedFields"]
    assert ours[0]["fieldsV1"] is theirs[0]["fieldsV1"]
    assert [entry.get("time") for entry in (ours[0], theirs[0])] == ["a", "b"]
    assert ours[1] == {"manager": "n", "operation": "Update"}
