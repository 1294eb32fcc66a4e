"""What the bring-up is compared with: the same objects, timed to the last of them, and nobody slowed down by the other."""

from __future__ import annotations

from typing import Any

import pytest

from bench.parts import bring_up
from jil.api import labels


def _written(verb: str, resource: str, name: str, second: int, *, code: int = 201, **more: str) -> dict[str, Any]:
    return {
        "verb": verb,
        "objectRef": {"resource": resource, "namespace": "space", "name": name, **more},
        "responseStatus": {"code": code},
        "stageTimestamp": f"1970-01-01T00:00:{second:02d}.000000Z",
    }


def _config(name: str) -> dict[str, Any]:
    marks = {labels.APP_MANAGED_BY: labels.MANAGED_BY, labels.APP_NAME: "validator"}
    meta = {"name": name, "namespace": "space", "uid": "u", "resourceVersion": "7", "labels": marks}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"key": "value"}}


def test_the_clock_stops_with_the_last_of_the_objects_that_both_sides_make() -> None:
    entries = [
        _written("patch", "configmaps", "first", 2),
        _written("create", "configmaps", "second", 5),
        _written("patch", "configmaps", "first", 8, code=200),
        _written("create", "events", "second", 9),
        _written("create", "pods", "second", 9, subresource="eviction"),
    ]
    assert bring_up._last_made(entries, [_config("first"), _config("second")]) == 5.0


def test_an_object_that_the_audit_log_does_not_know_is_an_error_and_no_zero() -> None:
    refused = [_written("create", "configmaps", "second", 5, code=409)]
    with pytest.raises(RuntimeError, match="configmaps/space/second"):
        bring_up._last_made(refused, [_config("second")])


def test_the_loop_applies_what_the_operator_made_and_none_of_it_is_the_operators() -> None:
    pod = {"metadata": {"labels": dict(_config("x")["metadata"]["labels"])}}
    containers = {"initContainers": [{"name": "guard"}], "containers": [{"name": "validator"}]}
    selected = {"matchLabels": dict(pod["metadata"]["labels"])}
    workload = {
        **_config("node-validator"),
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "spec": {"selector": selected, "template": {**pod, "spec": containers}},
        "status": {"replicas": 1},
    }
    ours = f"'{labels.APP_MANAGED_BY}': '{labels.MANAGED_BY}'"
    assert str(workload).count(ours) == 3
    applied = bring_up._intent(workload)
    assert ours not in str(applied)
    assert applied["spec"]["selector"]["matchLabels"] == applied["spec"]["template"]["metadata"]["labels"]
    assert applied["spec"]["template"]["spec"] == {"containers": [{"name": "validator"}]}
    assert set(applied["metadata"]) == {"name", "namespace", "labels"}
    assert "status" not in applied
    assert ours in str(workload), "what was read is still as it was"
