"""A JILNode that lost its finalizer by force leaves children behind: they are taken down in order, under grants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.apiclient import ApiError
from testbed.controlplane import ControlPlane
from tests import audit
from tests.sim.world import JIL, SYSTEM, World, condition_of

CORE = "/api/v1/namespaces"
APPS = "/apis/apps/v1/namespaces"
MERGE = "application/merge-patch+json"
GRACE = 6.0


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose operator leaves orphans alone for a few seconds only, and whose Lease is soon free again."""
    env = {"JIL_LEASE_DURATION": "4", "JIL_LEASE_RENEW_DEADLINE": "2.5", "JIL_LEASE_RETRY": "0.5"}
    logs: Path = tmp_path_factory.mktemp("orphans")
    with ControlPlane() as plane, World(plane, logs, {**env, "JIL_ORPHAN_GRACE": str(GRACE)}) as made:
        made.release("r1")
        made.operator()
        yield made


def _home(world: World, number: int, *, allow_halt: bool = True) -> tuple[str, str]:
    namespace, node_id = f"jil-orphan-{number}", f"CH-ORP-{number:02d}"
    member = {"nodeId": node_id, "zone": "CH/FINMA", "founder": True, "namespace": namespace}
    world.network(f"orphan-{number}", [member], allow_halt=allow_halt)
    world.jurisdiction(namespace, f"orphan-{number}")
    world.node(namespace, node_id.lower(), node_id)
    world.until_ready(namespace, node_id.lower())
    return namespace, node_id.lower()


def _lose(world: World, namespace: str, name: str) -> None:
    """The finalizer is taken off by hand while no operator runs, as people do who want a deletion to end."""
    for process in world.operators:
        world.kill(process)
    path = f"{JIL}/namespaces/{namespace}/jilnodes/{name}"
    world.api.delete(path)
    world.api.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE)
    with pytest.raises(ApiError):
        world.api.get(path)


def _said(world: World, action: str, node: str) -> list[str]:
    """The newest operator's audit lines about an act and a node."""
    lines = world.log(len(world.operators) - 1).splitlines()
    return [line for line in lines if f'"action": "{action}"' in line and node in line]


def _pods(world: World, namespace: str) -> set[str]:
    return {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{namespace}/pods")["items"]}


def test_i2_i4_ac_41_orphans_go_in_order_under_grants_and_data_keys_and_record_stay(short: World) -> None:
    namespace, name = _home(short, 1)
    keys = short.api.get(f"{CORE}/{SYSTEM}/secrets/{name}-validator-key")["data"]
    record = short.record(name)["spec"]
    since = short.plane.audit_position()
    _lose(short, namespace, name)
    short.operator()
    short.until(
        lambda: (
            not any(
                short.api.get(f"{APPS}/{namespace}/{plural}")["items"] for plural in ("statefulsets", "deployments")
            )
        ),
        "the orphans to be taken down",
        180,
    )
    short.until(lambda: not _pods(short, namespace), "no pod to be left")
    services = f"{CORE}/{namespace}/services"
    short.until(
        lambda: [s["metadata"]["name"] for s in short.api.get(services)["items"]] == [f"{name}-p2p"],
        "everything but the address that peers know to be cleared",
    )
    audit.check(short.plane.audit_entries(since), user="admin").assert_clean(at_least=12)
    assert len(short.api.get(f"{CORE}/{namespace}/persistentvolumeclaims")["items"]) == 4
    assert short.api.get(f"{CORE}/{SYSTEM}/secrets/{name}-validator-key")["data"] == keys
    after = short.record(name)["spec"]
    assert {key: after[key] for key in ("keys", "volumes", "bootstrapped")} == {
        key: record[key] for key in ("keys", "volumes", "bootstrapped")
    }
    # The pass that finds nothing left comes after the one that removes the last of it.
    short.until(lambda: _said(short, "orphans.removed", f"{namespace}/{name}"), "the end to be written down")
    short.node(namespace, name, name.upper(), storage={"cache": "512Mi"})
    short.until_ready(namespace, name)
    assert short.record(name)["spec"]["permit"]["mode"] == "require", "it goes on with its own sign state"
    storage = short.condition(namespace, name, "StorageReady")
    assert (storage["status"], storage["reason"]) == ("True", "StorageShrink"), "smaller was asked for, nothing shrinks"
    assert f"claim {name}-cache keeps its 1Gi" in storage["message"]


def test_ac_41_applied_again_in_time_it_keeps_every_pod_and_its_deletion_leaves_an_audit_line(short: World) -> None:
    namespace, name = _home(short, 2)
    pods = _pods(short, namespace)
    _lose(short, namespace, name)
    short.operator(JIL_ORPHAN_GRACE="300")  # in time, however slow this machine is
    short.node(namespace, name, name.upper())
    short.until_ready(namespace, name)
    short.until(
        lambda: (
            short.api.get(f"{APPS}/{namespace}/statefulsets/{name}-database")["metadata"]["labels"]["jil.io/node-uid"]
            == short.get_node(namespace, name)["metadata"]["uid"]
        ),
        "the children to bear the new UID",
    )
    assert _pods(short, namespace) == pods
    path = f"{JIL}/namespaces/{namespace}/jilnodes"
    short.api.delete(f"{path}/{name}")
    short.until(lambda: not short.api.get(path)["items"], "the node to go")
    short.until(lambda: _said(short, "node.removed", f"{namespace}/{name}"), "its end to be written down")
    assert len(_said(short, "node.removed", f"{namespace}/{name}")) == 1
    assert _said(short, "orphans.found", f"{namespace}/{name}") == []


def test_i2_an_orphaned_validator_that_its_network_cannot_lose_goes_on(short: World) -> None:
    namespace, name = _home(short, 3, allow_halt=False)
    pods = _pods(short, namespace)
    _lose(short, namespace, name)
    short.operator()
    short.until(
        lambda: _said(short, "disruption.impossible", f"{namespace}/{name}"), "the gate to refuse, with its reason"
    )
    assert _pods(short, namespace) == pods, "a node whose validator may not go stays whole"
    path = f"{CORE}/{namespace}/pods/{name}-validator-0"
    evicted = short.api.get(path)["metadata"]["uid"]
    short.api.delete(path)

    def runs_again() -> bool:
        pod = short.api.get(path)
        containers = pod["status"].get("containerStatuses", [])
        return (
            pod["metadata"]["uid"] != evicted and bool(containers) and all("running" in c["state"] for c in containers)
        )

    short.until(runs_again, "the evicted validator to be let start again, as its removal is still refused")
    permit = short.record(name)["spec"]["permit"]
    assert (permit["podUID"], permit["mode"]) == (short.api.get(path)["metadata"]["uid"], "require")


def _without_its_statefulset(world: World, namespace: str, name: str) -> str:
    """Somebody deletes the validator's StatefulSet and keeps its pod, while no operator runs. UID of the pod."""
    for process in world.operators:
        world.kill(process)
    path = f"{APPS}/{namespace}/statefulsets/{name}-validator"
    world.api.request("DELETE", path, {"propagationPolicy": "Orphan"})
    world.until(lambda: not world.api.exists(path), "the StatefulSet to go, without its pod")
    pod = world.api.get(f"{CORE}/{namespace}/pods/{name}-validator-0")["metadata"]
    assert "deletionTimestamp" not in pod
    uid: str = pod["uid"]
    return uid


def test_i2_a_validator_whose_statefulset_is_gone_keeps_its_node_whole_until_it_may_go(short: World) -> None:
    namespace, name = _home(short, 4, allow_halt=False)
    _without_its_statefulset(short, namespace, name)
    pods = _pods(short, namespace)
    path = f"{JIL}/namespaces/{namespace}/jilnodes/{name}"
    short.api.delete(path)
    short.operator()

    def blocked() -> bool:
        # A gate that has not read the chain yet refuses too, in other words.
        node = short.get_node(namespace, name)
        ready = condition_of(node, "Ready")
        what = f"DeletePod Pod {namespace}/{name}-validator-0"
        return (node["status"]["phase"], ready["reason"]) == ("Deleting", "DeletionBlocked") and what in ready[
            "message"
        ]

    short.until(blocked, "the deletion to be held up")
    assert _pods(short, namespace) == pods, "its database runs as long as it does"
    policies = short.api.get(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets")["items"]
    assert f"{name}-validator" in {p["metadata"]["name"] for p in policies}


def test_i2_ac_41_a_validator_pod_that_is_left_alone_goes_under_a_grant_and_before_its_database(short: World) -> None:
    namespace, name = _home(short, 5)
    _without_its_statefulset(short, namespace, name)
    since = short.plane.audit_position()
    _lose(short, namespace, name)
    short.operator()
    short.until(lambda: not _pods(short, namespace), "all pods to go", 180)
    short.until(lambda: _said(short, "orphans.removed", f"{namespace}/{name}"), "the rest to go")
    entries = short.plane.audit_entries(since)
    audit.check(entries, user="admin").assert_clean(at_least=12)
    log = short.log(len(short.operators) - 1)
    assert log.index(f"DeletePod Pod {namespace}/{name}-validator-0") < log.index(f"{name}-database")
