"""A second jurisdiction joins the running network; then its namespace goes, guarded and without hanging."""

from __future__ import annotations

import json
import uuid

import pytest

from testbed import quickstart, registry
from testbed.quickstart import SECOND, SYSTEM
from tests.e2e.demo import Demo


def validator_of(demo: Demo) -> tuple[str, int]:
    """UID of the first node's validator pod, and how often its container was restarted."""
    pod = demo.child("pod", "validator-0")
    return pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]


@pytest.fixture(scope="module")
def alone(demo: Demo) -> tuple[str, int]:
    """The first validator before anybody joins."""
    return validator_of(demo)


@pytest.fixture(scope="module")
def joined(demo: Demo, alone: tuple[str, int]) -> Demo:
    demo.declare(SECOND)
    demo.until_phase("Ready", 240, SECOND)
    return demo


def test_a_second_member_joins_as_full_node_and_catches_up(joined: Demo) -> None:
    # Two readings, one after the other: a machine that stands still in between makes blocks all the same.
    joined.until(
        lambda: abs(joined.chain_height() - joined.chain_height(SECOND)) < 10, "the second node to catch up", 120
    )
    first = joined.chain_height()
    joined.until(lambda: joined.chain_height(SECOND) > first + 2, "the second node to follow", 120)
    path = f"/api/v1/namespaces/{SECOND.namespace}/services/{SECOND.name}-rpc:26657/proxy/status"
    status = json.loads(joined.kubectl("get", "--raw", path))["result"]
    assert status["validator_info"]["voting_power"] == "0", "it votes only once the validators have signed it in"
    assert status["node_info"]["network"] == "jil-quickstart"


def test_joining_restarted_nobody(joined: Demo, alone: tuple[str, int]) -> None:
    assert validator_of(joined) == alone
    assert joined.record()["permit"]["podUID"] == alone[0]


def test_ac_02_the_two_nodes_have_databases_of_their_own(joined: Demo) -> None:
    joined.sql("CREATE TABLE IF NOT EXISTS only_in_zug (x int)")
    assert joined.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'only_in_zug'", SECOND) == "0"


def test_ac_03_killing_a_whole_node_leaves_the_other_ones_readiness_and_errors_unchanged(joined: Demo) -> None:
    def restarts() -> dict[str, int]:
        pods = joined.get("pods", "-n", joined.node.namespace)["items"]
        return {p["metadata"]["uid"]: sum(c["restartCount"] for c in p["status"]["containerStatuses"]) for p in pods}

    path = f"/api/v1/namespaces/{joined.node.namespace}/services/{joined.node.name}-transfers:80/proxy/readyz"

    def running() -> set[str]:
        """UIDs of the second node's pods; none when one of them is not ready, or on its way out."""
        pods = joined.get("pods", "-n", SECOND.namespace, "-l", selector)["items"]
        ready = [any((c["type"], c["status"]) == ("Ready", "True") for c in p["status"]["conditions"]) for p in pods]
        leaving = any("deletionTimestamp" in p["metadata"] for p in pods)
        return {p["metadata"]["uid"] for p in pods} if all(ready) and not leaving else set()

    before, height = restarts(), joined.chain_height()
    selector = f"app.kubernetes.io/instance={SECOND.name}"
    joined.until(running, "the second node to be whole", 240)
    killed = running()
    joined.kubectl(
        "delete", "pods", "-n", SECOND.namespace, "-l", selector, "--grace-period=0", "--force", "--wait=false"
    )
    for _ in range(40):
        joined.kubectl("get", "--raw", path)  # any answer but 2xx fails
        assert joined.status()["phase"] == "Ready"
    assert restarts() == before
    joined.until(lambda: joined.chain_height() > height, "the chain to go on", 90)
    # Its status may still be that of before: the pods tell.
    joined.until(lambda: len(running() - killed) == len(killed), "the second node to be whole again", 240)
    joined.until_phase("Ready", 240, SECOND)


def test_ac_04_the_pods_of_two_nodes_differ_only_where_they_may(joined: Demo) -> None:
    def normal(node: quickstart.DemoNode) -> list[object]:
        found = []
        for kind in ("statefulset", "deployment"):
            for item in joined.get(kind, "-n", node.namespace)["items"]:
                text = json.dumps(item["spec"]["template"], sort_keys=True)
                for value, mark in (
                    (node.name, "NAME"), (node.node_id, "ID"), (node.region, "REGION"), (node.zone, "ZONE"),
                    (node.jurisdiction, "JURISDICTION"), (node.namespace, "NAMESPACE"),
                ):  # fmt: skip
                    text = text.replace(value, mark)
                template = json.loads(text)
                for volume in template["spec"]["volumes"]:
                    if "configMap" in volume:  # named by content, which contains peers and advertised names
                        volume["configMap"]["name"] = volume["configMap"]["name"].rsplit("-", 1)[0]
                found.append((kind, item["metadata"]["name"].removeprefix(node.name), template))
        return sorted(found, key=str)

    assert normal(joined.node) == normal(SECOND)


def test_a_revoked_node_pulls_no_more_the_other_does_and_what_a_machine_has_goes_on(joined: Demo) -> None:
    """The kubelet and containerd themselves, with the Secrets that the operator made; the registry denies one node id."""
    both = (joined.node, SECOND)
    for node in both:
        _pulls(joined, node)
    registry.deny(joined.node.node_id)
    try:
        _pulls(joined, joined.node, "ErrImagePull")
        _pulls(joined, SECOND)
        # The limit of every login: the image was pulled to this machine with the same Secret before.
        machine = joined.child("pod", "validator-0")["spec"]["nodeName"]
        _pulls(joined, joined.node, policy="IfNotPresent", image="validator", machine=machine)
    finally:
        registry.deny()
    _pulls(joined, joined.node)


def _pulls(
    demo: Demo,
    node: quickstart.DemoNode,
    wanted: str = "Succeeded",
    *,
    policy: str = "Always",
    image: str = "node",
    machine: str | None = None,
) -> None:
    """Until this becomes of a pod with an image of the release and the node's own login: its phase, or why it has no image.
    A pull that a busy registry did not answer in time is tried again by the kubelet."""
    name = f"pull-{uuid.uuid4().hex[:8]}"
    command = {"node": ["python", "-c", ""], "validator": ["jil-validator", "version"]}[image]
    small = {"cpu": "10m", "memory": "64Mi"}
    container = {
        "name": "main",
        "image": demo.images[image],
        "imagePullPolicy": policy,
        "command": command,
        "resources": {"requests": small, "limits": small},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "imagePullSecrets": [{"name": f"{node.name}-pull"}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        **({"nodeName": machine} if machine else {}),
    }
    where = {"name": name, "namespace": node.namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": where, "spec": spec}
    demo.kubectl("create", "-f", "-", stdin=json.dumps(pod))

    def outcome() -> str:
        status = demo.get("pod", name, "-n", node.namespace)["status"]
        waiting = [c["state"].get("waiting", {}).get("reason", "") for c in status.get("containerStatuses", [])]
        if any(reason in ("ErrImagePull", "ImagePullBackOff") for reason in waiting):
            return "ErrImagePull"
        return str(status["phase"]) if status.get("phase") in ("Succeeded", "Failed") else ""

    def ended() -> bool:
        now = outcome()
        assert now in (wanted, "ErrImagePull", ""), f"pod {name}: {now}"
        return now == wanted

    try:
        demo.until(ended, f"pod {name} to come to {wanted}", 180)
    finally:
        demo.kubectl("delete", "pod", name, "-n", node.namespace, "--wait=false")


def test_a_jil_namespace_is_guarded_and_once_confirmed_it_goes_without_hanging(joined: Demo) -> None:
    words = joined.refused("delete", "namespace", SECOND.namespace, "--wait=false")
    assert "jil.io/confirm-delete" in words
    keys = joined.secret(f"{SECOND.node_id.lower()}-validator-key", SYSTEM)
    joined.confirm_and_delete("namespace", SECOND.namespace, timeout_s=240)
    assert joined.secret(f"{SECOND.node_id.lower()}-validator-key", SYSTEM) == keys, "the master copy of the key stays"
    assert joined.record(SECOND)["keys"]["validator"]["address"]
    assert joined.status()["phase"] == "Ready"
