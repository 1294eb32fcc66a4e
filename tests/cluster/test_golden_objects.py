"""The golden objects are what a real API server takes: strict, restricted, without a warning."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from jil.api import kinds
from jil.render import node
from jil.render.platform import Platform
from testbed.controlplane import ControlPlane
from tests.unit.charts.rendering import of_kind, operator
from tests.unit.render import golden, samples
from tests.waiting import eventually, until_pods_may_be_made

NAMESPACE = "jil-ch-finma"


@pytest.fixture(scope="module")
def restricted(control_plane: ControlPlane) -> str:
    body = {"metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    control_plane.admin.apply(f"/api/v1/namespaces/{NAMESPACE}", {"apiVersion": "v1", "kind": "Namespace", **body})
    until_pods_may_be_made(control_plane.admin, NAMESPACE)
    return NAMESPACE


@pytest.mark.parametrize("name", sorted(golden.cases()))
def test_every_golden_object_passes_a_strict_server_side_dry_run(
    control_plane: ControlPlane, restricted: str, name: str
) -> None:
    for intent in golden.cases()[name]:
        path = kinds.kind_of(intent).path(namespace=restricted, name=intent["metadata"]["name"])
        query = "?fieldManager=golden&fieldValidation=Strict&dryRun=All"
        answer = control_plane.admin.request("PATCH", path + query, intent, content_type="application/apply-patch+yaml")
        assert answer["metadata"]["name"] == intent["metadata"]["name"]


@pytest.mark.parametrize("name", sorted(golden.cases()))
def test_every_golden_pod_is_admitted_to_a_restricted_namespace(
    control_plane: ControlPlane, restricted: str, name: str
) -> None:
    for intent in golden.cases()[name]:
        template = (intent.get("spec") or {}).get("template")
        if template is None:
            continue
        pod = copy.deepcopy(template)
        pod |= {"apiVersion": "v1", "kind": "Pod"}
        pod["metadata"]["name"] = intent["metadata"]["name"]
        _created(control_plane, restricted, pod)


def test_pods_with_the_charts_priority_classes_are_admitted_and_ordered(
    control_plane: ControlPlane, restricted: str
) -> None:
    for manifest in of_kind(operator(), "PriorityClass"):
        name = manifest["metadata"]["name"]
        control_plane.admin.apply(f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}", manifest)
        # Admission knows a class a moment after it was written.
        probe = _pod_of_class(name)
        eventually(lambda probe=probe: _created(control_plane, restricted, probe), f"class {name} to be known")  # type: ignore[misc]
    platform = Platform("mirror.example:5000", ("registry",), priority_classes=True)
    priority = {}
    for intent in node.objects(samples.zurich(platform=platform)):
        template = (intent.get("spec") or {}).get("template")
        if template is None:
            continue
        pod = copy.deepcopy(template) | {"apiVersion": "v1", "kind": "Pod"}
        pod["metadata"]["name"] = intent["metadata"]["name"]
        made = _created(control_plane, restricted, pod)
        priority[intent["metadata"]["labels"]["app.kubernetes.io/name"]] = made["spec"]["priority"]
        assert made["spec"]["preemptionPolicy"] == "Never"
    assert priority["validator"] > priority["database"] > priority["broker"] > priority["transfers"] > 0


def _pod_of_class(name: str) -> dict[str, Any]:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "main", "image": "registry.invalid/a:1", "securityContext": security}
    whole = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "metadata": {"name": "of-a-class"},
        "spec": {"priorityClassName": name, "securityContext": whole, "containers": [container]},
    }


def _created(control_plane: ControlPlane, namespace: str, pod: dict[str, Any]) -> dict[str, Any]:
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict"
    return control_plane.admin.create(path, pod)
