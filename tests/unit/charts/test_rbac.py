"""Rights that must never appear, whatever the golden table says."""

from __future__ import annotations

import pytest

from tests.rbac_usage import Grant, rights_of
from tests.unit.charts.goldens import ACCOUNT
from tests.unit.charts.rendering import Manifest, jurisdiction, of_kind, only, operator

WRITES = {"create", "update", "patch", "delete", "deletecollection"}


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return [*operator(), *jurisdiction()]


@pytest.fixture(scope="module")
def grants(manifests: list[Manifest]) -> list[Grant]:
    return rights_of(manifests, ACCOUNT)


def verbs(grants: list[Grant], resource: str, namespace: str | None = None, group: str = "") -> set[str]:
    return {
        grant.right.verb
        for grant in grants
        if (grant.right.group, grant.right.resource) == (group, resource) and namespace in (None, grant.namespace)
    }


def test_i5_the_operator_never_lists_watches_changes_or_deletes_a_secret(grants: list[Grant]) -> None:
    assert verbs(grants, "secrets") == {"get", "create"}
    assert verbs(grants, "secrets", namespace="") == set()


def test_i4_the_operator_cannot_delete_what_holds_data_or_identity(grants: list[Grant]) -> None:
    for group, resource in (
        ("", "secrets"),
        ("", "persistentvolumeclaims"),
        ("", "persistentvolumes"),
        ("", "namespaces"),
        ("jil.io", "jilnodes"),
        ("jil.io", "jilnetworks"),
        ("jil.io", "jilnoderecords"),
        ("jil.io", "jilimageallowlists"),
    ):
        assert not verbs(grants, resource, group=group) & {"delete", "deletecollection"}, resource


def test_i10_the_operator_has_no_verb_that_creates_or_replaces_a_users_object(grants: list[Grant]) -> None:
    for resource in ("jilnetworks", "jilreleases", "jiljurisdictions", "jiloperations"):
        assert verbs(grants, resource, group="jil.io") == {"get", "list", "watch"}
    # Finalizers live in metadata; guard jil-users-objects keeps the patch to them.
    assert verbs(grants, "jilnodes", group="jil.io") == {"get", "list", "watch", "patch"}


def test_the_operator_writes_workloads_only_where_an_admin_bound_it(grants: list[Grant]) -> None:
    everywhere = {f"{g.right.resource}.{g.right.group}" for g in grants if not g.namespace and g.right.verb in WRITES}
    assert everywhere == {
        "persistentvolumes.",
        "jilnodes.jil.io",
        "jilnodes/status.jil.io",
        "jilnetworks/status.jil.io",
        "jilreleases/status.jil.io",
        "jiljurisdictions/status.jil.io",
        "jiloperations/status.jil.io",
        # Guard jil-allow-list keeps everybody else out.
        "jilimageallowlists.jil.io",
    }


def test_nothing_lets_the_operator_raise_its_own_rights_or_run_code_in_a_pod(grants: list[Grant]) -> None:
    assert not {grant.right.verb for grant in grants} & {"escalate", "bind", "impersonate", "approve", "sign"}
    resources = {grant.right.resource for grant in grants}
    assert not resources & {"pods/exec", "pods/attach", "pods/portforward", "nodes/proxy", "serviceaccounts/token"}
    assert not {grant.right.group for grant in grants} & {
        "rbac.authorization.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "certificates.k8s.io",
    }


@pytest.mark.parametrize("resource", ["jilnoderecords", "jilimageallowlists"])
def test_what_the_operator_keeps_is_in_no_role_of_people_that_writes(manifests: list[Manifest], resource: str) -> None:
    for role in of_kind(manifests, "ClusterRole"):
        for rule in role["rules"]:
            if resource in rule["resources"] and role["metadata"]["name"] != ACCOUNT.name:
                assert not set(rule["verbs"]) & WRITES, role["metadata"]["name"]


def test_i6_the_verb_that_breaks_the_glass_is_in_one_role_that_nobody_gets_by_aggregation_or_binding(
    manifests: list[Manifest],
) -> None:
    roles = [*of_kind(manifests, "ClusterRole"), *of_kind(manifests, "Role")]
    (found,) = [role for role in roles if any("breakglass" in rule["verbs"] for rule in role["rules"])]
    assert found["metadata"]["name"] == "jil-operator-breakglass"
    assert not [label for label in found["metadata"]["labels"] if "aggregate" in label]
    bindings = [*of_kind(manifests, "ClusterRoleBinding"), *of_kind(manifests, "RoleBinding")]
    assert "jil-operator-breakglass" not in {binding["roleRef"]["name"] for binding in bindings}


def test_i1_the_verb_that_confirms_a_fence_is_in_one_role_that_nobody_gets_by_aggregation(
    manifests: list[Manifest],
) -> None:
    roles = [*of_kind(manifests, "ClusterRole"), *of_kind(manifests, "Role")]
    (found,) = [role for role in roles if any("confirmfencing" in rule["verbs"] for rule in role["rules"])]
    assert found["metadata"]["name"] == "jil-operator-fencing"
    assert not [label for label in found["metadata"]["labels"] if "aggregate" in label]


@pytest.mark.parametrize("name", ["view", "edit", "admin"])
def test_peoples_roles_are_added_to_kubernetes_own(manifests: list[Manifest], name: str) -> None:
    labels = only(manifests, "ClusterRole", f"jil-operator-{name}")["metadata"]["labels"]
    assert labels[f"rbac.authorization.k8s.io/aggregate-to-{name}"] == "true"


def test_no_role_has_a_wildcard(manifests: list[Manifest]) -> None:
    for role in (*of_kind(manifests, "ClusterRole"), *of_kind(manifests, "Role")):
        for rule in role["rules"]:
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}, role["metadata"]["name"]
