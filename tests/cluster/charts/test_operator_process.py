"""The operator itself, as a process with the token of the chart's ServiceAccount, on a cluster with the chart's guards.

There is no kubelet, so no pod runs: this shows that everything up to there needs no right that the chart does not grant,
and that no guard stands in the operator's way. That no right is too many shows in a run on a cluster with pods.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.controlplane import ControlPlane
from testbed.processes import tail
from tests.cluster.charts import rig
from tests.cluster.charts.rig import JURISDICTION, SYSTEM, Helm, eventually
from tests.rbac_usage import ServiceAccount, compare, rights_of, uses_of
from tests.unit.charts.rendering import CHARTS, jurisdiction, operator

ACCOUNT = ServiceAccount(SYSTEM, "jil-operator")
NODE = f"/apis/jil.io/v1alpha1/namespaces/{JURISDICTION}/jilnodes/ch-zug-01"
VALUES = "jurisdiction.create=true,jurisdiction.zone=CH/FINMA,jurisdiction.release=jil-1-0-0"


@pytest.fixture(scope="module")
def run() -> Iterator[tuple[ControlPlane, list[dict[str, Any]]]]:
    """A control plane on which the operator has brought one node as far as it gets, and the audit log of that."""
    with ControlPlane() as cluster:
        helm = Helm(cluster)
        helm.upgrade_operator()
        helm.upgrade_jurisdiction("--set", VALUES)
        start = cluster.audit_position()
        admin = cluster.admin
        for component in ("database", "cache", "broker", "validator"):
            volume = rig.volume(component, ours=False)
            mode = "ReadWriteOncePod" if component == "validator" else "ReadWriteOnce"
            volume["spec"] |= {"capacity": {"storage": "10Gi"}, "persistentVolumeReclaimPolicy": "Delete"}
            volume["spec"]["accessModes"] = [mode]
            admin.create("/api/v1/persistentvolumes", volume)
        admin.create("/apis/jil.io/v1alpha1/jilnetworks", rig.jil_network("jil-devnet"))
        admin.create("/apis/jil.io/v1alpha1/jilreleases", rig.jil_release("jil-1-0-0"))
        admin.create(NODE.rpartition("/")[0], rig.jil_node("ch-zug-01"))
        process = _start(cluster)
        try:
            eventually(lambda: _as_far_as_it_gets(cluster), "the node to wait for its pods", 180)
        except AssertionError as late:
            status = json.dumps(cluster.admin.get(NODE).get("status", {}), indent=1)
            raise AssertionError(f"{late}\n{status}\n{tail(cluster.folder / 'operator.log', 6000)}") from late
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)
        yield cluster, list(cluster.audit_entries(start))


def _start(cluster: ControlPlane) -> subprocess.Popen[bytes]:
    kubeconfig = cluster.kubeconfig_for_service_account(ACCOUNT.namespace, ACCOUNT.name)
    environment = {
        **os.environ,
        "PYTHONPATH": str(CHARTS.parent / "operator"),
        "JIL_KUBECONFIG": str(kubeconfig),
        "JIL_HTTP_PORT": "0",
        "JIL_POD_NAME": "operator",
    }
    with (cluster.folder / "operator.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "jil.controller"], env=environment, stdout=log, stderr=log)


def _as_far_as_it_gets(cluster: ControlPlane) -> bool:
    conditions = cluster.admin.get(NODE).get("status", {}).get("conditions", [])
    met = {condition["type"] for condition in conditions if condition["status"] == "True"}
    volumes = cluster.admin.get("/api/v1/persistentvolumes")["items"]
    retained = [volume for volume in volumes if volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"]
    sets = cluster.admin.get(f"/apis/apps/v1/namespaces/{JURISDICTION}/statefulsets")["items"]
    return met >= {"SpecValid", "IdentityReady"} and len(sets) == len(retained) == 4


def test_the_operator_asks_for_nothing_that_the_chart_does_not_grant(
    run: tuple[ControlPlane, list[dict[str, Any]]],
) -> None:
    grants = rights_of([*operator(), *jurisdiction()], ACCOUNT)
    assert len(uses_of(run[1], ACCOUNT)) > 20
    assert compare(grants, run[1], ACCOUNT).ungranted == []


def test_no_guard_stands_in_the_operators_way(run: tuple[ControlPlane, list[dict[str, Any]]]) -> None:
    refused = [
        entry["annotations"]["validation.policy.admission.k8s.io/validation_failure"]
        for entry in run[1]
        if entry["user"]["username"] == ACCOUNT.username
        and "validation.policy.admission.k8s.io/validation_failure" in (entry.get("annotations") or {})
    ]
    assert refused == []


def test_i5_every_secret_that_the_operator_made_is_guarded(run: tuple[ControlPlane, list[dict[str, Any]]]) -> None:
    cluster, _ = run
    for namespace, count in ((SYSTEM, 3), (JURISDICTION, 3)):
        secrets = cluster.admin.get(f"/api/v1/namespaces/{namespace}/secrets")["items"]
        made = [secret for secret in secrets if not secret["type"].startswith("helm.sh/")]
        assert len(made) == count
        for secret in made:
            path = f"/api/v1/namespaces/{namespace}/secrets/{secret['metadata']['name']}"
            assert "is guarded against deletion" in rig.refusal(lambda path=path: cluster.admin.delete(path))  # type: ignore[misc]


def test_i4_every_claim_that_the_operator_made_is_guarded(run: tuple[ControlPlane, list[dict[str, Any]]]) -> None:
    cluster, _ = run
    claims = f"/api/v1/namespaces/{JURISDICTION}/persistentvolumeclaims"
    found = [claim["metadata"]["name"] for claim in cluster.admin.get(claims)["items"]]
    assert len(found) == 4
    for name in found:
        assert "is guarded against deletion" in rig.refusal(lambda name=name: cluster.admin.delete(f"{claims}/{name}"))  # type: ignore[misc]


def test_i10_nothing_of_a_users_object_but_its_finalizer_is_the_operators(
    run: tuple[ControlPlane, list[dict[str, Any]]],
) -> None:
    node = run[0].admin.get(NODE)
    assert "annotations" not in node["metadata"]
    assert "labels" not in node["metadata"]
    for entry in node["metadata"]["managedFields"]:
        if entry["manager"].startswith("jil-operator") and entry.get("subresource") != "status":
            assert set(entry["fieldsV1"]) == {"f:metadata"}
            assert set(entry["fieldsV1"]["f:metadata"]) == {"f:finalizers"}
