"""What the test bed promises about its cluster, and that nothing of it is left behind."""

from __future__ import annotations

import http.client
import json
import os
import sys
from pathlib import Path

import pytest
from pytest_kind.cluster import KindCluster

from testbed import audit, binaries, cluster, engine, images, nodes, registry
from testbed.errors import BedError
from testbed.processes import run, wait_until
from testbed.registry_access import USER

_HELPER_IMAGE = "docker.io/kindest/local-path-helper:testbed"


def test_nodes_and_default_storage_class_are_there(kind_cluster: KindCluster) -> None:
    nodes = kind_cluster.kubectl("get", "nodes", "--no-headers").splitlines()
    assert len(nodes) == 5, "one control plane and four workers, as in kind-config.yaml"
    assert all(" Ready " in node for node in nodes)
    assert "standard (default)" in kind_cluster.kubectl("get", "storageclass")


def test_the_api_servers_audit_log_is_written(kind_cluster: KindCluster) -> None:
    kind_cluster.kubectl("create", "configmap", "audited", "--dry-run=server")
    command = ["docker", "exec", f"{kind_cluster.name}-control-plane", "cat", audit.LOG_IN_NODE]

    def logged() -> bool:
        events = [json.loads(line) for line in run(command).splitlines() if '"audited"' in line]
        return any(event["verb"] == "create" and "dryRun=All" in event["requestURI"] for event in events)

    wait_until(logged, "the request in the audit log", 90)


def test_a_pod_that_is_not_root_writes_to_a_volume_that_one_pod_may_use(
    kind_cluster: KindCluster, tmp_path: Path
) -> None:
    def pod(name: str, command: str) -> dict[str, object]:
        mount = {"name": "data", "mountPath": "/data"}
        container = {"name": "c", "image": _HELPER_IMAGE, "command": ["sh", "-c", command], "volumeMounts": [mount]}
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "one"}}
        security = {"runAsUser": 10001, "runAsNonRoot": True}
        spec = {"containers": [container], "volumes": [volume], "securityContext": security}
        spec |= {"terminationGracePeriodSeconds": 0}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}

    claim = {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "10Mi"}}}
    objects = [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "one"}, "spec": claim},
        pod("first", "id -u > /data/who && sleep 600"),
    ]
    here = ("-n", "testbed-storage")

    def apply(*objects: object) -> None:
        manifest = tmp_path / "objects.json"
        manifest.write_text("\n---\n".join(map(json.dumps, objects)))
        kind_cluster.kubectl("apply", "-f", str(manifest), *here)

    def unplaced() -> bool:
        status = json.loads(kind_cluster.kubectl("get", "pod", "second", *here, "-o", "json"))["status"]
        scheduled = {c["type"]: c["status"] for c in status.get("conditions", [])}.get("PodScheduled")
        assert scheduled != "True", "two pods have the volume"
        return scheduled == "False" and status["phase"] == "Pending"

    try:
        kind_cluster.kubectl("create", "namespace", "testbed-storage")
        # Pods are refused before it is there.
        kind_cluster.kubectl("wait", "serviceaccount/default", "--for=create", "--timeout=120s", *here)
        apply(*objects)
        kind_cluster.kubectl("wait", "pod/first", "--for=condition=Ready", "--timeout=240s", *here)
        assert kind_cluster.kubectl("exec", "first", *here, "--", "cat", "/data/who").strip() == "10001"
        apply(pod("second", "sleep 600"))
        wait_until(unplaced, "the scheduler to find no place for a second pod", 120)
        volume = json.loads(kind_cluster.kubectl("get", "pv", "-o", "json"))["items"]
        mine = [each for each in volume if each["spec"]["claimRef"]["namespace"] == "testbed-storage"]
        assert mine[0]["spec"]["nodeAffinity"]["required"]
    finally:
        kind_cluster.kubectl("delete", "namespace", "testbed-storage", "--wait=false")


def test_every_image_in_the_listing_can_be_pulled_by_its_digest(kind_cluster: KindCluster) -> None:
    built = images.build_and_push()
    assert set(built) == set(images.names())
    for reference in built.values():
        assert reference.startswith(f"{registry.NAME}/jil/")
        assert "@sha256:" in reference
    pull = ["docker", "exec", f"{kind_cluster.name}-worker", "ctr", "-n", "k8s.io", "images", "pull"]
    pull += ["--hosts-dir", "/etc/containerd/certs.d"]
    smallest = built["cache"]
    run([*pull, "--user", f"{USER}:{registry.access().password}", smallest])
    # Layers that are there already would hide it: an image that no node has is refused without the login.
    host = engine.find()
    assert host is not None
    unknown = smallest.replace("jil/cache@", "jil/never-pushed@")
    with pytest.raises(BedError, match=r"401 Unauthorized|authorization failed|insufficient_scope"):
        run([*pull, unknown])


def test_the_registry_wants_tls_that_is_verified_and_a_login(kind_cluster: KindCluster) -> None:
    host = engine.find()
    assert host is not None
    address = registry.push_address(host)
    assert registry.running(host)

    def asked(*options: str) -> str:
        return run([sys.executable, "-c", _ASK, address, *options], timeout_s=120).strip()

    ca = str(registry.access().ca)
    assert asked(ca, registry.access().basic) == "200"
    assert asked(ca, "amlsOndyb25n") == "401", "a wrong password"
    assert asked(ca, "") == "401", "no login at all"
    assert "CERTIFICATE_VERIFY_FAILED" in asked("", registry.access().basic), "a client that does not know the CA"
    plain = http.client.HTTPConnection(address, timeout=60)
    try:
        plain.request("GET", "/v2/")
        assert plain.getresponse().status == 400, "plain HTTP is refused"
    finally:
        plain.close()


_ASK = """
import http.client, ssl, sys
address, ca, login = sys.argv[1:4]
context = ssl.create_default_context(cafile=ca or None)
connection = http.client.HTTPSConnection(address, context=context, timeout=60)
try:
    connection.request("GET", "/v2/", headers={"Authorization": "Basic " + login} if login else {})
    print(connection.getresponse().status)
except ssl.SSLError as problem:
    print(problem)
"""


def test_a_node_that_is_cut_off_hears_nobody_until_it_is_healed(kind_cluster: KindCluster) -> None:
    host, ours = engine.find(), cluster.Cluster(kind_cluster.name)
    assert host is not None
    node = nodes.resolve(host, ours, "worker4")
    address = kind_cluster.kubectl("get", "node", node, "-o", "jsonpath={.status.addresses[0].address}").strip()
    kubelet = f"timeout 5 bash -c '</dev/tcp/{address}/10250'"

    def heard() -> bool:
        return host.succeeds("exec", f"{ours.name}-control-plane", "sh", "-c", kubelet)

    wait_until(heard, "the kubelet to be heard", 90)
    try:
        nodes.cut(host, node)
        nodes.cut(host, node)
        assert not heard()
        assert nodes.state(host, node) == "cut"
    finally:
        nodes.heal(host, ours, node)
    wait_until(heard, "one heal to undo what two cuts did", 90)
    assert nodes.state(host, node) == "running"


def test_a_node_whose_plug_is_pulled_comes_back_ready(kind_cluster: KindCluster) -> None:
    host, ours = engine.find(), cluster.Cluster(kind_cluster.name)
    assert host is not None
    node = nodes.resolve(host, ours, "worker4")
    try:
        nodes.stop(host, node, kill=True)
        nodes.stop(host, node)
        assert nodes.state(host, node) == "exited"
        with pytest.raises(BedError, match="start-node"):
            nodes.cut(host, node)
    finally:
        nodes.start(host, ours, node)
    assert nodes.state(host, node) == "running"


def test_kubectl_kind_and_helm_are_the_ones_of_the_test_bed_or_good_enough() -> None:
    for name in ("kubectl", "kind", "helm"):
        assert os.access(binaries.program_for(name), os.X_OK)
