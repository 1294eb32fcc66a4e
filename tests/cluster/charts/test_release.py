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
from testbed.apiclient import ApiError
from testbed.controlplane import ControlPlane
from tests.cluster.charts import rig
from tests.cluster.charts.rig import CONFIRM, CRDS, JURISDICTION, POLICIES, SYSTEM, Helm, eventually, jil_crds, names
from tests.unit.charts.rendering import CHARTS, IMAGE, jurisdiction, operator

DEPLOYMENT = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments/jil-operator"
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
    made = Helm(cluster)
    made.upgrade_operator()
    made.upgrade_jurisdiction()
    return made


def test_install_makes_a_deployment_by_digest_and_says_what_to_do_next(cluster: ControlPlane, helm: Helm) -> None:
    notes = helm.upgrade_operator()
    (container,) = cluster.admin.get(DEPLOYMENT)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == IMAGE
    assert "helm test jil-operator -n jil-system" in notes
    assert "jil.io/confirm-delete=<name>" in notes
    assert "WARNING" not in notes


def test_an_upgrade_changes_only_what_the_values_changed(cluster: ControlPlane, helm: Helm) -> None:
    before = cluster.admin.get(DEPLOYMENT)
    helm.upgrade_operator("--set", "replicas=2")
    after = cluster.admin.get(DEPLOYMENT)
    assert after["spec"]["replicas"] == 2
    del before["spec"]["template"]["spec"]["containers"], after["spec"]["template"]["spec"]["containers"]
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
    assert cluster.admin.exists(f"/apis/policy/v1/namespaces/{SYSTEM}/poddisruptionbudgets/jil-operator")


def test_turning_the_guards_off_is_said_loudly(cluster: ControlPlane, helm: Helm) -> None:
    off = tuple(
        f"guards.{name}" for name in ("deletion", "startPermit", "usersObjects", "secrets", "images", "operations")
    )
    notes = helm.upgrade_operator(*rig.NODE_LOGINS, "--set", ",".join(f"{value}=false" for value in off))
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
            input=document, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert applied.returncode == 0, applied.stderr
        items = json.loads(applied.stdout)["items"]
        return {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in items}

    def checked() -> bool:
        # The API server writes what it found out about the types of a policy into its status, in its own time.
        items = cluster.admin.get(POLICIES)["items"]
        return all(p["metadata"]["generation"] == p.get("status", {}).get("observedGeneration") for p in items)

    assert len(versions()) == len(manifests)
    eventually(checked, "the policies to be type-checked")
    # Controllers write the status of what the chart's upgrade has changed. Drift is what every round brings anew.
    eventually(lambda: versions() == versions(), "two rounds between which nothing changes")


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

    helm("uninstall", "jil-operator", "-n", SYSTEM, "--wait", "--timeout", "200s")
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


def test_a_release_of_another_name_takes_kept_crds_over_only_when_told_to(cluster: ControlPlane, helm: Helm) -> None:
    helm("uninstall", "jil-operator", "-n", SYSTEM)
    install = ("install", "other", str(CHARTS / "jil-operator"), "-n", SYSTEM, *rig.OPERATOR_VALUES)
    refused = helm.run(*install)
    assert refused.returncode != 0
    assert "invalid ownership metadata" in refused.stderr
    helm(*install, "--take-ownership")
    assert cluster.admin.exists(DEPLOYMENT)
    helm("uninstall", "other", "-n", SYSTEM)
    back = ("install", "jil-operator", str(CHARTS / "jil-operator"), "-n", SYSTEM, *rig.OPERATOR_VALUES)
    helm(*back, "--take-ownership")


@pytest.mark.timeout(900)
def test_everything_can_be_removed_for_good_in_the_documented_order(cluster: ControlPlane, helm: Helm) -> None:
    admin = cluster.admin
    admin.apply(f"{NODES}/ch-zug-01", rig.jil_node("ch-zug-01"))
    for path, name in ((f"{NODES}/ch-zug-01", "ch-zug-01"), (f"/api/v1/namespaces/{JURISDICTION}", JURISDICTION)):
        admin.merge(path, {"metadata": {"annotations": {CONFIRM: name}}})
        admin.delete(path)
    eventually(lambda: not admin.exists(f"/api/v1/namespaces/{JURISDICTION}"), "the jurisdiction to be gone", 240)
    helm("uninstall", "ch-finma", "-n", SYSTEM)
    helm("uninstall", "jil-operator", "-n", SYSTEM)
    eventually(lambda: not {name for name in names(cluster, POLICIES) if name.startswith("jil-")}, "the guards to go")
    for name in jil_crds(cluster):
        eventually(lambda name=name: _deleted(cluster, f"{CRDS}/{name}"), f"{name} to be let go")  # type: ignore[misc]
    # The API server's own finalizer looks every 5 s whether the objects of a kind are gone, for up to a minute at a time.
    eventually(lambda: not jil_crds(cluster), "the CRDs to be gone", 240)
    admin.delete(f"/api/v1/namespaces/{SYSTEM}")
    eventually(lambda: not admin.exists(f"/api/v1/namespaces/{SYSTEM}"), "the system namespace to be gone", 240)


def _deleted(cluster: ControlPlane, path: str) -> bool:
    """The API server goes on enforcing a policy for a moment after it was deleted."""
    try:
        cluster.admin.delete(path)
    except ApiError as error:
        assert error.code in (403, 404), error  # noqa: PT017
        return error.code == 404
    return True


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

    helm("uninstall", "ch-finma", "-n", SYSTEM, "--wait", "--timeout", "200s")
    assert not admin.exists(BINDING)
    assert not admin.exists(f"/api/v1/namespaces/{JURISDICTION}/resourcequotas/jil")
    assert admin.get(f"/api/v1/namespaces/{JURISDICTION}")["metadata"]["uid"] == uid
    assert admin.exists(own)
    assert admin.exists(f"{NODES}/ch-zug-01")

    helm.upgrade_jurisdiction("--set", values)
    assert admin.exists(BINDING)


def test_the_oldest_supported_kubernetes_takes_the_charts_and_enforces_every_guard() -> None:
    major, minor = SUPPORTED_MINORS[0]
    with ControlPlane(apiserver_flags=[f"--emulated-version={major}.{minor}"]) as old:
        made = Helm(old)
        made.upgrade_operator()
        made.upgrade_jurisdiction()
        old.admin.create("/api/v1/namespaces", rig.namespace(rig.ELSEWHERE, {}))
        rig.wait_for_guards(old)
        operator = rig.as_service_account(old, SYSTEM, "jil-operator")
        listed = rig.allow_list(rig.JURISDICTION)
        listed["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "jil-operator"}
        operator.create("/apis/jil.io/v1alpha1/jilimageallowlists", listed)
        pods = f"/api/v1/namespaces/{rig.JURISDICTION}/pods?dryRun=All"
        rig.until_refused(lambda: old.admin.create(pods, rig.pod("probe")), "jil-images")
        message = rig.refusal(lambda: old.admin.create(pods, rig.pod("probe")))
        assert f'image "{IMAGE}" may not run in namespace {rig.JURISDICTION}' in message
