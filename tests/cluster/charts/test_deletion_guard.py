"""The deletion guard on a real API server: each refusal and its confirmed twin, asked as cluster admin."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count

import pytest

from testbed.apiclient import ApiError
from tests.cluster.charts import rig
from tests.cluster.charts.conftest import Installed
from tests.cluster.charts.rig import CONFIRM, ELSEWHERE, JURISDICTION, SYSTEM, Manifest, eventually, refusal

_numbers = count(1)
_JIL = "/apis/jil.io/v1alpha1"


@dataclass(frozen=True)
class Target:
    """One object: its collection's path, the manifest, and the words by which kubectl is told of it."""

    collection: str
    manifest: Manifest
    words: str

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.name}"


def guarded(kind: str) -> Target:
    """A new object of a guarded kind."""
    number = next(_numbers)
    record, name = f"ch-zug-{number:02}", f"guarded-{number}"
    return {
        "JILNode": Target(
            f"{_JIL}/namespaces/{JURISDICTION}/jilnodes", rig.jil_node(name), f"jilnode {name} -n {JURISDICTION}"
        ),
        "JILNetwork": Target(f"{_JIL}/jilnetworks", rig.jil_network(name), f"jilnetwork {name}"),
        "JILNodeRecord": Target(
            f"{_JIL}/namespaces/{SYSTEM}/jilnoderecords", rig.jil_record(record), f"jilnoderecord {record} -n {SYSTEM}"
        ),
        "Secret": Target(
            f"/api/v1/namespaces/{JURISDICTION}/secrets",
            rig.secret(name, identity=True),
            f"secret {name} -n {JURISDICTION}",
        ),
        "PersistentVolumeClaim": Target(
            f"/api/v1/namespaces/{JURISDICTION}/persistentvolumeclaims",
            rig.claim(name, ours=True),
            f"pvc {name} -n {JURISDICTION}",
        ),
        "PersistentVolume": Target("/api/v1/persistentvolumes", rig.volume(name, ours=True), f"pv {name}"),
        "Namespace": Target("/api/v1/namespaces", rig.namespace(name, {"jil.io/network": "n"}), f"namespace {name}"),
        "CustomResourceDefinition": Target(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            rig.definition(f"things{number}s", "jil.io"),
            f"crd things{number}s.jil.io",
        ),
    }[kind]


KINDS = (
    "JILNode",
    "JILNetwork",
    "JILNodeRecord",
    "Secret",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "Namespace",
    "CustomResourceDefinition",
)


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, installed: Installed) -> Iterator[Target]:
    """An object of every guarded kind, gone afterwards."""
    made = guarded(request.param)
    installed.admin.create(made.collection, made.manifest)
    yield made
    try:
        installed.admin.merge(made.path, {"metadata": {"annotations": {CONFIRM: made.name}}})
        installed.admin.delete(made.path)
    except ApiError as gone:  # deleted by the test, perhaps only just now: claims and volumes go a moment later
        if gone.code not in (404, 409):
            raise


def test_i4_a_guarded_object_is_not_deleted_by_a_plain_delete(installed: Installed, target: Target) -> None:
    message = refusal(lambda: installed.admin.delete(target.path))
    assert f"{target.manifest['kind']} {target.name} is guarded against deletion: " in message
    assert message.endswith(f"kubectl annotate {target.words} {CONFIRM}={target.name} && kubectl delete {target.words}")
    assert installed.admin.exists(target.path)


def test_i4_the_command_that_the_refusal_prints_deletes_the_object(installed: Installed, target: Target) -> None:
    message = refusal(lambda: installed.admin.delete(target.path))
    command = message.partition("delete again: ")[2].replace("kubectl delete", "kubectl delete --wait=false")
    cluster = installed.cluster
    environment = {
        "PATH": f"{cluster.kubectl.parent}:{os.environ['PATH']}",
        "KUBECONFIG": str(cluster.kubeconfig),
        "HOME": str(cluster.folder),
    }
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    # Protections are lifted by their controllers; that of namespaces waits while a CRD is on its way out, as others are.
    eventually(lambda: not installed.admin.exists(target.path), f"{target.path} to be gone", 240)


def test_i4_a_confirmation_for_another_name_is_none(installed: Installed, target: Target) -> None:
    # A manifest copied with its annotation must not be confirmed by what was meant for the original.
    installed.admin.merge(target.path, {"metadata": {"annotations": {CONFIRM: "another"}}})
    refusal(lambda: installed.admin.delete(target.path))


# Kubernetes has no deletecollection for namespaces.
@pytest.mark.parametrize("target", [kind for kind in KINDS if kind != "Namespace"], indirect=True)
def test_i4_deleting_all_of_a_collection_spares_the_guarded(installed: Installed, target: Target) -> None:
    refusal(lambda: installed.admin.delete(f"{target.collection}?fieldSelector=metadata.name={target.name}"))
    assert installed.admin.exists(target.path)


def test_i9_a_confirmed_deletion_leaves_an_audit_line_with_who_and_what(installed: Installed, target: Target) -> None:
    cluster = installed.cluster
    uid = installed.admin.get(target.path)["metadata"]["uid"]
    start = cluster.audit_position()
    refusal(lambda: installed.admin.delete(target.path))
    installed.admin.merge(target.path, {"metadata": {"annotations": {CONFIRM: target.name}}})
    installed.admin.delete(target.path)
    deletes = [
        entry
        for entry in cluster.audit_entries(start)
        if entry["verb"] == "delete"
        and entry["user"]["username"] == "admin"
        and entry["objectRef"].get("name") == target.name
    ]
    refused, confirmed = (entry["annotations"] for entry in deletes)
    assert "is guarded against deletion" in refused["validation.policy.admission.k8s.io/validation_failure"]
    line = confirmed["jil-deletion-guard/confirmed-delete"]
    namespace = target.words.partition(" -n ")[2]
    assert line == f"{target.manifest['kind']} {namespace}/{target.name} uid {uid} deleted by admin"
    assert "jil-deletion-guard/confirmed-delete" not in refused


@pytest.mark.parametrize("policy", ["Foreground", "Background", "Orphan"])
def test_i4_pruning_a_node_is_refused_however_it_cascades(installed: Installed, policy: str) -> None:
    made = guarded("JILNode")
    installed.admin.create(made.collection, made.manifest)
    refusal(lambda: installed.admin.delete(f"{made.path}?propagationPolicy={policy}"))
    assert "deletionTimestamp" not in installed.admin.get(made.path)["metadata"]


@pytest.mark.parametrize(
    ("collection", "manifest"),
    [
        (f"/api/v1/namespaces/{JURISDICTION}/secrets", rig.secret("mine", identity=False)),
        (f"/api/v1/namespaces/{JURISDICTION}/persistentvolumeclaims", rig.claim("mine", ours=False)),
        ("/api/v1/persistentvolumes", rig.volume("mine", ours=False)),
        ("/api/v1/namespaces", rig.namespace("mine", {"team": "a"})),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", rig.definition("things", "example.com")),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_what_does_not_belong_to_jil_is_deleted_as_ever(
    installed: Installed, collection: str, manifest: Manifest
) -> None:
    installed.admin.create(collection, manifest)
    installed.admin.delete(f"{collection}/{manifest['metadata']['name']}")


def test_i4_the_operators_own_namespace_is_guarded_without_any_label(installed: Installed) -> None:
    assert "every node in it would be taken down" in refusal(
        lambda: installed.admin.delete(f"/api/v1/namespaces/{SYSTEM}")
    )


def test_i4_the_crds_of_the_chart_are_guarded(installed: Installed) -> None:
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    names = [crd["metadata"]["name"] for crd in installed.admin.get(crds)["items"]]
    ours = [name for name in names if name.startswith("jil") and name.endswith(".jil.io")]
    assert len(ours) >= 5
    for name in ours:
        path = f"{crds}/{name}"
        assert "every object of this kind would be deleted" in refusal(partial(installed.admin.delete, path))


def test_i4_the_garbage_collector_is_bound_too(installed: Installed) -> None:
    # An ownerReference that somebody put on a key must not take it along with its owner.
    maps, secrets = (f"/api/v1/namespaces/{JURISDICTION}/{plural}" for plural in ("configmaps", "secrets"))
    owner = installed.admin.create(maps, {"metadata": {"name": "owner"}})
    key = rig.secret("owned-key", identity=True)
    key["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    ]
    installed.admin.create(secrets, key)
    start = installed.cluster.audit_position()
    installed.admin.delete(f"{maps}/owner")

    def tried() -> bool:
        return any(
            entry["user"]["username"] == "system:serviceaccount:kube-system:generic-garbage-collector"
            and (entry["verb"], entry["objectRef"].get("name")) == ("delete", "owned-key")
            and entry["responseStatus"]["code"] == 403
            for entry in installed.cluster.audit_entries(start)
        )

    eventually(tried, "the garbage collector to be refused")
    assert installed.admin.exists(f"{secrets}/owned-key")


def test_i4_a_confirmed_namespace_goes_with_everything_in_it_and_does_not_hang(installed: Installed) -> None:
    admin, name = installed.admin, "jil-going"
    admin.create("/api/v1/namespaces", rig.namespace(name, {"jil.io/network": "jil-devnet"}))
    inside = {
        f"/api/v1/namespaces/{name}/secrets": rig.secret("key", identity=True),
        f"/api/v1/namespaces/{name}/persistentvolumeclaims": rig.claim("data", ours=True),
        f"{_JIL}/namespaces/{name}/jilnodes": rig.jil_node("ch-zug-01"),
    }
    for collection, manifest in inside.items():
        admin.create(collection, manifest)
    start = installed.cluster.audit_position()
    refusal(lambda: admin.delete(f"/api/v1/namespaces/{name}"))
    admin.merge(f"/api/v1/namespaces/{name}", {"metadata": {"annotations": {CONFIRM: name}}})
    admin.delete(f"/api/v1/namespaces/{name}")
    eventually(lambda: not admin.exists(f"/api/v1/namespaces/{name}"), "the namespace to be gone", 240)
    refused = [
        entry
        for entry in installed.cluster.audit_entries(start)
        if entry["user"]["username"] == "system:serviceaccount:kube-system:namespace-controller"
        and entry.get("responseStatus", {}).get("code") == 403
    ]
    assert refused == []


def test_a_node_in_a_namespace_that_is_not_jils_does_not_hold_it_up(installed: Installed) -> None:
    admin, name = installed.admin, "by-mistake"
    admin.create("/api/v1/namespaces", rig.namespace(name, {}))
    admin.create(f"{_JIL}/namespaces/{name}/jilnodes", rig.jil_node("ch-zug-01"))
    admin.delete(f"/api/v1/namespaces/{name}")
    eventually(lambda: not admin.exists(f"/api/v1/namespaces/{name}"), "the namespace to be gone", 240)


LABELS = {
    "Namespace": "jil.io/network",
    "Secret": "jil.io/identity",
    "PersistentVolumeClaim": "app.kubernetes.io/managed-by",
    "PersistentVolume": "app.kubernetes.io/managed-by",
}


@pytest.mark.parametrize("value", [None, "something-else"], ids=["removed", "changed"])
@pytest.mark.parametrize("kind", LABELS)
def test_i4_the_label_that_guards_an_object_goes_only_when_the_object_may(
    installed: Installed, kind: str, value: str | None
) -> None:
    made = guarded(kind)
    installed.admin.create(made.collection, made.manifest)
    change = {"metadata": {"labels": {LABELS[kind]: value}}}
    message = refusal(lambda: installed.admin.merge(made.path, change))
    assert f"label {LABELS[kind]} of {made.words}" in message
    command = f"kubectl annotate {made.words} {CONFIRM}={made.name}"
    assert message.endswith(command)
    # Both in one request is not a confirmation: it is the mistake itself.
    refusal(
        lambda: installed.admin.merge(
            made.path, {"metadata": {**change["metadata"], "annotations": {CONFIRM: made.name}}}
        )
    )
    installed.admin.merge(made.path, {"metadata": {"annotations": {CONFIRM: made.name}}})
    installed.admin.merge(made.path, change)


def test_other_labels_and_annotations_of_guarded_objects_are_free(installed: Installed, target: Target) -> None:
    changed = installed.admin.merge(target.path, {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}})
    assert changed["metadata"]["labels"]["team"] == "a"


def test_outside_jil_namespaces_an_unlabelled_secret_is_nobodys_business(installed: Installed) -> None:
    secrets = f"/api/v1/namespaces/{ELSEWHERE}/secrets"
    installed.admin.create(secrets, rig.secret("free", identity=False))
    installed.admin.merge(f"{secrets}/free", {"metadata": {"labels": {"jil.io/network": "x"}}})
    installed.admin.delete(f"{secrets}/free")
