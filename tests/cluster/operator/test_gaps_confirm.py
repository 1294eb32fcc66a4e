"""Holds that only a person can end: a vanished validator pod is certainly over, a claim made anew has the node's data."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.apiclient import ApiError
from testbed.controlplane import ControlPlane
from tests.sim.world import JIL, SYSTEM, World

CORE = "/api/v1/namespaces"
MERGE = "application/merge-patch+json"
_numbers = itertools.count(1)
LEASE = {"JIL_LEASE_DURATION": "4", "JIL_LEASE_RENEW_DEADLINE": "2.5", "JIL_LEASE_RETRY": "0.5"}


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world of its own: its operator is killed on purpose, and its Lease is soon free again."""
    logs: Path = tmp_path_factory.mktemp("confirm")
    with ControlPlane() as plane, World(plane, logs, LEASE) as made:
        made.release("r1")
        made.operator()
        yield made


@pytest.fixture
def node(lone: World) -> tuple[str, str]:
    """A node that is Ready: (namespace, name)."""
    number = next(_numbers)
    namespace, node_id = f"jil-confirm-{number}", f"CH-CON-{number:02d}"
    member = {"nodeId": node_id, "zone": "CH/FINMA", "founder": True, "namespace": namespace}
    lone.network(f"confirm-{number}", [member])
    lone.jurisdiction(namespace, f"confirm-{number}")
    lone.node(namespace, node_id.lower(), node_id)
    lone.until_ready(namespace, node_id.lower())
    return namespace, node_id.lower()


def _operation(world: World, namespace: str, name: str, type_: str, part: dict[str, str]) -> dict[str, Any]:
    """Creates it and returns its status once it has ended."""
    path = f"{JIL}/namespaces/{namespace}/jiloperations"
    field = type_[0].lower() + type_[1:]
    spec = {"type": type_, "requestId": name.upper(), "requestedBy": "admin", "reason": "the rack is off", field: part}
    body = {"apiVersion": "jil.io/v1alpha1", "kind": "JILOperation", "metadata": {"name": name}, "spec": spec}
    world.api.create(path, body)
    world.until(
        lambda: world.api.get(f"{path}/{name}").get("status", {}).get("phase") in ("Succeeded", "Refused"),
        f"operation {name} to end",
    )
    status: dict[str, Any] = world.api.get(f"{path}/{name}")["status"]
    return status


def _vanish(world: World, namespace: str, name: str) -> str:
    """The validator's pod goes while nobody looks, on a volume that no lock of one machine fences. Returns its UID."""
    for process in world.operators:
        world.kill(process)
    record = f"{JIL}/namespaces/{SYSTEM}/jilnoderecords/{name}"
    elsewhere = {**world.api.get(record)["spec"]["permit"], "kubeNode": "another-machine"}
    world.api.request("PATCH", record, {"spec": {"permit": elsewhere}}, content_type=MERGE)
    pod = f"{CORE}/{namespace}/pods/{name}-validator-0"
    uid: str = world.api.get(pod)["metadata"]["uid"]
    world.kubelet.pause()
    world.api.request("DELETE", pod, {"gracePeriodSeconds": 0})
    world.until(lambda: world.api.get(pod)["metadata"]["uid"] != uid, "the StatefulSet to make another pod")
    world.kubelet.resume()
    world.operator()
    world.until(
        lambda: world.condition(namespace, name, "ValidatorReady").get("reason") == "FencingUnconfirmed",
        "the next pod to be held back",
    )
    return uid


def test_i1_ac_25_a_confirmed_end_ends_exactly_that_hold_and_is_audited(lone: World, node: tuple[str, str]) -> None:
    namespace, name = node
    uid = _vanish(lone, namespace, name)
    condition = lone.condition(namespace, name, "ValidatorReady")
    assert uid in condition["message"], "the condition names the UID that has to be confirmed"
    pod = f"{CORE}/{namespace}/pods/{name}-validator-0"
    waiting = lone.api.get(pod)["metadata"]["uid"]
    wrong = _operation(lone, namespace, "inc-1", "ConfirmFencing", {"node": name, "podUID": waiting})
    assert (wrong["phase"], wrong["conditions"][-1]["reason"]) == ("Refused", "NotWaiting")
    assert "jil.io/start-permit" not in lone.api.get(pod)["metadata"].get("annotations", {}), "nothing was given"
    lone.kubelet.validators.stop(uid)  # somebody went there and switched the machine off
    right = _operation(lone, namespace, "inc-2", "ConfirmFencing", {"node": name, "podUID": uid})
    assert right["phase"] == "Succeeded", right
    lone.until_ready(namespace, name)
    permit = lone.record(name)["spec"]["permit"]
    assert (permit["podUID"], permit["mode"]) == (waiting, "require"), "it has to find its sign state"
    log = lone.log(len(lone.operators) - 1)
    assert log.count('"action": "fencing.confirmed"') == 1
    again = _operation(lone, namespace, "inc-3", "ConfirmFencing", {"node": name, "podUID": uid})
    assert again["phase"] == "Refused", "a command for yesterday's trouble ends no other hold"


def test_i1_a_pod_that_is_still_there_is_not_over_whoever_says_so(lone: World, node: tuple[str, str]) -> None:
    namespace, name = node
    uid = lone.api.get(f"{CORE}/{namespace}/pods/{name}-validator-0")["metadata"]["uid"]
    status = _operation(lone, namespace, "inc-4", "ConfirmFencing", {"node": name, "podUID": uid})
    assert status["phase"] == "Refused"
    assert "still there" in status["targets"][0]["message"]
    assert "ended" not in lone.record(name)["spec"]["permit"]


def _rebind(world: World, namespace: str, claim: str, volume: str) -> str:
    """The claim is lost; a new one of its name is bound to ``volume``. Returns its UID."""
    path = f"{CORE}/{namespace}/persistentvolumeclaims"
    old = world.api.get(f"{path}/{claim}")
    world.api.delete(f"{path}/{claim}")
    # Only now: before the deletion the protection of a claim in use would be put back at once.
    with contextlib.suppress(ApiError):  # it has gone already: its pod was not running at that moment
        world.api.request("PATCH", f"{path}/{claim}", {"metadata": {"finalizers": None}}, content_type=MERGE)
    world.until(lambda: _gone(world, f"{path}/{claim}"), "the claim to go")
    world.api.request("PATCH", f"/api/v1/persistentvolumes/{volume}", {"spec": {"claimRef": None}}, content_type=MERGE)
    spec = {key: old["spec"][key] for key in ("accessModes", "resources", "storageClassName") if key in old["spec"]}
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim},
        "spec": {**spec, "volumeName": volume},
    }
    uid: str = world.api.create(path, body)["metadata"]["uid"]
    world.until(lambda: world.api.get(f"{path}/{claim}")["status"].get("phase") == "Bound", "the claim to be bound")
    return uid


def _gone(world: World, path: str) -> bool:
    try:
        world.api.get(path)
    except ApiError as error:
        return error.code == 404
    return False


def test_i4_a_kept_volume_is_taken_up_again_by_a_confirmed_operation_only(lone: World, node: tuple[str, str]) -> None:
    namespace, name = node
    path = f"{CORE}/{namespace}/persistentvolumeclaims/{name}-cache"
    volume = lone.api.get(path)["spec"]["volumeName"]
    uid = _rebind(lone, namespace, f"{name}-cache", volume)
    lone.until(
        lambda: uid in lone.condition(namespace, name, "StorageReady").get("message", ""), "the other claim to be told"
    )
    assert lone.condition(namespace, name, "StorageReady")["reason"] == "VolumeLost"
    part = {"node": name, "component": "cache", "claimUID": uid}
    wrong = _operation(lone, namespace, "inc-5", "AdoptVolume", {**part, "claimUID": "somebody-else"})
    assert wrong["phase"] == "Refused"
    done = _operation(lone, namespace, "inc-6", "AdoptVolume", part)
    assert done["phase"] == "Succeeded", done
    lone.until(
        lambda: lone.condition(namespace, name, "StorageReady").get("status") == "True", "the volume to be taken up"
    )
    recorded = next(v for v in lone.record(name)["spec"]["volumes"] if v["component"] == "cache")
    assert recorded == {"component": "cache", "pvcUID": uid, "pvName": volume}
    assert '"volume.adopted"' in lone.log(len(lone.operators) - 1)


def test_i1_a_validator_goes_on_with_the_volume_it_has_signed_on_and_no_other(
    lone: World, node: tuple[str, str]
) -> None:
    namespace, name = node
    path = f"{CORE}/{namespace}/persistentvolumeclaims/{name}-validator"
    claim = lone.api.get(path)
    theirs = lone.api.get(f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
    other = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"snapshot-of-{name}"},
        "spec": {k: v for k, v in theirs["spec"].items() if k != "claimRef"},
    }
    lone.api.create("/api/v1/persistentvolumes", other)
    uid = _rebind(lone, namespace, f"{name}-validator", f"snapshot-of-{name}")
    part = {"node": name, "component": "validator", "claimUID": uid}
    status = _operation(lone, namespace, "inc-7", "AdoptVolume", part)
    assert status["phase"] == "Refused"
    assert "older sign state" in status["targets"][0]["message"]
