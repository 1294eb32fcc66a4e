"""The subset comparison: what the server adds or rewrites is no difference, everything else is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jil.cluster.compare import differences, quantity
from tests.unit.cluster.objects import statefulset, stored


def container(obj: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = obj["spec"]["template"]["spec"]["containers"][0]
    return found


def told(intent: dict[str, Any], live: dict[str, Any]) -> list[str]:
    return [str(difference) for difference in differences(intent, live)]


def test_defaults_and_canonical_quantities_are_no_difference() -> None:
    assert told(statefulset(), stored(statefulset(), "x")) == []


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda live: container(live).update(image="evil"), "spec.template.spec.containers[name=main].image"),
        (lambda live: container(live)["args"].append("--x"), "spec.template.spec.containers[name=main].args"),
        (lambda live: container(live)["env"].pop(0), "spec.template.spec.containers[name=main].env[name=A]"),
        (lambda live: container(live)["env"].reverse(), "spec.template.spec.containers[name=main].env"),
        (lambda live: live["spec"].update(replicas=3), "spec.replicas"),
        (lambda live: live["metadata"]["labels"].clear(), "metadata.labels.jil.io/node"),
        (lambda live: live["spec"]["template"]["spec"].update(volumes=[]), "spec.template.spec.volumes[name=data]"),
        (
            lambda live: container(live)["resources"]["requests"].update(memory="2Gi"),
            "spec.template.spec.containers[name=main].resources.requests.memory",
        ),
    ],
)
def test_an_edit_is_one_difference(edit: Callable[[dict[str, Any]], Any], expected: str) -> None:
    live = stored(statefulset(), "x")
    edit(live)
    (line,) = told(statefulset(), live)
    assert line.startswith(expected + ":")


def test_what_others_added_to_list_maps_is_no_difference_of_the_subset() -> None:
    live = stored(statefulset(), "x")
    live["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "b"})
    container(live)["env"].append({"name": "X", "value": "1"})
    assert told(statefulset(), live) == []


def test_init_containers_in_another_order_are_a_difference() -> None:
    intent = statefulset()
    intent["spec"]["template"]["spec"]["initContainers"] = [{"name": "guard"}, {"name": "prepare"}]
    live = stored(intent, "x")
    live["spec"]["template"]["spec"]["initContainers"].reverse()
    (line,) = told(intent, live)
    assert "order" in line


def test_network_policy_ports_are_an_atomic_list_not_a_list_map() -> None:
    intent = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "x", "namespace": "y"},
        "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 5432}], "from": [{"podSelector": {}}]}]},
    }
    live = copy.deepcopy(intent)
    live["spec"]["ingress"][0]["ports"] = [{"port": 5432, "protocol": "TCP"}]  # type: ignore[index]
    assert told(intent, live) == []
    live["spec"]["ingress"][0]["ports"].append({"port": 22, "protocol": "TCP"})  # type: ignore[index]
    assert len(told(intent, live)) == 1


def test_service_ports_are_keyed_by_port_and_protocol() -> None:
    intent = {
        "kind": "Service",
        "spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 53, "protocol": "UDP"}]},
    }
    live = {
        "kind": "Service",
        "spec": {
            "ports": [
                {"port": 80, "protocol": "TCP", "targetPort": "http", "nodePort": 30000},
                {"port": 53, "protocol": "UDP", "targetPort": 53},
            ]
        },
    }
    assert told(intent, live) == []


def test_int_or_string_fields_are_compared_as_text_and_others_are_not() -> None:
    def spec(value: Any, field: str = "maxUnavailable") -> dict[str, Any]:
        return {"kind": "X", "spec": {field: value}}

    assert told(spec("1"), spec(1)) == []
    assert told(spec("1", "value"), spec(1, "value")) != []
    assert told(spec("50%"), spec("51%")) != []


def test_an_environment_variable_is_text_even_when_it_reads_like_a_quantity() -> None:
    live = stored(statefulset(), "x")
    intent = statefulset()
    container(intent)["env"][0]["value"] = "1000m"
    container(live)["env"][0]["value"] = "1"
    assert len(told(intent, live)) == 1


def test_true_is_not_one() -> None:
    assert told({"spec": {"a": True}}, {"spec": {"a": 1}}) != []


@pytest.mark.parametrize("empty", [{}, []])
def test_empty_and_absent_say_the_same_but_empty_against_filled_differs_for_lists(empty: Any) -> None:
    assert told({"spec": {"a": empty}}, {"spec": {}}) == []
    assert told({"spec": {"a": []}}, {"spec": {"a": [1]}}) != []


def test_null_in_an_intent_says_nothing() -> None:
    assert told({"spec": {"a": None}}, {"spec": {"a": 1}}) == []


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        (1, "1"),
        ("1e3", "1k"),
        ("100n", "0.0000001"),
        ("2Ei", "2048Pi"),
    ],
)
def test_quantities_are_compared_by_value(left: Any, right: Any) -> None:
    assert quantity(left) == quantity(right)


@pytest.mark.parametrize("text", ["", "abc", "1Xi", "Gi", "--1"])
def test_what_is_no_quantity_has_no_value(text: str) -> None:
    assert quantity(text) is None


_JSON = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 5), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=10,
)


@settings(deadline=None, max_examples=60, database=None)
@given(st.dictionaries(st.sampled_from(["spec", "data", "metadata"]), _JSON, max_size=3))
def test_an_object_never_differs_from_itself(obj: dict[str, Any]) -> None:
    assert differences(obj, copy.deepcopy(obj)) == []


@settings(deadline=None, max_examples=60, database=None)
@given(st.dictionaries(st.text(max_size=3), _JSON, max_size=3), st.dictionaries(st.text(max_size=3), _JSON, max_size=3))
def test_comparison_never_fails_and_every_difference_can_be_told(left: dict[str, Any], right: dict[str, Any]) -> None:
    for difference in differences({"spec": left}, {"spec": right}):
        assert str(difference).startswith("spec")
