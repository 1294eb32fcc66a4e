"""From a JILNode to a Ready node, on a real API server with a simulated kubelet."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from tests.sim.fates import ImagePullFailure
from tests.sim.home import Home
from tests.sim.world import SYSTEM, World

CORE = "/api/v1/namespaces"
APPS = "/apis/apps/v1/namespaces"


def test_ac_42_a_declared_node_becomes_ready_and_its_record_has_the_facts(world: World, running: Home) -> None:
    record = world.record(running.node_id)["spec"]
    assert record["bootstrapped"] is True
    assert record["permit"]["mode"] in ("create", "require")
    assert record["p2p"]["clusterIP"]
    assert {v["component"] for v in record["volumes"]} == {"database", "cache", "broker", "validator"}
    status = world.get_node(running.namespace, running.name)["status"]
    assert status["peerId"] == record["keys"]["node"]["peerId"]
    assert status["consensusAddress"] == record["keys"]["validator"]["address"]
    assert status["release"] == "r1"
    assert {c["type"] for c in status["conditions"]} == {
        "SpecValid", "ImageTrust", "PullLoginReady", "IdentityReady", "StorageReady", "DatabaseReady", "CacheReady",
        "BrokerReady", "ValidatorReady", "ServicesReady", "Serving", "Ready",
    }  # fmt: skip


def test_the_genesis_is_frozen_and_its_hash_stands_in_record_and_network(world: World, running: Home) -> None:
    frozen = world.api.get(f"{CORE}/{SYSTEM}/configmaps/genesis-{running.network}")
    assert frozen["immutable"] is True
    value = hashlib.sha256(frozen["data"]["genesis.json"].encode()).hexdigest()
    assert world.record(running.node_id)["spec"]["genesisHash"] == value
    # Each object's status is written apart.
    network = f"/apis/jil.io/v1alpha1/jilnetworks/{running.network}"
    world.until(lambda: world.api.get(network)["status"]["genesisHash"] == value, "the network to show the hash")
    copy = world.api.get(f"{CORE}/{running.namespace}/configmaps/genesis-{running.network}")
    assert copy["data"] == frozen["data"]
    assert copy["immutable"] is True


def test_i5_keys_are_immutable_and_the_copies_are_the_masters(world: World, running: Home) -> None:
    for kind in ("validator-key", "node-key", "credentials"):
        master = world.api.get(f"{CORE}/{SYSTEM}/secrets/{running.node_id.lower()}-{kind}")
        copy = world.api.get(f"{CORE}/{running.namespace}/secrets/{running.name}-{kind}")
        assert master["immutable"] is True
        assert copy["immutable"] is True
        assert master["data"] == copy["data"]


def test_volumes_outlive_their_claims(world: World, running: Home) -> None:
    for component in ("database", "cache", "broker", "validator"):
        claim = world.api.get(f"{CORE}/{running.namespace}/persistentvolumeclaims/{running.name}-{component}")
        volume = world.api.get(f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_i8_ac_42_a_node_at_rest_is_written_to_by_nobody(world: World, running: Home) -> None:
    """Everything is looked at again (resync, a touched object) and nothing is written but samples."""
    path = f"/apis/jil.io/v1alpha1/namespaces/{running.namespace}/jilnodes/{running.name}"
    world.until(
        lambda: _must_find_its_sign_state(world, running), "the last write of the start, which may follow Ready"
    )
    before = world.get_node(running.namespace, running.name)
    # By the time of the request: its line in the log comes only after its answer, that of Ready's write perhaps yet.
    since, at_rest = world.plane.audit_position(), datetime.now(UTC)
    manifest = {
        "apiVersion": "jil.io/v1alpha1",
        "kind": "JILNode",
        "metadata": {"name": running.name, "namespace": running.namespace, "labels": {"touched-by": "argo"}},
        "spec": before["spec"],
    }
    world.api.apply(path, manifest, manager="argo-cd")
    world.api.apply(path, manifest, manager="argo-cd")
    # The label made the operator look; a second object's change proves that the look is over.
    world.until(lambda: _looked_again(world, running), "the operator to look again")
    writes = [
        e
        for e in world.plane.audit_entries(since)
        if e["verb"] in ("create", "update", "patch", "delete")
        and datetime.fromisoformat(e["requestReceivedTimestamp"]) > at_rest
        and e["user"]["username"] == "admin"
        and e.get("userAgent", "").startswith("jil-operator")
        and e["objectRef"].get("namespace") == running.namespace
        and e["objectRef"].get("resource") != "events"
    ]
    expected = ("jil-operator-samples", "/configmaps/jil-compliance", "/jiljurisdictions/main/status")
    assert [w["requestURI"] for w in writes if not any(part in w["requestURI"] for part in expected)] == []
    after = world.get_node(running.namespace, running.name)
    assert after["spec"] == before["spec"]


def _must_find_its_sign_state(world: World, home: Home) -> bool:
    pod = world.api.get(f"{CORE}/{home.namespace}/pods/{home.name}-validator-0")
    return json.loads(pod["metadata"]["annotations"]["jil.io/start-permit"])["mode"] == "require"


def _looked_again(world: World, home: Home) -> bool:
    """A jurisdiction-wide change is carried out after the node's own key was handled: the compliance file follows it."""
    path = f"/apis/jil.io/v1alpha1/namespaces/{home.namespace}/jiljurisdictions/main"
    number = str(hash(home.namespace) % 1000)
    world.api.request(
        "PATCH", path, {"spec": {"compliance": {"marker": number}}}, content_type="application/merge-patch+json"
    )
    config = world.api.get(f"{CORE}/{home.namespace}/configmaps/jil-compliance")
    return json.loads(config["data"]["compliance.json"]).get("marker") == number


def test_i10_the_operator_writes_neither_spec_nor_annotations_of_users_objects(world: World, running: Home) -> None:
    node = world.get_node(running.namespace, running.name)
    assert "annotations" not in node["metadata"]
    for entry in node["metadata"]["managedFields"]:
        if entry["manager"].startswith("jil-operator"):
            assert "f:spec" not in entry["fieldsV1"], entry
            assert "f:annotations" not in entry["fieldsV1"].get("f:metadata", {}), entry


def test_services_start_after_what_they_stand_on(world: World, home: Home) -> None:
    world.kubelet.fail(home.namespace, f"{home.name}-database-0", ImagePullFailure())
    world.node(home.namespace, home.name, home.node_id)

    def told() -> bool:
        condition = world.condition(home.namespace, home.name, "DatabaseReady")
        return condition.get("reason") == "PodFailed" and "ImagePull" in condition["message"]

    world.until(told, "the database's trouble to be told")
    deployment = world.api.get(f"{APPS}/{home.namespace}/deployments/{home.name}-transfers")
    assert deployment["spec"]["replicas"] == 0
    world.kubelet.heal(home.namespace, f"{home.name}-database-0")
    world.until_ready(home.namespace, home.name)


def test_the_genesis_waits_for_all_founders_and_then_is_one_for_all(world: World) -> None:
    members = [
        {"nodeId": "AE-ABU-01", "zone": "AE/ADGM", "founder": True, "namespace": "jil-two-a"},
        {"nodeId": "GB-LON-01", "zone": "GB/FCA", "founder": True, "namespace": "jil-two-b"},
    ]
    world.network("two-founders", members)
    world.jurisdiction("jil-two-a", "two-founders", zone="AE/ADGM")
    world.jurisdiction("jil-two-b", "two-founders", zone="GB/FCA")
    world.node("jil-two-a", "ae-abu-01", "AE-ABU-01")
    world.until(
        lambda: world.condition("jil-two-a", "ae-abu-01", "ValidatorReady").get("reason") == "WaitingForGenesis",
        "the first founder to wait for the genesis",
    )
    ledger = f"{CORE}/{SYSTEM}/configmaps/ledger-two-founders"
    world.until(lambda: world.api.exists(ledger), "the ledger, though no validator may start yet")
    world.node("jil-two-b", "gb-lon-01", "GB-LON-01")
    world.until_ready("jil-two-a", "ae-abu-01")
    world.until_ready("jil-two-b", "gb-lon-01")
    hashes = {world.record(n)["spec"]["genesisHash"] for n in ("AE-ABU-01", "GB-LON-01")}
    assert len(hashes) == 1
    peers = f"{CORE}/jil-two-a/configmaps/ae-abu-01-peers"
    ids = {world.record(n)["spec"]["keys"]["node"]["peerId"] for n in ("AE-ABU-01", "GB-LON-01")}
    world.until(
        lambda: set(json.loads(world.api.get(peers)["data"]["peers.json"])["peers"]) == ids, "both to be let in"
    )


def test_a_later_member_joins_and_restarts_nobody(world: World) -> None:
    members = [
        {"nodeId": "DE-NUE-01", "zone": "DE/BAFIN", "founder": True, "namespace": "jil-join-a"},
        {"nodeId": "SG-MAS-01", "zone": "SG/MAS", "namespace": "jil-join-b"},
    ]
    world.network("joining", members)
    world.jurisdiction("jil-join-a", "joining", zone="DE/BAFIN")
    world.jurisdiction("jil-join-b", "joining", zone="SG/MAS")
    world.node("jil-join-a", "de-nue-01", "DE-NUE-01")
    world.until_ready("jil-join-a", "de-nue-01")
    pod = world.api.get(f"{CORE}/jil-join-a/pods/de-nue-01-validator-0")
    workload = world.api.get(f"{APPS}/jil-join-a/statefulsets/de-nue-01-validator")
    world.node("jil-join-b", "sg-mas-01", "SG-MAS-01")
    world.until_ready("jil-join-b", "sg-mas-01")
    peer = world.record("SG-MAS-01")["spec"]["keys"]["node"]["peerId"]
    world.until(
        lambda: peer in world.api.get(f"{CORE}/jil-join-a/configmaps/de-nue-01-peers")["data"]["peers.json"],
        "the founder to let the new member in",
    )
    assert world.api.get(f"{CORE}/jil-join-a/pods/de-nue-01-validator-0")["metadata"]["uid"] == pod["metadata"]["uid"]
    after = world.api.get(f"{APPS}/jil-join-a/statefulsets/de-nue-01-validator")
    assert after["spec"]["template"] == workload["spec"]["template"]
