"""What a user sees when a pod fails in one of the ways that pods fail, that it harms nothing, and that it mends itself.

The failures are simulated, in the shapes of a real kubelet (tests/sim/fates.py); everything that reacts is real.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from tests.cluster.sim.conftest import GRACE_S, make_network
from tests.sim.fates import CrashLoop, Fate, ImagePullFailure, InitFailure, SlowStart, Unschedulable, VolumeStuck
from tests.sim.health import healthy
from tests.sim.home import Home
from tests.sim.world import World, condition_of

CORE = "/api/v1/namespaces"
APPS = "/apis/apps/v1/namespaces"


def _uids(world: World, home: Home) -> set[str]:
    return {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{home.namespace}/pods")["items"]}


def _events(world: World, home: Home, reason: str) -> list[dict[str, Any]]:
    found = world.api.get(f"/apis/events.k8s.io/v1/namespaces/{home.namespace}/events")["items"]
    return [e for e in found if e["regarding"]["kind"] == "JILNode" and e["reason"] == reason]


def _declared(world: World, home: Home, component: str, fate: Fate) -> None:
    world.kubelet.fail(home.namespace, f"{home.name}-{component}", fate)
    world.node(home.namespace, home.name, home.node_id)


def _services_wait(world: World, home: Home) -> bool:
    found = world.api.get(f"{APPS}/{home.namespace}/deployments/{home.name}-transfers")
    return int(found["spec"]["replicas"]) == 0


def _until_told(world: World, home: Home, type_: str, reason: str, *words: str, phase: str = "") -> None:
    """Waits for the condition with the reason and all of these words. In the same status the node is not Ready, and of
    this ``phase``."""

    def told() -> bool:
        node = world.get_node(home.namespace, home.name)
        condition = condition_of(node, type_)
        if condition.get("reason") != reason or not all(w in condition["message"] for w in words):
            return False
        assert condition_of(node, "Ready")["status"] == "False"
        assert not phase or node["status"]["phase"] == phase, node["status"]
        return True

    world.until(told, f"{type_} {reason} with {words}")


def _restarts(world: World, home: Home, pod: str) -> int:
    found = world.api.get(f"{CORE}/{home.namespace}/pods/{pod}")["status"]["containerStatuses"]
    return int(found[0]["restartCount"])


def _recovers(world: World, home: Home, component: str) -> None:
    world.kubelet.heal(home.namespace, f"{home.name}-{component}")
    world.until_ready(home.namespace, home.name, 120)


def test_a_database_that_keeps_crashing_is_told_with_its_exit_code_and_moves_nothing(world: World, home: Home) -> None:
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name, 120)
    before = _uids(world, home)
    world.kubelet.fail(home.namespace, f"{home.name}-database", CrashLoop(exit_code=137, reason="OOMKilled"))
    pod = f"{home.name}-database-0"
    _until_told(world, home, "DatabaseReady", "PodFailed", pod, "exit code 137, OOMKilled", phase="Degraded")
    rounds, deadline = _restarts(world, home, pod), time.monotonic() + 120
    while _restarts(world, home, pod) < rounds + 2:
        condition = world.condition(home.namespace, home.name, "DatabaseReady")
        assert condition["reason"] == "PodFailed", f"it must not come and go with every round: {condition}"
        assert time.monotonic() < deadline, "the pod has stopped failing"
        time.sleep(0.05)
    assert _uids(world, home) == before, "no pod is replaced for another one's crash"
    world.until(lambda: _events(world, home, "PodFailed"), "an Event of the failure")
    assert _events(world, home, "PodFailed")[0]["type"] == "Warning"
    _recovers(world, home, "database")
    world.until(lambda: _events(world, home, "Ready"), "an Event of the recovery")
    assert _uids(world, home) == before


def test_a_component_that_is_slower_than_its_probe_is_a_step_of_a_start_and_later_a_fault(
    world: World, home: Home
) -> None:
    key, slow = (home.namespace, home.name), healthy(42)
    slow["broker"] = {"ok": False, "version": None, "error": "no answer"}
    world.health.answers[key] = slow
    world.node(home.namespace, home.name, home.node_id)
    _until_told(world, home, "BrokerReady", "Unhealthy", "no answer", phase="Provisioning")
    del world.health.answers[key]
    world.until_ready(home.namespace, home.name, 120)
    broken = datetime.now(UTC)
    world.health.answers[key] = slow
    _until_told(world, home, "BrokerReady", "Unhealthy", "no answer", phase="Degraded")
    world.until(lambda: _events(world, home, "Unhealthy"), "an Event of the failure")
    (event,) = _events(world, home, "Unhealthy")
    # When it was told first: a repetition, after a write that had to be tried again, does not move it.
    assert datetime.fromisoformat(event["eventTime"]) >= broken, "the first start told it too"
    assert _events(world, home, "Ready") == [], "well again, before anything was broken"
    del world.health.answers[key]
    world.until(lambda: _events(world, home, "Ready"), "an Event of the recovery")


def test_an_image_that_cannot_be_pulled_is_named_and_services_wait(world: World, home: Home) -> None:
    _declared(world, home, "cache", ImagePullFailure())
    _until_told(world, home, "CacheReady", "PodFailed", "ImagePull", "registry.example/jil/cache@sha256:", "not found")
    assert _services_wait(world, home)
    world.until(
        lambda: world.condition(home.namespace, home.name, "DatabaseReady").get("status") == "True",
        "the others to go on",
    )
    assert _services_wait(world, home)
    _recovers(world, home, "cache")


def test_i1_a_start_guard_that_fails_is_told_and_the_validator_never_runs(world: World, home: Home) -> None:
    _declared(world, home, "validator", InitFailure(exit_code=3))
    _until_told(world, home, "ValidatorReady", "PodFailed", "container guard", "exit code 3")
    pod = world.api.get(f"{CORE}/{home.namespace}/pods/{home.name}-validator-0")
    assert all("running" not in c["state"] for c in pod["status"]["containerStatuses"])
    assert home.network not in world.validators.chains, "nothing was signed"
    # The simulated guard fails whatever it is permitted, so the failure may be told before the permit is given.
    world.until(
        lambda: world.record(home.node_id)["spec"]["permit"]["podUID"] == pod["metadata"]["uid"], "the pod's permit"
    )
    _recovers(world, home, "validator")


def test_a_pod_that_no_machine_takes_is_told_in_the_schedulers_words(world: World, home: Home) -> None:
    _declared(world, home, "broker", Unschedulable())
    _until_told(world, home, "BrokerReady", "PodFailed", "Unschedulable", "Insufficient memory")
    assert _services_wait(world, home)
    _recovers(world, home, "broker")


def test_a_slow_start_is_on_its_way_and_no_failure(world: World, home: Home) -> None:
    _declared(world, home, "database", SlowStart(3600))
    pod = f"{home.name}-database-0"
    _until_told(world, home, "DatabaseReady", "WaitingForPod", "startup probe", pod, phase="Provisioning")
    assert _services_wait(world, home)
    # From here on it takes two seconds more: it becomes ready by itself.
    world.kubelet.fail(home.namespace, f"{home.name}-database", SlowStart(2))
    world.until_ready(home.namespace, home.name, 120)
    assert _events(world, home, "PodFailed") == []


def test_a_volume_that_is_not_mounted_is_told_with_the_place_to_look(world: World, home: Home) -> None:
    _declared(world, home, "database", VolumeStuck())
    _until_told(world, home, "DatabaseReady", "WaitingForPod", "ContainerCreating", "volumes", "kubectl describe pod")
    events = world.api.get(f"{CORE}/{home.namespace}/events")["items"]
    assert "FailedMount" in {e["reason"] for e in events}, "what the place to look has"
    claims = world.api.get(f"{CORE}/{home.namespace}/persistentvolumeclaims")["items"]
    _recovers(world, home, "database")
    after = world.api.get(f"{CORE}/{home.namespace}/persistentvolumeclaims")["items"]
    assert {c["metadata"]["uid"] for c in after} == {c["metadata"]["uid"] for c in claims}, "no other volume is tried"


def test_i1_a_lost_machine_is_named_and_nothing_is_moved_off_it(impatient: World) -> None:
    world, home = impatient, make_network(impatient, 1).homes[0]
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name, 120)
    before = _uids(world, home)
    permit = world.record(home.node_id)["spec"]["permit"]
    machine = world.kubelet.machine_of(home.namespace, home.name)
    world.kubelet.lose(machine)
    try:

        def told() -> bool:
            node = world.get_node(home.namespace, home.name)
            condition = condition_of(node, "ValidatorReady")
            if condition.get("reason") != "MachineLost":
                return False
            assert condition["status"] == "Unknown", "a machine that says nothing is not known to be down"
            assert machine in condition["message"]
            assert node["status"]["phase"] == "Degraded"
            return True

        world.until(told, "the loss to be told", GRACE_S + 120)
        assert _uids(world, home) == before
        assert world.record(home.node_id)["spec"]["permit"] == permit
        assert world.validators.view(home.namespace, home.name) is not None, "its process goes on all the while"
    finally:
        world.kubelet.find(machine)
    world.until_ready(home.namespace, home.name, 120)
    assert _uids(world, home) == before
