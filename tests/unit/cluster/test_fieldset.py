"""FieldsV1: what is owned, what is too much, what was taken from us."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jil.cluster import fieldset
from jil.cluster.fieldset import Field, Item, Value
from tests.unit.cluster.objects import APPLIED_TREE, entry, statefulset, stored


def shown(paths: Any) -> list[str]:
    return sorted(fieldset.show(path) for path in paths)


def test_nothing_is_surplus_or_missing_right_after_an_apply() -> None:
    intent = statefulset()
    with_stamp = copy.deepcopy(intent)
    with_stamp["metadata"]["annotations"] = {"jil.io/applied": "x"}
    assert shown(fieldset.surplus(APPLIED_TREE, with_stamp)) == []
    part = {"metadata": {"labels": intent["metadata"]["labels"]}, "spec": intent["spec"]}
    assert shown(fieldset.missing([APPLIED_TREE], [], part)) == []


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"f:spec": {"f:paused": {}}}, ["spec.paused"]),
        (
            {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/x": {}}}}}},
            ["spec.template.metadata.annotations"],
        ),
        (
            {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"side"}': {".": {}, "f:image": {}}}}}}},
            ["spec.template.spec.containers[name=side]"],
        ),
        (
            {
                "f:spec": {
                    "f:template": {
                        "f:spec": {
                            "f:containers": {
                                'k:{"name":"main"}': {"f:env": {'k:{"name":"X"}': {".": {}, "f:value": {}}}}
                            }
                        }
                    }
                }
            },
            ["spec.template.spec.containers[name=main].env[name=X]"],
        ),
        ({"f:spec": {"f:template": {"f:spec": {"f:tolerations": {}}}}}, ["spec.template.spec.tolerations"]),
        ({"f:spec": {"f:replicas": {}, "f:selector": {}}}, []),
        (
            {
                "f:spec": {
                    "f:template": {
                        "f:spec": {
                            "f:containers": {
                                'k:{"name":"main"}': {
                                    "f:ports": {'k:{"containerPort":8080,"protocol":"TCP"}': {"f:name": {}}}
                                }
                            }
                        }
                    }
                }
            },
            [],
        ),
    ],
)
def test_surplus_is_the_topmost_field_that_the_intent_lacks(tree: dict[str, Any], expected: list[str]) -> None:
    assert shown(fieldset.surplus(tree, statefulset())) == expected


def test_values_of_sets_are_compared_one_by_one() -> None:
    tree: dict[str, Any] = {"f:metadata": {"f:finalizers": {".": {}, 'v:"a"': {}, 'v:"b"': {}}}}
    assert shown(fieldset.surplus(tree, {"metadata": {"finalizers": ["a"]}})) == ["metadata.finalizers[=b]"]
    assert shown(fieldset.missing([tree], [], {"metadata": {"finalizers": ["a", "c"]}})) == ["metadata.finalizers[=c]"]


def test_a_field_that_another_manager_changed_is_missing_from_ours() -> None:
    ours = copy.deepcopy(APPLIED_TREE)
    container = ours["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"main"}']
    del container["f:image"]
    del container["f:args"]  # an atomic list: changed inside, taken as a whole
    del container["f:env"]['k:{"name":"A"}']["f:value"]
    assert shown(fieldset.missing([ours], [], {"spec": statefulset()["spec"]})) == [
        "spec.template.spec.containers[name=main].args",
        "spec.template.spec.containers[name=main].env[name=A].value",
        "spec.template.spec.containers[name=main].image",
    ]


def test_everything_is_missing_when_we_own_nothing() -> None:
    assert shown(fieldset.missing([], [APPLIED_TREE], {"spec": {"replicas": 1}})) == [""]


def test_what_two_entries_of_ours_own_together_is_not_missing() -> None:
    first: dict[str, Any] = {"f:spec": {"f:a": {}}}
    second: dict[str, Any] = {"f:spec": {"f:b": {}}}
    assert shown(fieldset.missing([first, second], [], {"spec": {"a": 1, "b": 2}})) == []


@pytest.mark.parametrize("empty", [{}, []])
def test_an_empty_map_or_list_is_missing_only_when_somebody_else_owns_its_place(empty: Any) -> None:
    assert shown(fieldset.missing([{"f:spec": {"f:a": {}}}], [], {"spec": {"a": 1, "x": empty}})) == []
    others: list[dict[str, Any]] = [{"f:spec": {"f:x": {}}}]
    assert shown(fieldset.missing([{"f:spec": {"f:a": {}}}], others, {"spec": {"a": 1, "x": empty}})) == ["spec.x"]


def test_removals_come_in_an_order_that_keeps_indices_right() -> None:
    obj = {"l": [{"name": "a", "e": [1, 2, 3]}, {"name": "b"}, {"name": "c"}], "x": 1}
    paths = [
        (Field("l"), Item((("name", "b"),))),
        (Field("l"), Item((("name", "c"),))),
        (Field("l"), Item((("name", "a"),)), Field("e"), Value(1)),
        (Field("l"), Item((("name", "a"),)), Field("e"), Value(3)),
        (Field("x"),),
        (Field("absent"),),
    ]
    assert [each["path"] for each in fieldset.removals(obj, paths)] == ["/x", "/l/2", "/l/1", "/l/0/e/2", "/l/0/e/0"]


def test_a_parent_that_goes_takes_its_children_along() -> None:
    obj = {"a": {"b": 1}}
    assert [e["path"] for e in fieldset.removals(obj, [(Field("a"),), (Field("a"), Field("b"))])] == ["/a"]


def test_json_pointers_are_escaped() -> None:
    assert fieldset.json_pointer(["a/b", "c~d", 0]) == "/a~1b/c~0d/0"


def test_prune_takes_paths_and_what_is_emptied_by_it() -> None:
    tree: dict[str, Any] = {"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}}
    pruned = fieldset.prune(tree, [(Field("spec"), Field("b"), Field("c")), (Field("spec"), Field("a"))])
    assert pruned == {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}


def test_entries_read_manager_operation_and_subresource() -> None:
    live = stored(statefulset(), "h-t", entry("kcm", {"f:status": {}}, subresource="status"), entry("empty", {}))
    assert [(e.manager, e.operation, e.subresource) for e in fieldset.entries(live)] == [
        ("jil-operator", "Apply", ""),
        ("kcm", "Update", "status"),
    ]


_NAMES = st.sampled_from(["a", "b", "c", "d/e", "f~g"])
_VALUES = st.recursive(st.integers(0, 3), lambda inner: st.dictionaries(_NAMES, inner, max_size=3), max_leaves=8)


def _tree(value: Any) -> dict[str, Any]:
    """FieldsV1 of an object of maps and scalars, as an owner of all of it has."""
    return {f"f:{name}": _tree(inner) for name, inner in value.items()} if isinstance(value, dict) else {}


@settings(deadline=None, max_examples=60, database=None)
@given(st.dictionaries(_NAMES, _VALUES, max_size=4), st.dictionaries(_NAMES, _VALUES, max_size=4))
def test_removing_the_surplus_leaves_nothing_foreign(live: dict[str, Any], intent: dict[str, Any]) -> None:
    """For any live object wholly owned by somebody else: after the removals, no surplus is left, and no more is gone."""
    tree = _tree(live)
    surplus = list(fieldset.surplus(tree, intent))
    after = copy.deepcopy(live)
    for operation in fieldset.removals(live, surplus):
        keys = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        parent = after
        for key in keys[:-1]:
            parent = parent[key]
        del parent[keys[-1]]
    left = list(fieldset.surplus(_tree(after), intent))
    assert left == []
    assert all(fieldset.pointer(intent, path) is None for path in surplus)


@settings(deadline=None, max_examples=60, database=None)
@given(st.dictionaries(_NAMES, _VALUES, max_size=4))
def test_who_owns_everything_misses_nothing(intent: dict[str, Any]) -> None:
    assert list(fieldset.missing([_tree(intent)], [], intent)) == [] or not intent
