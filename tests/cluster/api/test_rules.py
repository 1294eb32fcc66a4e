"""Every CEL rule on a real API server: it refuses what it should, in words that help, and nothing hides it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from testbed.apiclient import ApiClient, ApiError
from testbed.controlplane import ControlPlane
from testbed.processes import wait_until
from tests.cluster.api.conftest import Manifest, checked_in, collection
from tests.cluster.api.rule_cases import BASES, CASES, Case
from tests.waiting import PATIENCE_S

VALIDATIONS = "x-kubernetes-validations"


def _rules(crd: Manifest) -> Iterator[tuple[str, list[Manifest]]]:
    """(path, rules) of every node of a CRD's schema that has rules."""

    def walk(node: Manifest, path: str) -> Iterator[tuple[str, list[Manifest]]]:
        if VALIDATIONS in node:
            yield path, node[VALIDATIONS]
        for name, sub in node.get("properties", {}).items():
            yield from walk(sub, f"{path}.{name}" if path else name)
        if "items" in node:
            yield from walk(node["items"], path + "[]")
        if "additionalProperties" in node:
            yield from walk(node["additionalProperties"], path + "[*]")

    yield from walk(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "")


RULES: dict[tuple[str, str, str], Manifest] = {
    (kind, path, rule["message"]): rule
    for kind, crd in checked_in().items()
    for path, rules in _rules(crd)
    for rule in rules
}


def _cases_of(kind: str, path: str, message: str) -> list[Case]:
    return [c for c in CASES if (c.kind, c.path) == (kind, path) and message.startswith(c.rule)]


def _rule_of(case: Case) -> Manifest:
    (rule,) = [
        rule
        for (kind, path, message), rule in RULES.items()
        if (kind, path) == (case.kind, case.path) and message.startswith(case.rule)
    ]
    return rule


def _case_id(case: Case) -> str:
    fault = ",".join(f"{path.rpartition('/')[2]}={str(value)[:24]}" for path, value in case.fault.items())
    return f"{case.kind}:{case.path or '(root)'}:{case.rule}:{fault}"


def _body(manifest: Manifest, crd: Manifest) -> Manifest:
    names = crd["spec"]
    return {"apiVersion": f"{names['group']}/v1alpha1", "kind": names["names"]["kind"], **manifest}


def _void(_: Any) -> None:
    """Drop an answer."""


def _attempt(admin: ApiClient, case: Case, crd: Manifest, namespace: str) -> Callable[[], None]:
    """The refused request as a callable, its stored object (if any) made; ``dryRun``, so it can be repeated."""
    path = collection(crd, namespace)
    if not case.is_transition:
        return lambda: _void(admin.create(f"{path}?dryRun=All", _body(case.new, crd)))
    stored = admin.create(path, _body(case.old, crd))
    update = _body(case.new, crd)
    update["metadata"] = {**stored["metadata"], **update["metadata"]}
    return lambda: _void(admin.request("PUT", f"{path}/{stored['metadata']['name']}?dryRun=All", update))


def _forget(admin: ApiClient, case: Case, crd: Manifest, namespace: str) -> None:
    if case.is_transition:
        admin.delete(f"{collection(crd, namespace)}/{case.old['metadata']['name']}")


def _schema_path(field: str) -> str:
    """``spec.members[1].power`` -> ``spec.members[].power``, as rules are addressed."""
    return re.sub(r"\[\d+]", "[]", field)


@pytest.mark.parametrize("rule", RULES, ids=lambda key: f"{key[0]}:{key[1] or '(root)'}:{key[2][:40]}")
def test_every_rule_has_a_refused_case(rule: tuple[str, str, str]) -> None:
    assert _cases_of(*rule), f"no case in rule_cases.py is refused by {rule}"


def test_no_case_is_about_a_rule_that_does_not_exist() -> None:
    covered = [case for rule in RULES for case in _cases_of(*rule)]
    assert [_case_id(case) for case in CASES if case not in covered] == []


@pytest.mark.parametrize("kind", BASES)
def test_base_object_is_admitted(
    kind: str, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    path = collection(crds[kind], namespace)
    control_plane.admin.create(f"{path}?dryRun=All&fieldValidation=Strict", _body(BASES[kind], crds[kind]))


@pytest.mark.parametrize("case", CASES, ids=_case_id)
def test_rule_refuses_the_fault_and_admits_its_twin(
    case: Case, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    admin, crd = control_plane.admin, crds[case.kind]
    twin = case.new if case.is_transition else case.old
    admin.create(f"{collection(crd, namespace)}?dryRun=All&fieldValidation=Strict", _body(twin, crd))
    attempt = _attempt(admin, case, crd, namespace)
    try:
        with pytest.raises(ApiError) as refusal:
            attempt()
    finally:
        _forget(admin, case, crd, namespace)
    assert refusal.value.code == 422, refusal.value
    (cause,) = refusal.value.body["details"]["causes"]
    says = case.says or _rule_of(case)["message"]
    assert says in cause["message"]
    if not case.path.endswith("[*]"):
        assert _schema_path(cause["field"]) == (case.path or "<nil>")


@pytest.mark.parametrize("rule", RULES, ids=lambda key: f"{key[0]}:{key[1] or '(root)'}:{key[2][:40]}")
def test_without_the_rule_its_cases_are_admitted(
    rule: tuple[str, str, str],
    control_plane: ControlPlane,
    tamper: Callable[[str, Callable[[Manifest], None]], Manifest],
    namespace: str,
) -> None:
    """So that no rule stands in another's shadow: deleting it from the models makes the test above fail."""
    kind, path, message = rule

    def without(crd: Manifest) -> None:
        (rules,) = [rules for at, rules in _rules(crd) if at == path]
        (found,) = [entry for entry in rules if entry["message"] == message]
        rules.remove(found)

    crd = tamper(kind, without)
    refusals: list[str] = []
    for case in _cases_of(*rule):
        attempt = _attempt(control_plane.admin, case, crd, namespace)

        def admitted(attempt: Callable[[], None] = attempt) -> bool:
            try:
                attempt()
            except ApiError as error:
                refusals.append(str(error))
                return False
            return True

        try:
            # The API server takes the changed CRD up a moment after it has answered.
            wait_until(admitted, f"{_case_id(case)} to be admitted without its rule", PATIENCE_S)
        except Exception as error:
            raise AssertionError(f"still refused: {refusals[-1]}") from error
        finally:
            _forget(control_plane.admin, case, crd, namespace)
