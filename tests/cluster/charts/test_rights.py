"""Rights as the API server judges them, with the token of the operator's ServiceAccount, and the roles of people."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from testbed.apiclient import ApiError
from tests.cluster.charts import rig
from tests.cluster.charts.conftest import Installed
from tests.cluster.charts.rig import ELSEWHERE, JURISDICTION, SYSTEM, attributes, eventually, may, refusal

EVERYWHERE = ""
WRITES = ("create", "update", "patch", "delete", "deletecollection")
READS = ("get", "list", "watch")


ALLOWED = [
    (EVERYWHERE, "jilnodes.jil.io", ("get", "list", "watch", "patch")),
    (EVERYWHERE, "jilnetworks.jil.io", READS),
    (EVERYWHERE, "jilreleases.jil.io", READS),
    (EVERYWHERE, "jiljurisdictions.jil.io", READS),
    (EVERYWHERE, "jilnodes/status.jil.io", ("patch",)),
    (EVERYWHERE, "jilreleases/status.jil.io", ("patch",)),
    (EVERYWHERE, "jiloperations.jil.io", READS),
    (EVERYWHERE, "jiloperations/status.jil.io", ("patch",)),
    (EVERYWHERE, "jilimageallowlists.jil.io", ("get", "list", "watch", "create", "update")),
    (EVERYWHERE, "namespaces", READS),
    (EVERYWHERE, "nodes", READS),
    (EVERYWHERE, "pods", READS),
    (EVERYWHERE, "persistentvolumes", ("get", "patch")),
    (EVERYWHERE, "statefulsets.apps", READS),
    (SYSTEM, "jilnoderecords.jil.io", ("get", "list", "watch", "create", "patch")),
    (SYSTEM, "secrets", ("get", "create")),
    (SYSTEM, "configmaps", ("get", "create", "update")),
    (SYSTEM, "leases.coordination.k8s.io", ("list", "watch", "create")),
    (SYSTEM, "events.events.k8s.io", ("create", "patch")),
    ("default", "events.events.k8s.io", ("create", "patch")),
    (JURISDICTION, "secrets", ("get", "create", "update")),
    (JURISDICTION, "persistentvolumeclaims", ("get", "create", "patch")),
    (JURISDICTION, "statefulsets.apps", ("get", "create", "patch", "delete")),
    (JURISDICTION, "deployments.apps", ("create", "patch", "delete")),
    (JURISDICTION, "services", ("create", "patch", "delete")),
    (JURISDICTION, "configmaps", ("create", "patch", "delete")),
    (JURISDICTION, "poddisruptionbudgets.policy", ("create", "patch", "delete")),
    (JURISDICTION, "networkpolicies.networking.k8s.io", ("create", "patch", "delete")),
    (JURISDICTION, "pods", ("get", "list", "patch", "delete")),
    (JURISDICTION, "events.events.k8s.io", ("create", "patch")),
]
DENIED = [
    (EVERYWHERE, "secrets", (*READS, *WRITES)),
    (EVERYWHERE, "pods", WRITES),
    (EVERYWHERE, "pods/exec", ("create", "get")),
    (EVERYWHERE, "statefulsets.apps", WRITES),
    (EVERYWHERE, "namespaces", WRITES),
    (EVERYWHERE, "nodes", WRITES),
    (EVERYWHERE, "nodes/proxy", ("get",)),
    (EVERYWHERE, "persistentvolumes", ("delete", "create")),
    (EVERYWHERE, "jilnodes.jil.io", ("create", "update", "delete", "deletecollection")),
    (EVERYWHERE, "jilnetworks.jil.io", WRITES),
    (EVERYWHERE, "jilreleases.jil.io", WRITES),
    (EVERYWHERE, "jiljurisdictions.jil.io", WRITES),
    (EVERYWHERE, "jiloperations.jil.io", (*WRITES, "breakglass")),
    (EVERYWHERE, "jilimageallowlists.jil.io", ("patch", "delete", "deletecollection")),
    (EVERYWHERE, "jilnoderecords.jil.io", READS),
    (EVERYWHERE, "rolebindings.rbac.authorization.k8s.io", (*READS, *WRITES)),
    (EVERYWHERE, "clusterroles.rbac.authorization.k8s.io", ("bind", "escalate")),
    (EVERYWHERE, "serviceaccounts", ("impersonate",)),
    (EVERYWHERE, "serviceaccounts/token", ("create",)),
    (EVERYWHERE, "customresourcedefinitions.apiextensions.k8s.io", WRITES),
    (EVERYWHERE, "validatingadmissionpolicies.admissionregistration.k8s.io", WRITES),
    (SYSTEM, "secrets", ("list", "watch", "update", "patch", "delete", "deletecollection")),
    (SYSTEM, "jilnoderecords.jil.io", ("delete", "deletecollection")),
    (SYSTEM, "configmaps", ("patch", "delete")),
    (SYSTEM, "leases.coordination.k8s.io", ("delete", "patch", "update", "get")),
    (SYSTEM, "pods", WRITES),
    (JURISDICTION, "secrets", ("list", "watch", "patch", "delete", "deletecollection")),
    (JURISDICTION, "persistentvolumeclaims", ("delete", "deletecollection")),
    (JURISDICTION, "pods", ("create", "deletecollection")),
    (JURISDICTION, "statefulsets.apps", ("deletecollection",)),
    (JURISDICTION, "roles.rbac.authorization.k8s.io", WRITES),
    (JURISDICTION, "serviceaccounts", WRITES),
    (ELSEWHERE, "secrets", ("get", "create")),
    (ELSEWHERE, "statefulsets.apps", WRITES),
    (ELSEWHERE, "configmaps", WRITES),
    (ELSEWHERE, "events.events.k8s.io", WRITES),
    ("default", "configmaps", WRITES),
]


def label(entry: tuple[str, str, tuple[str, ...]]) -> str:
    return f"{entry[1]} in {entry[0] or 'the cluster'}"


@pytest.mark.parametrize("entry", ALLOWED, ids=label)
def test_the_operator_may_do_what_it_needs(installed: Installed, entry: tuple[str, str, tuple[str, ...]]) -> None:
    namespace, resource, verbs = entry
    assert {verb for verb in verbs if not may(installed.operator, namespace, resource, verb)} == set()


@pytest.mark.parametrize("entry", DENIED, ids=label)
def test_the_operator_may_not_do_more(installed: Installed, entry: tuple[str, str, tuple[str, ...]]) -> None:
    namespace, resource, verbs = entry
    assert {verb for verb in verbs if may(installed.operator, namespace, resource, verb)} == set()


@pytest.mark.parametrize("verb", ["get", "update"])
def test_the_operator_renews_its_own_lease_and_no_other(installed: Installed, verb: str) -> None:
    def allowed(name: str) -> bool:
        wanted = attributes(SYSTEM, "leases.coordination.k8s.io", verb) | {"name": name}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = installed.operator.create(path, {"spec": {"resourceAttributes": wanted}})
        return bool(answer["status"]["allowed"])

    assert allowed("jil-operator")
    assert not allowed("another")


def test_i5_the_operator_reads_a_secret_by_name_and_never_a_list(installed: Installed) -> None:
    secrets = f"/api/v1/namespaces/{JURISDICTION}/secrets"
    installed.operator.create(secrets, rig.secret("made-by-operator", identity=True))
    assert installed.operator.get(f"{secrets}/made-by-operator")["data"]
    for path in (secrets, "/api/v1/secrets"):
        with pytest.raises(ApiError, match="cannot list resource"):
            installed.operator.get(path)


SECRETS = f"/api/v1/namespaces/{JURISDICTION}/secrets"


def test_the_operator_renews_a_nodes_login(installed: Installed) -> None:
    made = installed.operator.create(SECRETS, rig.pull_login("ch-zug-91-pull"))
    made["data"] = {".dockerconfigjson": base64.b64encode(b'{"auths": {"registry.example": {}}}').decode()}
    made["metadata"]["labels"]["team"] = "a"
    written = installed.operator.request("PUT", f"{SECRETS}/ch-zug-91-pull", made)
    assert written["data"] == made["data"]


_LOGIN: dict[str, Any] = rig.pull_login("")
_LABELS: dict[str, str] = _LOGIN["metadata"]["labels"]
NO_LOGINS: dict[str, tuple[str, dict[str, Any]]] = {
    "a person's password": ("team", {"type": "Opaque", "labels": {}}),
    "a person's pull secret": ("team-pull", {"labels": {}}),
    "a login by another name": ("ch-zug-92", {}),
    "a key": ("ch-zug-92-validator-key", {"type": "Opaque", "labels": {**_LABELS, "jil.io/identity": "true"}}),
    "a key that calls itself a login": ("ch-zug-93-pull", {"labels": {**_LABELS, "jil.io/identity": "true"}}),
    "another type": ("ch-zug-94-pull", {"type": "Opaque"}),
    "another child": ("ch-zug-95-pull", {"labels": {**_LABELS, "app.kubernetes.io/name": "database"}}),
}


@pytest.mark.parametrize("what", NO_LOGINS)
def test_i5_the_operator_changes_no_secret_that_is_not_a_nodes_login(installed: Installed, what: str) -> None:
    name, changes = NO_LOGINS[what]
    manifest = rig.pull_login(name)
    manifest["type"] = changes.get("type", manifest["type"])
    manifest["metadata"]["labels"] = changes.get("labels", _LABELS)
    before = installed.admin.create(SECRETS, manifest)
    changed = {**before, "data": {**before["data"], "more": "eA=="}}
    assert "changes Secrets that hold a node's login" in refusal(
        lambda: installed.operator.request("PUT", f"{SECRETS}/{name}", changed)
    )
    assert installed.admin.get(f"{SECRETS}/{name}") == before
    installed.admin.request("PUT", f"{SECRETS}/{name}", changed)  # the twin: a person may


def test_i5_a_nodes_login_is_not_turned_into_something_else_by_the_operator(installed: Installed) -> None:
    made = installed.operator.create(SECRETS, rig.pull_login("ch-zug-96-pull"))
    for labels in ({}, {**_LABELS, "jil.io/identity": "true"}, {**_LABELS, "app.kubernetes.io/name": "x"}):
        changed = {**made, "metadata": {**made["metadata"], "labels": labels}}
        refusal(lambda changed=changed: installed.operator.request("PUT", f"{SECRETS}/ch-zug-96-pull", changed))


# -- users' objects stay theirs ----------------------------------------------------------------------------------------

NODES = f"/apis/jil.io/v1alpha1/namespaces/{JURISDICTION}/jilnodes"


@pytest.fixture(scope="module")
def node(installed: Installed) -> str:
    """Path of a JILNode that a person applied."""
    manifest = rig.jil_node("ch-zug-90")
    manifest["metadata"] |= {"labels": {"team": "a"}, "annotations": {"note": "mine"}}
    installed.admin.create(NODES, manifest)
    return f"{NODES}/ch-zug-90"


def test_i10_the_operator_holds_and_lifts_its_finalizer(installed: Installed, node: str) -> None:
    held = installed.operator.merge(node, {"metadata": {"finalizers": ["jil.io/node"]}})
    assert held["metadata"]["finalizers"] == ["jil.io/node"]
    assert "finalizers" not in installed.operator.merge(node, {"metadata": {"finalizers": None}})["metadata"]


def test_i10_the_operator_writes_status(installed: Installed, node: str) -> None:
    status = installed.operator.merge(f"{node}/status", {"status": {"phase": "Pending"}})["status"]
    assert status["phase"] == "Pending"


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"state": "Stopped"}},
        {"spec": {"region": "ch-bern"}},
        {"metadata": {"labels": {"more": "x"}}},
        {"metadata": {"labels": {"team": None}}},
        {"metadata": {"annotations": {"kopf.zalando.org/last-handled": "{}"}}},
        {"metadata": {"annotations": {"note": None}}},
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"}]}},
    ],
    ids=["state", "region", "new label", "label gone", "new annotation", "annotation gone", "owner"],
)
def test_i10_the_operator_is_refused_everything_else_of_a_users_object(
    installed: Installed, node: str, change: dict[str, Any]
) -> None:
    before = installed.admin.get(node)
    assert "belong to whoever applies it" in refusal(lambda: installed.operator.merge(node, change))
    assert installed.admin.get(node) == before


def test_a_person_changes_spec_labels_and_annotations_as_ever(installed: Installed, node: str) -> None:
    change = {"spec": {"state": "Maintenance"}, "metadata": {"labels": {"more": "x"}, "annotations": {"note": "new"}}}
    assert installed.admin.merge(node, change)["spec"]["state"] == "Maintenance"


# -- people ------------------------------------------------------------------------------------------------------------

PEOPLE = [
    ("view", "jilnodes.jil.io", READS, WRITES),
    ("view", "jilnoderecords.jil.io", READS, WRITES),
    ("edit", "jilnodes.jil.io", (*READS, *WRITES), ()),
    ("edit", "jiljurisdictions.jil.io", READS, WRITES),
    ("edit", "jilnoderecords.jil.io", READS, WRITES),
    ("edit", "jilnodes/status.jil.io", (), WRITES),
    ("edit", "jiloperations.jil.io", READS, (*WRITES, "breakglass")),
    ("admin", "jilnodes.jil.io", (*READS, *WRITES), ()),
    ("admin", "jiljurisdictions.jil.io", (*READS, *WRITES), ()),
    ("admin", "jilnoderecords.jil.io", READS, WRITES),
    ("admin", "jiloperations.jil.io", (*READS, *WRITES), ("breakglass",)),
]


@pytest.fixture(scope="module")
def bound(installed: Installed) -> Installed:
    """User ``<role>-user`` bound to each of Kubernetes' roles in the jurisdiction; ``platform-user`` to ours."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    for role in ("view", "edit", "admin"):
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"{role}-user"}]
        binding = {"metadata": {"name": f"people-{role}"}, "roleRef": reference, "subjects": subjects}
        installed.admin.create(f"{rbac}/namespaces/{JURISDICTION}/rolebindings", binding)
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "jil-operator-platform"}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "platform-user"}]
    body = {"metadata": {"name": "people-platform"}, "roleRef": reference, "subjects": subjects}
    installed.admin.create(f"{rbac}/clusterrolebindings", body)
    # Aggregation is a controller's work, role by role, and the authorizer sees new bindings a moment later.
    for person, resource, allowed, _ in PEOPLE:
        for verb in allowed:
            asked = (installed, person, JURISDICTION, resource, verb)
            eventually(lambda asked=asked: person_may(*asked), f"{person} to {verb} {resource}")  # type: ignore[misc]
    eventually(lambda: person_may(installed, "platform", EVERYWHERE, "jilnetworks.jil.io", "create"), "the binding")
    return installed


def person_may(installed: Installed, role: str, namespace: str, resource: str, verb: str) -> bool:
    review = {"spec": {"user": f"{role}-user", "resourceAttributes": attributes(namespace, resource, verb)}}
    answer = installed.admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


@pytest.mark.parametrize(
    ("role", "resource", "allowed", "denied"), PEOPLE, ids=lambda value: value if isinstance(value, str) else ""
)
def test_kubernetes_own_roles_cover_jil_kinds_in_a_jurisdiction(
    bound: Installed, role: str, resource: str, allowed: tuple[str, ...], denied: tuple[str, ...]
) -> None:
    assert [verb for verb in allowed if not person_may(bound, role, JURISDICTION, resource, verb)] == []
    assert [verb for verb in denied if person_may(bound, role, JURISDICTION, resource, verb)] == []


def test_a_jurisdictions_admin_cannot_touch_network_release_or_another_jurisdiction(bound: Installed) -> None:
    for resource in ("jilnetworks.jil.io", "jilreleases.jil.io"):
        assert [verb for verb in WRITES if person_may(bound, "admin", EVERYWHERE, resource, verb)] == []
    assert not person_may(bound, "admin", ELSEWHERE, "jilnodes.jil.io", "create")


def test_the_platform_team_writes_networks_and_releases_and_nothing_in_a_jurisdiction(bound: Installed) -> None:
    for resource in ("jilnetworks.jil.io", "jilreleases.jil.io"):
        assert person_may(bound, "platform", EVERYWHERE, resource, "create")
    assert not person_may(bound, "platform", JURISDICTION, "jilnodes.jil.io", "create")
