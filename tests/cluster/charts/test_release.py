"""The life of the releases: install, upgrade, uninstall, install again, a second manager."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jil.api.versions import SUPPORTED_MINORS

from testbed.controlplane import ControlPlane
from tests.cluster.charts import rig
from tests.cluster.charts.rig import CONFIRM, JURISDICTION, SYSTEM, Helm, eventually
from tests.unit.charts.rendering import CHARTS, IMAGE, jurisdiction, operator

DEPLOYMENT = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/jil-operator"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDING = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{JURISDICTION}/rolebindings/jil-operator"
NODES = f"/apis/jil.io/v1alpha1/namespaces/{JURISDICTION}/jilnodes"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    """A control plane whose releases the tests of this file change; each begins with installed_anew."""
    with ControlPlane() as running:
        yield running


@pytest.fixture
def helm(cluster: ControlPlane) -> Helm:
    """Both charts installed with their default values, whatever the test before left."""
    made = Helm(cluster.kubeconfig)
    made.upgrade_operator()
    made.upgrade_jurisdiction()
    return made


def names(cluster: ControlPlane, collection: str) -> set[str]:
    return {item["metadata"]["name"] for item in cluster.admin.get(collection)["items"]}


def jil_crds(cluster: ControlPlane) -> set[str]:
    return {name for name in names(cluster, CRDS) if name.endswith(".jil.io")}


def test_install_makes_a_deployment_by_digest_and_says_what_to_do_next(cluster: ControlPlane, helm: Helm) -> None:
    notes = helm.upgrade_operator()
    (container,) = cluster.admin.get(DEPLOYMENT)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE
    assert "helm test jil-operator -n jil-system" in notes
    assert "jil.io/confirm-delete=<name>" in notes
    assert "WARNING" not in notes


def test_the_crds_are_established_and_serve_their_kinds(cluster: ControlPlane, helm: Helm) -> None:
    assert len(jil_crds(cluster)) >= 5
    for name in jil_crds(cluster):
        conditions = {c["type"]: c["status"] for c in cluster.admin.get(f"{CRDS}/{name}")["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions["NamesAccepted"] == "True"
        assert "NonStructuralSchema" not in conditions


def test_the_api_server_finds_no_fault_in_the_types_of_the_guards(cluster: ControlPlane, helm: Helm) -> None:
    def checked() -> bool:
        return all("typeChecking" in item.get("status", {}) for item in cluster.admin.get(POLICIES)["items"])

    eventually(checked, "the policies to be type-checked")
    for item in cluster.admin.get(POLICIES)["items"]:
        assert item["status"]["typeChecking"].get("expressionWarnings", []) == [], item["metadata"]["name"]


def test_a_second_release_of_the_operator_is_refused(helm: Helm) -> None:
    arguments = ("install", "second", str(CHARTS / "jil-operator"), "-n", "default", "--set", f"image.ref={IMAGE}")
    result = helm.run(*arguments)
    assert result.returncode != 0
    assert "invalid ownership metadata" in result.stderr


def test_an_upgrade_changes_only_what_the_values_changed(cluster: ControlPlane, helm: Helm) -> None:
    before = cluster.admin.get(DEPLOYMENT)
    helm.upgrade_operator("--set", "replicas=2")
    after = cluster.admin.get(DEPLOYMENT)
    assert after["spec"]["replicas"] == 2
    del before["spec"]["template"]["spec"]["containers"], after["spec"]["template"]["spec"]["containers"]
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
    assert cluster.admin.exists(f"/apis/policy/v1/namespaces/{SYSTEM}/poddisruptionbudgets/jil-operator")


def test_turning_the_guards_off_is_said_loudly(cluster: ControlPlane, helm: Helm) -> None:
    off = ("guards.deletion", "guards.startPermit", "guards.usersObjects")
    notes = helm.upgrade_operator("--set", ",".join(f"{value}=false" for value in off))
    for value in off:
        assert f"WARNING: {value} is off." in notes
    assert not {name for name in names(cluster, POLICIES) if name.startswith("jil-")}


def test_an_upgrade_of_the_chart_upgrades_the_crds(cluster: ControlPlane, helm: Helm, tmp_path: Path) -> None:
    chart = tmp_path / "jil-operator"
    shutil.copytree(CHARTS / "jil-operator", chart)
    file = chart / "files/crds/jil.io_jilreleases.yaml"
    crd = yaml.safe_load(file.read_text())
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["later"] = {"type": "string", "maxLength": 10, "description": "A field of the next version."}
    file.write_text(yaml.safe_dump(crd, sort_keys=False))
    helm.upgrade_operator(chart=chart)
    served = cluster.admin.get(f"{CRDS}/jilreleases.jil.io")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert "later" in served["properties"]["spec"]["properties"]


def test_the_same_values_twice_change_no_object(cluster: ControlPlane, helm: Helm) -> None:
    start = cluster.audit_position()
    helm.upgrade_operator()
    helm.upgrade_jurisdiction()
    written = {
        f"{entry['verb']} {entry['objectRef']['resource']}"
        for entry in cluster.audit_entries(start)
        if entry["user"]["username"] == "admin" and entry["verb"] in ("create", "update", "patch", "delete")
    }
    # Secrets are helm's own book-keeping of revisions. A default of the API server that a template leaves out of a list
    # (such as scope of a policy's rule) would show here, and in Argo CD as an endless difference.
    assert written <= {"create secrets", "update secrets", "delete secrets"}


def test_a_second_manager_that_applies_the_rendered_objects_twice_sees_no_drift(
    cluster: ControlPlane, helm: Helm
) -> None:
    kubectl = [str(cluster.kubectl), "--kubeconfig", str(cluster.kubeconfig)]
    manifests = [
        manifest
        for manifest in [*operator(), *jurisdiction()]
        if "helm.sh/hook" not in manifest["metadata"].get("annotations", {})
    ]
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})

    def versions() -> dict[str, str]:
        applied = subprocess.run(
            [*kubectl, "apply", "--server-side", "--field-manager=argocd-controller", "--force-conflicts", "-o", "json",
             "-f", "-"],
            input=document, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert applied.returncode == 0, applied.stderr
        items = json.loads(applied.stdout)["items"]
        return {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in items}

    first = versions()
    assert len(first) == len(manifests)
    assert versions() == first


def test_uninstall_leaves_crds_nodes_and_their_workloads(cluster: ControlPlane, helm: Helm) -> None:
    admin = cluster.admin
    admin.apply(f"{NODES}/ch-zug-01", rig.jil_node("ch-zug-01"))
    crds = jil_crds(cluster)
    selector = {"matchLabels": {"app": "ch-zug-01-validator"}}
    template = {"metadata": {"labels": {"app": "ch-zug-01-validator"}}, "spec": rig.pod("x")["spec"]}
    workload = f"/apis/apps/v1/namespaces/{JURISDICTION}/statefulsets"
    made = admin.create(
        workload,
        {
            "metadata": {"name": "ch-zug-01-validator", "labels": {"app.kubernetes.io/managed-by": "jil-operator"}},
            "spec": {"serviceName": "x", "selector": selector, "template": template},
        },
    )
    pod = f"/api/v1/namespaces/{JURISDICTION}/pods/ch-zug-01-validator-0"
    eventually(lambda: admin.exists(pod), "the pod of the StatefulSet")
    before = admin.get(pod)["metadata"]["uid"]

    helm("uninstall", "jil-operator", "-n", SYSTEM, "--wait", "--timeout", "30s")
    assert not admin.exists(DEPLOYMENT)
    assert not {name for name in names(cluster, POLICIES) if name.startswith("jil-")}
    assert jil_crds(cluster) == crds
    assert admin.get(f"{NODES}/ch-zug-01")["metadata"]["name"] == "ch-zug-01"
    assert admin.get(f"{workload}/ch-zug-01-validator")["metadata"]["uid"] == made["metadata"]["uid"]
    assert admin.get(pod)["metadata"]["uid"] == before

    helm.upgrade_operator()
    assert jil_crds(cluster) == crds
    assert admin.exists(DEPLOYMENT)
    admin.delete(f"{workload}/ch-zug-01-validator")


def test_i4_uninstalling_a_jurisdiction_takes_the_operators_rights_and_leaves_namespace_and_nodes(
    cluster: ControlPlane, helm: Helm
) -> None:
    admin = cluster.admin
    values = "jurisdiction.create=true,jurisdiction.zone=CH/FINMA,jurisdiction.release=jil-1-0-0,quota.pods=50"
    helm.upgrade_jurisdiction("--set", values)
    admin.apply(f"{NODES}/ch-zug-01", rig.jil_node("ch-zug-01"))
    own = f"/apis/jil.io/v1alpha1/namespaces/{JURISDICTION}/jiljurisdictions/ch-finma"
    uid = admin.get(f"/api/v1/namespaces/{JURISDICTION}")["metadata"]["uid"]
    assert admin.get(own)["spec"] == {"zone": "CH/FINMA", "network": "jil-devnet", "release": "jil-1-0-0"}

    helm("uninstall", "ch-finma", "-n", SYSTEM, "--wait", "--timeout", "30s")
    assert not admin.exists(BINDING)
    assert not admin.exists(f"/api/v1/namespaces/{JURISDICTION}/resourcequotas/jil")
    assert admin.get(f"/api/v1/namespaces/{JURISDICTION}")["metadata"]["uid"] == uid
    assert admin.exists(own)
    assert admin.exists(f"{NODES}/ch-zug-01")

    helm.upgrade_jurisdiction("--set", values)
    assert admin.exists(BINDING)


def test_the_jurisdictions_namespace_has_its_labels_and_is_restricted(cluster: ControlPlane, helm: Helm) -> None:
    labels = cluster.admin.get(f"/api/v1/namespaces/{JURISDICTION}")["metadata"]["labels"]
    assert (
        labels.items()
        >= {
            "jil.io/network": "jil-devnet",
            "jil.io/jurisdiction": "ch-finma",
            "pod-security.kubernetes.io/enforce": "restricted",
        }.items()
    )


def test_moving_a_jurisdiction_to_another_network_is_refused_by_the_guard(cluster: ControlPlane, helm: Helm) -> None:
    result = helm.run(
        "upgrade", "ch-finma", str(CHARTS / "jil-jurisdiction"), "-n", SYSTEM,
        *rig.JURISDICTION_VALUES, "--set", "network=another",
    )  # fmt: skip
    assert result.returncode != 0
    assert "label jil.io/network of namespace jil-ch-finma" in result.stderr


@pytest.mark.parametrize("which", ["Deployment", "Pod"])
def test_a_restricted_namespace_admits_the_pods_of_the_chart(cluster: ControlPlane, helm: Helm, which: str) -> None:
    found = next(manifest for manifest in operator() if manifest["kind"] == which)
    template = found["spec"]["template"] if which == "Deployment" else found
    made = {"metadata": {"name": "restricted", "namespace": JURISDICTION}, "spec": dict(template["spec"])}
    made["spec"] |= {"serviceAccountName": "default"}
    cluster.admin.create(f"/api/v1/namespaces/{JURISDICTION}/pods?dryRun=All", made)


def test_the_notes_of_a_namespace_made_elsewhere_print_the_command_for_its_labels(
    cluster: ControlPlane, helm: Helm
) -> None:
    cluster.admin.apply("/api/v1/namespaces/own", rig.namespace("own", {}))
    notes = helm(
        "upgrade", "--install", "own", str(CHARTS / "jil-jurisdiction"), "-n", SYSTEM,
        "--set", "namespace.name=own,namespace.create=false,network=jil-devnet,jurisdiction.name=own",
    )  # fmt: skip
    (command,) = (line.strip() for line in notes.splitlines() if "kubectl label" in line)
    done = subprocess.run(
        [str(cluster.kubectl), "--kubeconfig", str(cluster.kubeconfig), *command.split()[1:]],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    labels = cluster.admin.get("/api/v1/namespaces/own")["metadata"]["labels"]
    assert labels["jil.io/network"] == "jil-devnet"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    cluster.admin.merge("/api/v1/namespaces/own", {"metadata": {"annotations": {CONFIRM: "own"}}})


def test_the_oldest_supported_kubernetes_takes_the_charts_and_enforces_every_guard() -> None:
    major, minor = SUPPORTED_MINORS[0]
    with ControlPlane(apiserver_flags=[f"--emulated-version={major}.{minor}"]) as old:
        made = Helm(old.kubeconfig)
        made.upgrade_operator()
        made.upgrade_jurisdiction()
        old.admin.create("/api/v1/namespaces", rig.namespace(rig.ELSEWHERE, {}))
        rig.wait_for_guards(old)
