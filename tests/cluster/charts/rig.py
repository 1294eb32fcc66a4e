"""Helm against a control plane of its own, and the objects that the tests put there.

The guards would refuse other tests' clean-up, and a release is one in a cluster: so nothing here uses the shared
control plane.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.apiclient import ApiClient, ApiError
from testbed.controlplane import ControlPlane
from tests.unit.charts.rendering import CHARTS, IMAGE, helm_program
from tests.waiting import eventually, until_pods_may_be_made, until_served

SYSTEM = "jil-system"
JURISDICTION = "jil-ch-finma"
ELSEWHERE = "elsewhere"
CONFIRM = "jil.io/confirm-delete"
PERMIT = "jil.io/start-permit"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
LISTS = "/apis/jil.io/v1alpha1/jilimageallowlists"

OPERATOR_VALUES = ("--set", f"image.ref={IMAGE}")
NODE_LOGINS = ("--set", "registries.nodeLogins.registry=registry.example,registries.nodeLogins.keySecret=issuer")
"""With these come the right to update Secrets and the guard that holds the operator to nodes' logins."""
JURISDICTION_VALUES = ("--set", f"namespace.name={JURISDICTION},network=jil-devnet,jurisdiction.name=ch-finma")

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Helm:
    """The helm of the test bed as admin of one cluster."""

    cluster: ControlPlane

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs helm; the caller looks at the return code. helm keeps no files outside the kubeconfig's folder."""
        kubeconfig = self.cluster.kubeconfig
        home = kubeconfig.parent / "helm"
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(kubeconfig)}
        command = [str(helm_program()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)

    def __call__(self, *arguments: str) -> str:
        """Output of helm. Raises AssertionError with its message when it fails."""
        result = self.run(*arguments)
        assert result.returncode == 0, f"helm {' '.join(arguments)}\n{result.stderr}{result.stdout}"
        return result.stdout

    def upgrade_operator(self, *arguments: str, chart: Path = CHARTS / "jil-operator") -> str:
        """Installs or upgrades chart jil-operator as release ``jil-operator``; returns what helm printed.

        Its kinds are served then, so that a chart which has objects of them can follow.
        """
        printed = self(
            "upgrade", "--install", "jil-operator", str(chart), "-n", SYSTEM, "--create-namespace",
            *OPERATOR_VALUES, *arguments,
        )  # fmt: skip
        crds = self.cluster.admin.get(CRDS)["items"]
        until_served(self.cluster.admin, [crd for crd in crds if _is_of_the_chart(crd["metadata"]["name"])])
        return printed

    def upgrade_jurisdiction(self, *arguments: str) -> str:
        """Installs or upgrades chart jil-jurisdiction for CH/FINMA."""
        return self(
            "upgrade", "--install", "ch-finma", str(CHARTS / "jil-jurisdiction"), "-n", SYSTEM,
            *JURISDICTION_VALUES, *arguments,
        )  # fmt: skip


def as_service_account(cluster: ControlPlane, namespace: str, name: str) -> ApiClient:
    """A client with a fresh token of that account (TokenRequest)."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    token = cluster.admin.create(path, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    return ApiClient(cluster.url, cluster.ca_file, token=token, agent=name)


def refusal(call: Callable[[], Any]) -> str:
    """Message of the policy that refused ``call``. Fails when it was admitted or failed for another reason."""
    with pytest.raises(ApiError, match="ValidatingAdmissionPolicy") as refused:
        call()
    assert refused.value.code == 403
    return str(refused.value.body["message"])


def until_refused(call: Callable[[], Any], policy: str) -> None:
    """Until ``call`` is refused by that policy: for nothing else, such as rights that the API server has not read yet."""

    def refused() -> bool:
        try:
            call()
        except ApiError as error:
            return f"ValidatingAdmissionPolicy '{policy}'" in str(error)
        return False

    eventually(refused, f"policy {policy} to be in force")


def attributes(namespace: str, resource: str, verb: str) -> dict[str, str]:
    """``resource`` is ``plural[/subresource][.group]``."""
    full, _, group = resource.partition(".")
    plural, _, subresource = full.partition("/")
    return {"namespace": namespace, "group": group, "resource": plural, "subresource": subresource, "verb": verb}


def may(client: ApiClient, namespace: str, resource: str, verb: str) -> bool:
    """What a SelfSubjectAccessReview answers the client."""
    review = {"spec": {"resourceAttributes": attributes(namespace, resource, verb)}}
    answer = client.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


#: Of each binding that the charts make for the operator one right: (namespace, resource, verb).
_BOUND = (
    ("", "jilimageallowlists.jil.io", "create"),
    (SYSTEM, "secrets", "create"),
    ("default", "events.events.k8s.io", "create"),
    (JURISDICTION, "secrets", "create"),
)


def wait_for_guards(cluster: ControlPlane) -> None:
    """Until the API server enforces the policies and knows the operator's rights: both come into force a moment after
    they were written. Pods can be made in the rig's namespaces then, too.

    Asked with dry runs, so that nothing is left behind: each guard has refused something once.
    """
    admin = cluster.admin
    for namespace_ in (SYSTEM, JURISDICTION, ELSEWHERE):
        until_pods_may_be_made(admin, namespace_)
    operator = as_service_account(cluster, SYSTEM, "jil-operator")
    for namespace_, resource, verb in _BOUND:
        asked = (operator, namespace_, resource, verb)
        eventually(lambda asked=asked: may(*asked), f"the right to {verb} {resource} in {namespace_!r}")  # type: ignore[misc]
    secrets = f"/api/v1/namespaces/{SYSTEM}/secrets"
    admin.create(secrets, secret("guard-probe", identity=True))
    relabelled = {"metadata": {"labels": {"jil.io/identity": None}}}
    pods = f"/api/v1/namespaces/{JURISDICTION}/pods?dryRun=All"
    node = f"/apis/jil.io/v1alpha1/namespaces/{ELSEWHERE}/jilnodes/guard-probe"
    admin.apply(node, jil_node("guard-probe"))
    foreign = f"/api/v1/namespaces/{JURISDICTION}/secrets"
    password = operator.create(foreign, secret("guard-probe", identity=False))
    operations = f"/apis/jil.io/v1alpha1/namespaces/{ELSEWHERE}/jiloperations?dryRun=All"
    probes: dict[str, Callable[[], Any]] = {
        "jil-deletion-guard": lambda: admin.delete(f"{secrets}/guard-probe?dryRun=All"),
        "jil-guard-labels": lambda: admin.merge(f"{secrets}/guard-probe?dryRun=All", relabelled),
        "jil-start-permit": lambda: admin.create(pods, pod("guard-probe", {PERMIT: "{}"})),
        "jil-users-objects": lambda: operator.merge(f"{node}?dryRun=All", {"metadata": {"annotations": {"a": "b"}}}),
        "jil-operator-secrets": lambda: operator.request("PUT", f"{foreign}/guard-probe?dryRun=All", password),
        "jil-allow-list": lambda: admin.create(f"{LISTS}?dryRun=All", allow_list("guard-probe")),
        "jil-operations": lambda: admin.create(operations, break_glass()),
    }
    # Of these, one speaks only where there is a list, and one comes only with nodes' own logins.
    for policy in sorted(name for name in names(cluster, POLICIES) if name.startswith("jil-") and name != "jil-images"):
        until_refused(probes[policy], policy)


def names(cluster: ControlPlane, collection: str) -> set[str]:
    """Names of all objects of a collection."""
    return {item["metadata"]["name"] for item in cluster.admin.get(collection)["items"]}


def jil_crds(cluster: ControlPlane) -> set[str]:
    """Names of the chart's CRDs, without those that a test made up in the same group."""
    return {name for name in names(cluster, CRDS) if _is_of_the_chart(name)}


def _is_of_the_chart(name: str) -> bool:
    return name.startswith("jil") and name.endswith(".jil.io")


# -- objects -----------------------------------------------------------------------------------------------------------


def secret(name: str, *, identity: bool) -> Manifest:
    """A Secret; with ``identity`` one that holds a key or password of a node."""
    labels = {"jil.io/identity": "true"} if identity else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels},
        "stringData": {"a": "b"},
    }


def pull_login(name: str) -> Manifest:
    """A Secret as the operator makes it for a node's login at a registry."""
    marks = {"app.kubernetes.io/managed-by": "jil-operator", "app.kubernetes.io/name": "pull-login"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name, "labels": marks},
        "stringData": {".dockerconfigjson": '{"auths": {}}'},
    }


def claim(name: str, *, ours: bool) -> Manifest:
    """A PersistentVolumeClaim; with ``ours`` one of a node."""
    labels = {"app.kubernetes.io/managed-by": "jil-operator"} if ours else {}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def volume(name: str, *, ours: bool) -> Manifest:
    """A PersistentVolume; with ``ours`` one that the operator has taken over."""
    labels = {"app.kubernetes.io/managed-by": "jil-operator"} if ours else {}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": "/nowhere"},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": labels}, "spec": spec}


def namespace(name: str, labels: Mapping[str, str]) -> Manifest:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}


def pod(name: str, annotations: Mapping[str, str] | None = None) -> Manifest:
    """A pod that Pod Security ``restricted`` admits."""
    container = {
        "name": "main",
        "image": IMAGE,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    metadata = {"name": name, "labels": {"app": name}, "annotations": dict(annotations or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def jil_node(name: str) -> Manifest:
    """A minimal JILNode."""
    spec = {"nodeId": "CH-ZUG-01", "region": "ch-zug", "country": "CH", "datacenter": "zug-1"}
    return {"apiVersion": "jil.io/v1alpha1", "kind": "JILNode", "metadata": {"name": name}, "spec": spec}


def jil_network(name: str) -> Manifest:
    """A minimal JILNetwork of one founder."""
    spec = {
        "chainId": f"{name}-1",
        "track": "devnet",
        "genesis": {"time": "2026-01-01T00:00:00Z"},
        "members": [{"nodeId": "CH-ZUG-01", "zone": "CH/FINMA", "namespace": JURISDICTION, "founder": True}],
    }
    return {"apiVersion": "jil.io/v1alpha1", "kind": "JILNetwork", "metadata": {"name": name}, "spec": spec}


def jil_release(name: str) -> Manifest:
    """A JILRelease with one service."""
    part = {"image": IMAGE}
    images = dict.fromkeys(("database", "cache", "broker", "validator", "health"), part)
    spec = {
        "version": "1.0.0",
        "broker": {"flavour": "kafka"},
        "images": images,
        "services": [{"name": "transfers", "image": part, "needs": ["database"]}],
    }
    return {"apiVersion": "jil.io/v1alpha1", "kind": "JILRelease", "metadata": {"name": name}, "spec": spec}


def jil_record(name: str) -> Manifest:
    """A minimal JILNodeRecord."""
    spec = {
        "nodeId": name.upper(),
        "network": "jil-devnet",
        "owner": {"namespace": JURISDICTION, "name": name, "uid": "00000000-0000-0000-0000-000000000001"},
        "clusterUID": "00000000-0000-0000-0000-000000000002",
        "templateVersion": 1,
        "bootstrapped": False,
    }
    return {"apiVersion": "jil.io/v1alpha1", "kind": "JILNodeRecord", "metadata": {"name": name}, "spec": spec}


def allow_list(name: str) -> Manifest:
    """An empty JILImageAllowList."""
    kind = {"apiVersion": "jil.io/v1alpha1", "kind": "JILImageAllowList"}
    return {**kind, "metadata": {"name": name}, "spec": {"network": "jil-devnet"}}


def break_glass() -> Manifest:
    """A JILOperation in the name of somebody else."""
    glass = {"digest": f"sha256:{'a' * 64}", "until": "2027-01-01T00:00:00Z"}
    spec = {"type": "BreakGlass", "requestId": "INC-1", "requestedBy": "nobody", "reason": "none", "breakGlass": glass}
    return {"apiVersion": "jil.io/v1alpha1", "kind": "JILOperation", "metadata": {"name": "inc-1"}, "spec": spec}


def definition(plural: str, group: str) -> Manifest:
    """A CustomResourceDefinition that nobody uses."""
    kind = plural.rstrip("s").capitalize()
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    spec = {
        "group": group,
        "scope": "Cluster",
        "names": {"plural": plural, "singular": plural.rstrip("s"), "kind": kind},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": spec,
    }
