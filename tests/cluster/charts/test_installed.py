"""What stands in the cluster once both charts are installed with their default values."""

from __future__ import annotations

import subprocess

import pytest

from tests.cluster.charts import rig
from tests.cluster.charts.conftest import Installed
from tests.cluster.charts.rig import CONFIRM, CRDS, JURISDICTION, POLICIES, SYSTEM, eventually, jil_crds
from tests.unit.charts.rendering import CHARTS, IMAGE, operator


def test_the_crds_are_established_and_serve_their_kinds(installed: Installed) -> None:
    assert len(jil_crds(installed.cluster)) >= 5
    for name in jil_crds(installed.cluster):
        conditions = {c["type"]: c["status"] for c in installed.admin.get(f"{CRDS}/{name}")["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions["NamesAccepted"] == "True"
        assert "NonStructuralSchema" not in conditions


def test_the_api_server_finds_no_fault_in_the_types_of_the_guards(installed: Installed) -> None:
    def checked() -> bool:
        return all("typeChecking" in item.get("status", {}) for item in installed.admin.get(POLICIES)["items"])

    eventually(checked, "the policies to be type-checked")
    for item in installed.admin.get(POLICIES)["items"]:
        assert item["status"]["typeChecking"].get("expressionWarnings", []) == [], item["metadata"]["name"]


def test_a_second_release_of_the_operator_is_refused(installed: Installed) -> None:
    arguments = ("install", "second", str(CHARTS / "jil-operator"), "-n", "default", "--set", f"image.ref={IMAGE}")
    result = installed.helm.run(*arguments)
    assert result.returncode != 0
    assert "invalid ownership metadata" in result.stderr


def test_the_jurisdictions_namespace_has_its_labels_and_is_restricted(installed: Installed) -> None:
    labels = installed.admin.get(f"/api/v1/namespaces/{JURISDICTION}")["metadata"]["labels"]
    assert (
        labels.items()
        >= {
            "jil.io/network": "jil-devnet",
            "jil.io/jurisdiction": "ch-finma",
            "pod-security.kubernetes.io/enforce": "restricted",
        }.items()
    )


def test_moving_a_jurisdiction_to_another_network_is_refused_by_the_guard(installed: Installed) -> None:
    result = installed.helm.run(
        "upgrade", "ch-finma", str(CHARTS / "jil-jurisdiction"), "-n", SYSTEM,
        *rig.JURISDICTION_VALUES, "--set", "network=another",
    )  # fmt: skip
    assert result.returncode != 0
    assert "label jil.io/network of namespace jil-ch-finma" in result.stderr


@pytest.mark.parametrize("which", ["Deployment", "Pod"])
def test_a_restricted_namespace_admits_the_pods_of_the_chart(installed: Installed, which: str) -> None:
    found = next(manifest for manifest in operator() if manifest["kind"] == which)
    template = found["spec"]["template"] if which == "Deployment" else found
    made = {"metadata": {"name": "restricted", "namespace": JURISDICTION}, "spec": dict(template["spec"])}
    made["spec"] |= {"serviceAccountName": "default"}
    installed.admin.create(f"/api/v1/namespaces/{JURISDICTION}/pods?dryRun=All", made)


def test_the_notes_of_a_namespace_made_elsewhere_print_the_command_for_its_labels(installed: Installed) -> None:
    installed.admin.apply("/api/v1/namespaces/own", rig.namespace("own", {}))
    notes = installed.helm(
        "upgrade", "--install", "own", str(CHARTS / "jil-jurisdiction"), "-n", SYSTEM,
        "--set", "namespace.name=own,namespace.create=false,network=jil-devnet,jurisdiction.name=own",
    )  # fmt: skip
    (command,) = (line.strip() for line in notes.splitlines() if "kubectl label" in line)
    done = subprocess.run(
        [str(installed.cluster.kubectl), "--kubeconfig", str(installed.cluster.kubeconfig), *command.split()[1:]],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    labels = installed.admin.get("/api/v1/namespaces/own")["metadata"]["labels"]
    assert labels["jil.io/network"] == "jil-devnet"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    installed.admin.merge("/api/v1/namespaces/own", {"metadata": {"annotations": {CONFIRM: "own"}}})
