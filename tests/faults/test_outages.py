"""The world fails around the operator: the API server goes away, the kubelet falls silent, the record cannot be read."""

from __future__ import annotations

import time

from tests.faults.conftest import Home
from tests.sim.world import JIL, SYSTEM, World

CORE = "/api/v1/namespaces"


def test_the_api_server_restarts_in_the_middle_of_a_bring_up(world: World, home: Home) -> None:
    world.operator()
    world.node(home.namespace, home.name, home.node_id)
    time.sleep(1.0)
    world.plane.restart_apiserver(down_s=5.0)
    world.until_ready(home.namespace, home.name, 120)


def test_a_kubelet_that_falls_silent_costs_no_running_pod_and_no_second_permit(world: World, home: Home) -> None:
    world.operator()
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    pods = {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{home.namespace}/pods")["items"]}
    permit = world.record(home.node_id)["spec"]["permit"]
    world.kubelet.pause()
    try:
        world.health.answers[(home.namespace, home.name)] = None
        world.until(
            lambda: world.condition(home.namespace, home.name, "ValidatorReady").get("status") != "True",
            "the silence to show",
            90,
        )
        assert {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{home.namespace}/pods")["items"]} == pods
        assert world.record(home.node_id)["spec"]["permit"] == permit
    finally:
        world.health.answers.clear()
        world.kubelet.resume()
    world.until_ready(home.namespace, home.name, 60)


def test_i1_a_validator_pod_that_vanished_unseen_on_a_volume_that_can_move_is_not_followed_by_another(
    world: World, home: Home
) -> None:
    """Force-deleted behind everybody's back, on a volume that any machine can attach: it may still sign somewhere."""
    operator = world.operator()
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    # The volume could be attached elsewhere: no lock on one machine fences it.
    claim = world.api.get(f"{CORE}/{home.namespace}/persistentvolumeclaims/{home.name}-validator")
    record = f"{JIL}/namespaces/{SYSTEM}/jilnoderecords/{home.node_id.lower()}"
    before = world.api.get(record)["spec"]["permit"]
    elsewhere = dict(before, kubeNode="another-machine")
    world.kill(operator)
    world.api.request("PATCH", record, {"spec": {"permit": elsewhere}}, content_type="application/merge-patch+json")
    pod = f"{CORE}/{home.namespace}/pods/{home.name}-validator-0"
    uid = world.api.get(pod)["metadata"]["uid"]
    world.kubelet.pause()
    world.api.request("DELETE", pod, {"gracePeriodSeconds": 0})
    world.until(lambda: world.api.get(pod)["metadata"]["uid"] != uid, "the StatefulSet to make another pod")
    world.kubelet.resume()
    world.operator()
    world.until(
        lambda: world.condition(home.namespace, home.name, "ValidatorReady").get("reason") == "FencingUnconfirmed",
        "the next pod to be held back",
        60,
    )
    assert claim["metadata"]["uid"] == world.record(home.node_id)["spec"]["volumes"][-1]["pvcUID"]
    assert "jil.io/start-permit" not in world.api.get(pod)["metadata"].get("annotations", {})


def test_i2_a_lost_ledger_is_rebuilt_and_what_is_away_by_plan_is_still_known(world: World, home: Home) -> None:
    world.operator()
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    world.patch_node(home.namespace, home.name, {"state": "Stopped"})
    world.until(lambda: world.phase(home.namespace, home.name) == "Stopped", "the node to stop")
    path = f"{CORE}/{SYSTEM}/configmaps/ledger-{home.network}"
    uid = world.api.get(path)["metadata"]["uid"]
    assert '"open":[{' in world.api.get(path)["data"]["ledger"].replace(" ", "")
    world.api.delete(path)
    world.until(lambda: world.api.get(path)["metadata"]["uid"] != uid, "the ledger to be rebuilt", 60)
    assert '"open":[{' in world.api.get(path)["data"]["ledger"].replace(" ", ""), "the validator is still away by plan"
    world.patch_node(home.namespace, home.name, {"state": "Running"})
    world.until_ready(home.namespace, home.name)
