"""The comparison of rights and audit log, on logs of a few lines."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rbac_usage import Grant, Right, ServiceAccount, Use, compare, rights_of, uses_of

ACCOUNT = ServiceAccount("jil-system", "jil-operator")
READER = "ClusterRole reader"
READ = Right(READER, "", "pods", "list")
WRITE = Right("ClusterRole writer", "apps", "statefulsets", "patch")
STATUS = Right(READER, "jil.io", "jilnodes/status", "patch")
GRANTS = [Grant(READ), Grant(WRITE, "a"), Grant(WRITE, "b"), Grant(STATUS)]


def event(
    verb: str, resource: str, *, group: str = "", namespace: str = "", decision: str = "allow", **more: Any
) -> dict[str, Any]:
    reason = more.pop("reason", "")
    return {
        "verb": verb,
        "stage": "ResponseComplete",
        "user": {"username": more.pop("username", ACCOUNT.username)},
        "objectRef": {"resource": resource, "apiGroup": group, "namespace": namespace, **more},
        "annotations": {"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": reason},
    }


EVERYTHING = [
    event("list", "pods"),
    event("patch", "statefulsets", group="apps", namespace="b", name="x"),
    event("patch", "jilnodes", group="jil.io", namespace="a", name="n", subresource="status"),
]


def test_a_run_that_uses_every_right_once_leaves_nothing_to_report() -> None:
    usage = compare(GRANTS, EVERYTHING, ACCOUNT)
    assert (usage.unused, usage.ungranted, usage.needless) == ([], [], [])
    assert usage.text() == ""


def test_a_right_that_was_never_used_is_reported_with_its_role() -> None:
    usage = compare(GRANTS, EVERYTHING[:2], ACCOUNT)
    assert usage.unused == [STATUS]
    assert "patch jilnodes/status.jil.io (by ClusterRole reader)" in usage.text()


def test_a_right_bound_in_two_namespaces_is_used_when_one_of_them_needed_it() -> None:
    assert WRITE not in compare(GRANTS, EVERYTHING, ACCOUNT).unused


def test_a_namespaces_right_does_not_cover_the_same_request_elsewhere() -> None:
    usage = compare(GRANTS, [*EVERYTHING, event("patch", "statefulsets", group="apps", namespace="c")], ACCOUNT)
    assert [use.namespace for use in usage.ungranted] == ["c"]


def test_a_namespaces_right_does_not_cover_a_request_to_the_whole_cluster() -> None:
    grants = [Grant(READ, "a")]
    assert [use.verb for use in compare(grants, [event("list", "pods")], ACCOUNT).ungranted] == ["list"]


def test_a_right_on_a_resource_does_not_cover_its_subresource() -> None:
    usage = compare(GRANTS, [*EVERYTHING, event("list", "pods", subresource="log")], ACCOUNT)
    assert [use.resource for use in usage.ungranted] == ["pods/log"]


def test_a_forbidden_request_is_reported_as_missing() -> None:
    refused = event("list", "secrets", decision="forbid")
    usage = compare(GRANTS, [*EVERYTHING, refused], ACCOUNT)
    assert usage.ungranted == [Use("", "secrets", "list", allowed=False)]
    assert "list secrets in the whole cluster (forbidden)" in usage.text()


def test_a_request_that_only_a_foreign_role_allows_is_reported_as_missing() -> None:
    stray = event("list", "secrets", reason='RBAC: allowed by ClusterRoleBinding "oops" of ClusterRole "cluster-admin"')
    assert "allowed by a role outside the chart" in compare(GRANTS, [*EVERYTHING, stray], ACCOUNT).text()


def test_what_kubernetes_lets_everybody_do_needs_no_right() -> None:
    review = event(
        "create",
        "selfsubjectaccessreviews",
        group="authorization.k8s.io",
        reason='RBAC: allowed by ClusterRoleBinding "system:basic-user" to Group "x"',
    )
    discovery = {"verb": "get", "user": {"username": ACCOUNT.username}, "requestURI": "/apis"}
    assert compare(GRANTS, [*EVERYTHING, review, discovery], ACCOUNT).ungranted == []


def test_other_users_requests_do_not_count() -> None:
    assert uses_of([event("list", "pods", username="admin")], ACCOUNT) == set()


def test_a_named_right_covers_only_objects_of_that_name() -> None:
    lease = Right("Role x", "coordination.k8s.io", "leases", "update")
    grants = [Grant(lease, "jil-system", ("jil-operator",))]
    ours = event("update", "leases", group=lease.group, namespace="jil-system", name="jil-operator")
    other = event("update", "leases", group=lease.group, namespace="jil-system", name="other")
    assert compare(grants, [ours], ACCOUNT).ungranted == []
    assert [use.name for use in compare(grants, [ours, other], ACCOUNT).ungranted] == ["other"]


def test_applying_an_object_that_was_not_there_uses_patch_and_create() -> None:
    create = Right(WRITE.role, "apps", "statefulsets", "create")
    grants = [Grant(WRITE, "b"), Grant(create, "b")]
    applied = event("patch", "statefulsets", group="apps", namespace="b", name="x")
    assert compare(grants, [applied | {"responseStatus": {"code": 200}}], ACCOUNT).unused == [create]
    assert compare(grants, [applied | {"responseStatus": {"code": 201}}], ACCOUNT).unused == []


def test_a_get_beside_a_used_list_of_the_same_objects_is_not_too_much() -> None:
    get = Right("Role other", "", "pods", "get")
    assert compare([Grant(READ), Grant(get, "a")], [event("list", "pods")], ACCOUNT).unused == []
    assert compare([Grant(READ), Grant(get, "a")], [], ACCOUNT).unused == [READ, get]
    assert compare([Grant(READ, "a"), Grant(get)], [event("list", "pods", namespace="a")], ACCOUNT).unused == [get]


def test_an_excused_right_may_stay_unused() -> None:
    assert compare(GRANTS, EVERYTHING[:2], ACCOUNT, {STATUS: "only after a failure"}).text() == ""


def test_an_excuse_for_a_right_that_was_used_or_is_not_granted_is_reported() -> None:
    gone = Right(READER, "", "nodes", "delete")
    usage = compare(GRANTS, EVERYTHING, ACCOUNT, {READ: "rare", gone: "once needed"})
    assert usage.needless == [gone, READ]
    assert "take the excuse away" in usage.text()


def manifests(**rule: Any) -> list[dict[str, Any]]:
    role = {"kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": [rule]}
    binding = {
        "kind": "RoleBinding",
        "metadata": {"name": "b", "namespace": "a"},
        "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT.name, "namespace": ACCOUNT.namespace}],
    }
    return [role, binding]


def test_rights_follow_the_bindings_of_the_account() -> None:
    rendered = manifests(apiGroups=[""], resources=["pods"], verbs=["list"])
    assert rights_of(rendered, ACCOUNT) == [Grant(READ, "a")]
    assert rights_of(rendered, ServiceAccount("jil-system", "another")) == []


@pytest.mark.parametrize(
    "rule",
    [
        {"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods/*"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]},
    ],
)
def test_a_wildcard_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="wildcard"):
        rights_of(manifests(**rule), ACCOUNT)


def test_a_binding_to_a_role_that_is_not_rendered_is_refused() -> None:
    _, binding = manifests(apiGroups=[""], resources=["pods"], verbs=["list"])
    with pytest.raises(ValueError, match="not rendered"):
        rights_of([binding], ACCOUNT)
