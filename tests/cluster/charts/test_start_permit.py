"""Only the operator lets a validator sign: every way to put the permit on a pod, tried by a cluster admin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from testbed.apiclient import ApiClient
from tests.cluster.charts import rig
from tests.cluster.charts.conftest import Installed
from tests.cluster.charts.rig import ELSEWHERE, JURISDICTION, PERMIT, SYSTEM, eventually, refusal

_numbers = count(1)
PODS = f"/api/v1/namespaces/{JURISDICTION}/pods"
GIVEN = '{"podUID":"x","mode":"require","minHeight":7}'


def annotated(value: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": {PERMIT: value}}}


@pytest.fixture
def waiting(installed: Installed) -> Iterator[str]:
    """Path of a pod that waits for its permit."""
    name = f"waiting-{next(_numbers)}"
    installed.admin.create(PODS, rig.pod(name))
    yield f"{PODS}/{name}"
    installed.admin.delete(f"{PODS}/{name}?gracePeriodSeconds=0")


def permit_of(client: ApiClient, path: str) -> str | None:
    value = client.get(path)["metadata"].get("annotations", {}).get(PERMIT)
    return None if value is None else str(value)


def test_i1_the_operator_gives_the_permit(installed: Installed, waiting: str) -> None:
    installed.operator.merge(waiting, annotated(GIVEN))
    assert permit_of(installed.admin, waiting) == GIVEN


def test_i1_nobody_else_gives_one_not_even_a_cluster_admin(installed: Installed, waiting: str) -> None:
    message = refusal(lambda: installed.admin.merge(waiting, annotated(GIVEN)))
    assert "only the operator (system:serviceaccount:jil-system:jil-operator) writes" in message
    assert message.endswith(f"kubectl get jilnode -n {JURISDICTION} -o wide")
    assert permit_of(installed.admin, waiting) is None


def test_i1_nobody_else_gives_one_through_the_pods_status(installed: Installed, waiting: str) -> None:
    # The status of a pod may carry new annotations: Kubernetes only protects its spec and owners there.
    refusal(lambda: installed.admin.merge(f"{waiting}/status", annotated(GIVEN)))


@pytest.mark.parametrize(
    "value", ['{"podUID":"x","mode":"create","minHeight":0}', "", None], ids=["other", "empty", "none"]
)
def test_i1_nobody_else_changes_or_takes_back_a_permit(installed: Installed, waiting: str, value: str | None) -> None:
    installed.operator.merge(waiting, annotated(GIVEN))
    refusal(lambda: installed.admin.merge(waiting, annotated(value)))
    assert permit_of(installed.admin, waiting) == GIVEN


def test_i1_a_pod_is_not_made_with_a_permit(installed: Installed) -> None:
    refusal(lambda: installed.admin.create(PODS, rig.pod("preset", {PERMIT: GIVEN})))


@pytest.mark.parametrize(
    "binding", [f"{PODS}/NAME/binding", f"/api/v1/namespaces/{JURISDICTION}/bindings"], ids=["pod", "bindings"]
)
def test_i1_a_binding_does_not_bring_a_permit_along(installed: Installed, waiting: str, binding: str) -> None:
    # A Binding's annotations are copied onto the pod that it places.
    name = waiting.rpartition("/")[2]
    body = {"metadata": {"name": name, "annotations": {PERMIT: GIVEN}}, "target": {"kind": "Node", "name": "n"}}
    refusal(lambda: installed.admin.create(binding.replace("NAME", name), body))
    assert permit_of(installed.admin, waiting) is None


def test_a_binding_without_a_permit_places_the_pod(installed: Installed, waiting: str) -> None:
    name = waiting.rpartition("/")[2]
    installed.admin.create(f"{waiting}/binding", {"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}})
    assert installed.admin.get(waiting)["spec"]["nodeName"] == "n"


def test_i1_a_pod_template_does_not_hand_out_permits(installed: Installed) -> None:
    template = rig.pod("from-template", {PERMIT: GIVEN})
    template = {"metadata": template["metadata"], "spec": template["spec"]}
    spec = {"serviceName": "x", "selector": {"matchLabels": {"app": "from-template"}}, "template": template}
    sets = f"/apis/apps/v1/namespaces/{JURISDICTION}/statefulsets"
    start = installed.cluster.audit_position()
    installed.admin.create(sets, {"metadata": {"name": "from-template"}, "spec": spec})

    def tried() -> bool:
        return any(
            entry["user"]["username"] == "system:serviceaccount:kube-system:statefulset-controller"
            and entry["verb"] == "create"
            and entry["objectRef"]["resource"] == "pods"
            and entry["responseStatus"]["code"] == 403
            for entry in installed.cluster.audit_entries(start)
        )

    eventually(tried, "the StatefulSet controller to be refused")
    assert not installed.admin.exists(f"{PODS}/from-template-0")
    installed.admin.delete(f"{sets}/from-template")


def test_i1_an_account_of_the_same_name_elsewhere_is_not_the_operator(installed: Installed, waiting: str) -> None:
    admin = installed.admin
    admin.create(f"/api/v1/namespaces/{ELSEWHERE}/serviceaccounts", {"metadata": {"name": "jil-operator"}})
    admin.create(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        {
            "metadata": {"name": "impostor"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "jil-operator", "namespace": ELSEWHERE}],
        },
    )
    impostor = rig.as_service_account(installed.cluster, ELSEWHERE, "jil-operator")
    eventually(lambda: _may_read(impostor), "its role to be in force")
    refusal(lambda: impostor.merge(waiting, annotated(GIVEN)))


def _may_read(client: ApiClient) -> bool:
    review = {"spec": {"resourceAttributes": {"verb": "patch", "resource": "pods", "namespace": JURISDICTION}}}
    answer = client.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


@pytest.mark.parametrize(
    "change",
    [
        lambda admin, path: admin.merge(path, {"metadata": {"annotations": {"note": "mine"}, "labels": {"a": "b"}}}),
        lambda admin, path: admin.merge(f"{path}/status", {"status": {"message": "well"}}),
        lambda admin, path: admin.merge(path, annotated(GIVEN)),
    ],
    ids=["other annotations", "status", "the same permit again"],
)
def test_a_pod_with_a_permit_may_otherwise_be_changed(
    installed: Installed, waiting: str, change: Callable[[ApiClient, str], Any]
) -> None:
    installed.operator.merge(waiting, annotated(GIVEN))
    change(installed.admin, waiting)
    assert permit_of(installed.admin, waiting) == GIVEN


@pytest.mark.parametrize("namespace", [ELSEWHERE, SYSTEM])
def test_outside_jil_namespaces_the_annotation_means_nothing_and_is_free(installed: Installed, namespace: str) -> None:
    eventually(
        lambda: installed.admin.exists(f"/api/v1/namespaces/{namespace}/serviceaccounts/default"), "the default account"
    )
    installed.admin.create(f"/api/v1/namespaces/{namespace}/pods", rig.pod("free", {PERMIT: GIVEN}))
