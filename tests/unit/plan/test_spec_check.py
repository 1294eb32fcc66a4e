"""Each wrong reference gives one clear reason with the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from jil.api.conditions import Reason
from jil.api.jurisdiction import JILJurisdiction
from jil.api.network import Disruption, JILNetwork
from jil.api.node import JILNode
from jil.api.record import JILNodeRecord
from jil.api.release import JILRelease
from jil.api.trust import Track, TrustSpec
from jil.plan.spec_check import Resolved, SpecProblem, claim_problem, resolve
from tests.cluster.api.case import TRUST
from tests.unit.render import samples

NAMESPACE = "jil-ch-finma"
GOOD_LABELS = {"jil.io/network": "jil", "jil.io/jurisdiction": "ch-finma"}


def a_node(name: str = "ch-zug-01", namespace: str = NAMESPACE, **spec: Any) -> JILNode:
    return JILNode.parse(
        {
            "metadata": {"name": name, "namespace": namespace, "uid": "node-uid"},
            "spec": {**samples.ZURICH, **spec},
        }
    )


def a_jurisdiction(name: str = "ch-finma", **spec: Any) -> JILJurisdiction:
    return JILJurisdiction.parse(
        {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"zone": "CH/FINMA", "network": "jil", "release": "r1", **spec},
        }
    )


NETWORKS = {"jil": JILNetwork(metadata={"name": "jil"}, spec=samples.network())}  # type: ignore[arg-type]
RELEASES = {"r1": JILRelease(metadata={"name": "r1"}, spec=samples.release())}  # type: ignore[arg-type]


def _resolve(node: JILNode | None = None, **changes: Any) -> Resolved | SpecProblem:
    values: dict[str, Any] = {
        "namespace_labels": GOOD_LABELS,
        "jurisdictions": [a_jurisdiction()],
        "networks": NETWORKS,
        "releases": RELEASES,
        **changes,
    }
    return resolve(node or a_node(), **values)


def test_a_node_whose_references_exist_is_resolved() -> None:
    resolved = _resolve()
    assert isinstance(resolved, Resolved)
    assert resolved.member.node_id == "CH-ZUG-01"


@pytest.mark.parametrize(
    ("reason", "remedy", "node", "changes"),
    [
        (Reason.JURISDICTION_NOT_FOUND, "kubectl apply", None, {"jurisdictions": []}),
        (
            Reason.SECOND_JURISDICTION,
            "kubectl delete",
            None,
            {"jurisdictions": [a_jurisdiction(), a_jurisdiction("other")]},
        ),
        (Reason.NAMESPACE_NOT_LABELLED, "kubectl label namespace", None, {"namespace_labels": {}}),
        (
            Reason.NAMESPACE_NOT_LABELLED,
            "jil.io/network=jil",
            None,
            {"namespace_labels": {**GOOD_LABELS, "jil.io/network": "other"}},
        ),
        (Reason.NETWORK_NOT_FOUND, "kubectl get jnet", None, {"networks": {}}),
        (Reason.RELEASE_NOT_FOUND, "apply it", None, {"releases": {}}),
        (Reason.NODE_ID_NOT_MEMBER, "adding", a_node(nodeId="CH-ZUG-99"), {}),
        (Reason.NODE_ID_NOT_MEMBER, "in namespace jil-sg-mas", a_node(nodeId="SG-MAS-01"), {}),
        (Reason.NAME_TOO_LONG, "ch-zug-01", a_node(name="n" * 31), {}),
        (Reason.UNKNOWN_SERVICE, "transfers", a_node(services=[{"name": "nope", "replicas": 2}]), {}),
    ],
)
def test_a_wrong_reference_is_refused_with_its_reason_and_remedy(
    reason: Reason, remedy: str, node: JILNode | None, changes: dict[str, Any]
) -> None:
    problem = _resolve(node, **changes)
    assert isinstance(problem, SpecProblem)
    assert problem.reason is reason
    assert remedy in problem.message


def a_record(**owner: str) -> JILNodeRecord:
    return JILNodeRecord.parse(
        {
            "metadata": {"name": "ch-zug-01", "namespace": "jil-system"},
            "spec": {
                "nodeId": "CH-ZUG-01",
                "network": "jil",
                "owner": {"namespace": NAMESPACE, "name": "ch-zug-01", "uid": "node-uid", **owner},
                "clusterUID": "cluster",
                "templateVersion": 1,
            },
        }
    )


def test_i4_a_node_that_was_deleted_and_applied_again_takes_up_its_record() -> None:
    assert claim_problem(a_node(), a_record(uid="older"), owner_exists=False) is None


def test_a_node_id_of_another_namespace_is_refused_even_when_that_node_is_gone() -> None:
    problem = claim_problem(a_node(), a_record(namespace="jil-other", uid="other"), owner_exists=False)
    assert problem is not None
    assert problem.reason is Reason.NODE_ID_CLAIMED


def test_a_node_id_in_use_under_another_name_is_refused_and_after_its_end_taken_up() -> None:
    record = a_record(name="old-name", uid="other")
    assert claim_problem(a_node(), record, owner_exists=True) is not None
    assert claim_problem(a_node(), record, owner_exists=False) is None


@pytest.mark.parametrize("track", ["testnet", "mainnet"])
def test_i6_beyond_devnet_a_node_waits_for_a_namespace_that_admits_signed_images_only(track: str) -> None:
    spec = NETWORKS["jil"].spec
    network = JILNetwork(
        metadata={"name": "jil"},  # type: ignore[arg-type]
        spec=spec.model_copy(
            update={"track": Track(track), "trust": TrustSpec.model_validate(TRUST), "disruption": Disruption()}
        ),
    )
    found = _resolve(networks={"jil": network})
    assert isinstance(found, SpecProblem)
    assert found.reason is Reason.TRUST_NOT_ENFORCED
    assert "--set imageTrust=required" in found.message
    for value in ("off", ""):
        wrong = _resolve(networks={"jil": network}, namespace_labels={**GOOD_LABELS, "jil.io/image-trust": value})
        assert isinstance(wrong, SpecProblem)
    required = {**GOOD_LABELS, "jil.io/image-trust": "required"}
    assert isinstance(_resolve(networks={"jil": network}, namespace_labels=required), Resolved)
