"""A JILOperation says who made it, and a BreakGlass takes a verb of its own and an end: on a real API server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from testbed.apiclient import ApiClient, ApiError
from tests.cluster.admission.conftest import Guarded
from tests.cluster.admission.objects import BROKEN, REQUIRED, SPACE
from tests.cluster.charts import rig
from tests.cluster.charts.rig import refusal
from tests.waiting import eventually

_numbers = count(1)
OPERATIONS = f"/apis/jil.io/v1alpha1/namespaces/{SPACE}/jiloperations"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def operation(requested_by: str, until: timedelta = timedelta(hours=4), **spec: Any) -> dict[str, Any]:
    number = next(_numbers)
    end = (datetime.now(UTC) + until).replace(microsecond=0)
    wanted = {
        "type": "BreakGlass",
        "requestId": f"INC-{number}",
        "requestedBy": requested_by,
        "reason": "the signer is down",
        "breakGlass": {"digest": BROKEN, "until": end.isoformat().replace("+00:00", "Z")},
    }
    kind = {"apiVersion": "jil.io/v1alpha1", "kind": "JILOperation"}
    return {**kind, "metadata": {"name": f"inc-{number}"}, "spec": wanted | spec}


def bind(guarded: Guarded, account: str, role: str, namespace: str = SPACE) -> None:
    subject = {"kind": "ServiceAccount", "name": account, "namespace": rig.ELSEWHERE}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    body = {"metadata": {"name": f"{account}-{role}"}, "roleRef": reference, "subjects": [subject]}
    guarded.admin.create(f"{RBAC}/namespaces/{namespace}/rolebindings", body)


def user(account: str) -> str:
    return f"system:serviceaccount:{rig.ELSEWHERE}:{account}"


@pytest.fixture(scope="module")
def people(guarded: Guarded) -> dict[str, ApiClient]:
    """``admin`` has Kubernetes' role of that name, ``breaker`` the role for break-glass, both in SPACE only."""
    roles = {"admin": "admin", "edit": "edit", "breaker": "jil-operator-breakglass"}
    for account, role in roles.items():
        path = f"/api/v1/namespaces/{rig.ELSEWHERE}/serviceaccounts"
        guarded.admin.create(path, {"metadata": {"name": account}})
        bind(guarded, account, role)
    found = {account: rig.as_service_account(guarded.cluster, rig.ELSEWHERE, account) for account in roles}
    # Kubernetes' own roles are aggregated by a controller, rule by rule.
    wanted = {"admin": ("get", "create"), "edit": ("get",), "breaker": ("create", "delete", "breakglass")}
    for account, verbs in wanted.items():
        for verb in verbs:
            asked = (found[account], SPACE, "jiloperations.jil.io", verb)
            eventually(lambda asked=asked: rig.may(*asked), f"{account} to be allowed to {verb}")  # type: ignore[misc]
    return found


def test_i9_an_operation_names_the_user_who_makes_it(people: dict[str, ApiClient]) -> None:
    dry = f"{OPERATIONS}?dryRun=All"
    people["breaker"].create(dry, operation(user("breaker")))
    message = refusal(lambda: people["breaker"].create(dry, operation("ops-lead")))
    assert f'it says "ops-lead", and you are "{user("breaker")}"' in message


def test_break_glass_takes_a_verb_that_no_role_of_kubernetes_has(people: dict[str, ApiClient]) -> None:
    message = refusal(lambda: people["admin"].create(OPERATIONS, operation(user("admin"))))
    assert f'user "{user("admin")}" may not break the glass in namespace {SPACE}' in message
    remedy = f"kubectl create rolebinding breakglass -n {SPACE} --clusterrole=jil-operator-breakglass"
    assert f"{remedy} --user={user('admin')}" in message


def test_i1_confirming_a_fence_takes_a_verb_that_no_role_of_kubernetes_has(
    people: dict[str, ApiClient], guarded: Guarded
) -> None:
    fenced = {"type": "ConfirmFencing", "confirmFencing": {"node": "ch-zug-01", "podUID": "2f0c"}}

    def confirmation(who: str) -> dict[str, Any]:
        body = operation(user(who), **fenced)
        del body["spec"]["breakGlass"]
        return body

    dry = f"{OPERATIONS}?dryRun=All"
    for account in ("admin", "breaker"):
        message = refusal(lambda account=account: people[account].create(dry, confirmation(account)))  # type: ignore[misc]
        assert f'user "{user(account)}" may not confirm in namespace {SPACE}' in message
        assert f"--clusterrole=jil-operator-fencing --user={user(account)}" in message
    bind(guarded, "admin", "jil-operator-fencing")

    eventually(lambda: people["admin"].create(dry, confirmation("admin")), "the verb to be in force")


def test_a_cluster_admin_has_the_verb_and_is_held_to_the_own_name(guarded: Guarded) -> None:
    name = guarded.admin.create(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
    )["status"]["userInfo"]["username"]
    guarded.admin.create(f"{OPERATIONS}?dryRun=All", operation(name))
    refusal(lambda: guarded.admin.create(f"{OPERATIONS}?dryRun=All", operation(user("breaker"))))


def test_the_verb_holds_in_the_namespace_where_it_was_given(people: dict[str, ApiClient], guarded: Guarded) -> None:
    # The right to create operations there, without the verb.
    bind(guarded, "breaker", "admin", REQUIRED)
    elsewhere = OPERATIONS.replace(SPACE, REQUIRED)

    eventually(lambda: rig.may(people["breaker"], REQUIRED, "jiloperations.jil.io", "create"), "the binding")
    message = refusal(lambda: people["breaker"].create(elsewhere, operation(user("breaker"))))
    assert f"may not break the glass in namespace {REQUIRED}" in message


@pytest.mark.parametrize(
    ("until", "admitted"),
    [
        (timedelta(seconds=-5), False),
        (timedelta(minutes=5), True),
        (timedelta(days=7, seconds=-60), True),
        (timedelta(days=7, seconds=120), False),
        (timedelta(days=365), False),
    ],
    ids=str,
)
def test_a_glass_is_broken_for_at_most_seven_days_from_its_creation(
    people: dict[str, ApiClient], until: timedelta, admitted: bool
) -> None:
    def create() -> Any:
        return people["breaker"].create(f"{OPERATIONS}?dryRun=All", operation(user("breaker"), until))

    if admitted:
        create()
        return
    with pytest.raises(ApiError, match="ValidatingAdmissionPolicy 'jil-operations'") as refused:
        create()
    assert refused.value.code == 422
    assert "must be between now (" in str(refused.value.body["message"])


def test_who_edits_a_namespace_neither_makes_nor_deletes_operations(people: dict[str, ApiClient]) -> None:
    made = people["breaker"].create(OPERATIONS, operation(user("breaker")))["metadata"]["name"]
    for call in (
        lambda: people["edit"].create(OPERATIONS, operation(user("edit"))),
        lambda: people["edit"].delete(f"{OPERATIONS}/{made}"),
    ):
        with pytest.raises(ApiError, match=r"cannot (create|delete) resource"):
            call()
    people["breaker"].delete(f"{OPERATIONS}/{made}")


def test_i10_the_operator_writes_the_status_of_an_operation_and_nothing_else(
    people: dict[str, ApiClient], guarded: Guarded
) -> None:
    made = people["breaker"].create(OPERATIONS, operation(user("breaker")))["metadata"]["name"]
    status = guarded.operator.merge(f"{OPERATIONS}/{made}/status", {"status": {"phase": "Active"}})["status"]
    assert status["phase"] == "Active"
    for verb in (
        lambda: guarded.operator.merge(f"{OPERATIONS}/{made}", {"metadata": {"labels": {"a": "b"}}}),
        lambda: guarded.operator.create(OPERATIONS, operation("x")),
        lambda: guarded.operator.delete(f"{OPERATIONS}/{made}"),
    ):
        with pytest.raises(ApiError, match=r"cannot (patch|create|delete) resource"):
            verb()
    people["breaker"].delete(f"{OPERATIONS}/{made}")
