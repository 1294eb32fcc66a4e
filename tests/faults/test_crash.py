"""I8: SIGKILL after write k of bring-up, of a stop and of a deletion; the end state is that of a run without it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import audit
from tests.faults.conftest import Home
from tests.sim.world import JIL, SYSTEM, World

CORE = "/api/v1/namespaces"
APPS = "/apis/apps/v1/namespaces"
WRITES = ("create", "update", "patch", "delete")
FULL = bool(os.environ.get("FULL"))
"""`make faults FULL=1` kills at more points; the gate runs a fixed part of them within five minutes."""
BRING_UP_POINTS = [1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 21, 27, 34, 42, 50] if FULL else [1, 5, 13, 34]
STOP_POINTS = list(range(1, 15)) if FULL else [2, 9]
DELETE_POINTS = list(range(1, 26, 2)) if FULL else [3, 24]
KINDS = {
    "services": CORE,
    "configmaps": CORE,
    "secrets": CORE,
    "persistentvolumeclaims": CORE,
    "statefulsets": APPS,
    "deployments": APPS,
    "networkpolicies": "/apis/networking.k8s.io/v1/namespaces",
    "poddisruptionbudgets": "/apis/policy/v1/namespaces",
}


def _operator_writes(world: World, since: int) -> Iterator[dict[str, Any]]:
    """The operator's own writes; leases, samples and Events come by the clock and are no steps."""
    for entry in world.plane.audit_entries(since):
        ours = entry.get("userAgent", "").startswith("jil-operator")
        if ours and entry["verb"] in WRITES and entry["objectRef"]["resource"] not in ("leases", "events"):
            yield entry


def _kill_after(world: World, writes: int, seconds: float = 40.0) -> None:
    """Starts the operator and kills it once it has made that many writes."""
    since = world.plane.audit_position()
    process = world.operator()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if sum(1 for _ in _operator_writes(world, since)) >= writes:
            world.kill(process)
            return
        time.sleep(0.02)
    raise AssertionError(f"the operator never made {writes} writes: the kill point does not exist")


def _shape(world: World, home: Home) -> dict[str, Any]:
    """What is there, with everything that differs from node to node put to one value."""
    found: dict[str, Any] = {}
    for plural, base in KINDS.items():
        for item in world.api.get(f"{base}/{home.namespace}/{plural}")["items"]:
            name = item["metadata"]["name"]
            if name in ("kube-root-ca.crt",):
                continue
            if plural == "configmaps" and item.get("immutable") and not name.startswith("genesis-"):
                name = name.rsplit("-", 1)[0]
            replicas = (item.get("spec") or {}).get("replicas")
            found[f"{plural}/{name}".replace(home.name, "NODE").replace(home.network, "NET")] = replicas
    return found


@pytest.fixture(scope="module")
def clean(world: World) -> dict[str, Any]:
    """The end state of a bring-up that nobody disturbed."""
    member = {"nodeId": "AA-REF-01", "zone": "CH/FINMA", "founder": True, "namespace": "jil-clean"}
    world.network("clean", [member])
    world.jurisdiction("jil-clean", "clean")
    process = world.operator()
    world.node("jil-clean", "aa-ref-01", "AA-REF-01")
    world.until_ready("jil-clean", "aa-ref-01")
    shape = _shape(world, Home("clean", "jil-clean", "aa-ref-01", "AA-REF-01"))
    world.kill(process)
    return shape


def _keys(world: World, home: Home) -> dict[str, Any]:
    return {
        kind: world.api.get(f"{CORE}/{SYSTEM}/secrets/{home.node_id.lower()}-{kind}")["data"]
        for kind in ("validator-key", "node-key", "credentials")
    }


def _made_once(world: World, home: Home, since: int) -> None:
    """Every identity Secret was created exactly once, however often the operator began anew (I5)."""
    created: dict[str, int] = {}
    for entry in _operator_writes(world, since):
        ref = entry["objectRef"]
        if ref["resource"] == "secrets" and entry["responseStatus"]["code"] == 201:
            created[f"{ref['namespace']}/{ref.get('name')}"] = (
                created.get(f"{ref['namespace']}/{ref.get('name')}", 0) + 1
            )
    assert set(created.values()) <= {1}, created


@pytest.mark.parametrize("k", BRING_UP_POINTS)
def test_i8_killed_after_write_k_of_a_bring_up_the_node_comes_up_the_same(
    world: World, home: Home, clean: dict[str, Any], k: int
) -> None:
    since = world.plane.audit_position()
    world.node(home.namespace, home.name, home.node_id)
    _kill_after(world, k)
    world.operator()
    world.until_ready(home.namespace, home.name)
    assert _shape(world, home) == clean
    _made_once(world, home, since)
    record = world.record(home.node_id)["spec"]
    assert set(record["keys"]) == {"validator", "node", "credentials"}
    keys = _keys(world, home)
    for kind, data in keys.items():
        assert world.api.get(f"{CORE}/{home.namespace}/secrets/{home.name}-{kind}")["data"] == data


@pytest.mark.parametrize("k", STOP_POINTS)
def test_i8_killed_after_write_k_of_a_stop_the_node_is_stopped_in_order_and_starts_again(
    world: World, home: Home, clean: dict[str, Any], k: int
) -> None:
    operator = world.operator()
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    keys = _keys(world, home)
    world.kill(operator)
    since = world.plane.audit_position()
    world.patch_node(home.namespace, home.name, {"state": "Stopped"})
    _kill_after(world, k)
    world.operator()
    world.until(lambda: world.phase(home.namespace, home.name) == "Stopped", "the node to stop")
    audit.check(world.plane.audit_entries(since), user="admin").assert_clean()
    world.patch_node(home.namespace, home.name, {"state": "Running"})
    world.until_ready(home.namespace, home.name)
    assert _shape(world, home) == clean
    assert _keys(world, home) == keys


@pytest.mark.parametrize("k", DELETE_POINTS)
def test_i8_killed_after_write_k_of_a_deletion_data_and_keys_stay_and_the_node_comes_back(
    world: World, home: Home, clean: dict[str, Any], k: int
) -> None:
    operator = world.operator()
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    keys = _keys(world, home)
    world.kill(operator)
    since = world.plane.audit_position()
    path = f"{JIL}/namespaces/{home.namespace}/jilnodes"
    world.api.delete(f"{path}/{home.name}")
    _kill_after(world, k)
    world.operator()
    world.until(lambda: not world.api.get(path)["items"], "the deletion to end")
    assert len(world.api.get(f"{CORE}/{home.namespace}/persistentvolumeclaims")["items"]) == 4
    assert _keys(world, home) == keys
    audit.check(world.plane.audit_entries(since), user="admin").assert_clean()
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    assert _shape(world, home) == clean
    assert world.record(home.node_id)["spec"]["permit"]["mode"] == "require"
