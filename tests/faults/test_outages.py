"""The world fails around the operator: the API server goes away, the kubelet falls silent, the record cannot be read."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from tests.faults.rig import Rig
from tests.faults.scene import BRING_UP, CORE, Place
from tests.faults.trials import TRIALS
from tests.sim.world import SYSTEM


def test_the_api_server_restarts_in_the_middle_of_a_bring_up(rig: Rig) -> None:
    scene = rig.scene_at(Place.NOTHING)
    BRING_UP.begin(scene)
    time.sleep(1.0)
    rig.plane.restart_apiserver(down_s=5.0)
    rig.until(lambda: scene.at(Place.READY), "the node to come up after the API server")
    scene.place = Place.READY
    rig.calm("after the API server came back")


def test_a_kubelet_that_falls_silent_costs_no_running_pod_and_no_second_permit(rig: Rig) -> None:
    scene, world = rig.scene_at(Place.READY), rig.world
    pods = {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{scene.namespace}/pods")["items"]}
    permit = world.record(scene.node_id)["spec"]["permit"]
    world.kubelet.lose()
    try:
        world.health.answers[(scene.namespace, scene.name)] = None
        rig.until(
            lambda: world.condition(scene.namespace, scene.name, "ValidatorReady").get("status") != "True",
            "the silence to show",
        )
        assert {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{scene.namespace}/pods")["items"]} == pods
        assert world.record(scene.node_id)["spec"]["permit"] == permit
    finally:
        world.health.answers.clear()
        world.kubelet.find()
    rig.until(
        lambda: (
            scene.at(Place.READY)
            and world.condition(scene.namespace, scene.name, "ValidatorReady").get("status") == "True"
        ),
        "the node to be well again",
    )


def test_i2_a_lost_ledger_is_rebuilt_and_what_is_away_by_plan_is_still_known(rig: Rig) -> None:
    scene, world = rig.scene_at(Place.STOPPED), rig.world
    path = f"{CORE}/{SYSTEM}/configmaps/ledger-{scene.network}"
    before = world.api.get(path)
    assert '"open":[{' in before["data"]["ledger"].replace(" ", "")
    world.api.delete(path)
    found: list[dict[str, Any]] = []

    def rebuilt() -> bool:
        # The first that is there must know it already: one reading.
        found[:] = [world.api.get(path)]
        return bool(found[0]["metadata"]["uid"] != before["metadata"]["uid"])

    rig.until(rebuilt, "the ledger to be rebuilt")
    assert '"open":[{' in found[0]["data"]["ledger"].replace(" ", ""), "the validator is still away by plan"
    scene.state("Running")
    rig.until(lambda: scene.at(Place.READY), "the node to start again")
    scene.place = Place.READY


#: The gate's part; `make faults` runs all trials.
GATE = ("key-is-lost", "name-is-taken", "pod-vanishes", "status-is-wiped", "old-deletion-is-seen-again")


@pytest.mark.parametrize("name", TRIALS if os.environ.get("JIL_FAULTS") else GATE)
def test_i1_i4_i5_i10_what_others_do_to_a_node_at_rest(rig: Rig, name: str) -> None:
    TRIALS[name](rig)
