"""The registry does not answer: what runs goes on, what starts says whose image does not come and why, and waits."""

from __future__ import annotations

from typing import Any

from tests.cluster.badinput.conftest import Bad
from tests.sim.fates import ImagePullFailure
from tests.sim.home import Home

CORE = "/api/v1/namespaces"

WHY = "dial tcp 192.0.2.10:443: connect: connection refused"


def test_a_registry_that_is_down_holds_up_the_start_and_nothing_else(bad: Bad, home: Home) -> None:
    world = bad.world
    world.operator()
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    database = f"{CORE}/{home.namespace}/pods/{home.name}-database-0"
    others = {
        p["metadata"]["uid"]
        for p in world.api.get(f"{CORE}/{home.namespace}/pods")["items"]
        if p["metadata"]["name"] != f"{home.name}-database-0"
    }
    world.kubelet.fail(home.namespace, f"{home.name}-database-0", ImagePullFailure(WHY))
    # The machine forgot the image: the pod is made anew and its image must come from the registry.
    world.api.delete(database)
    seen: dict[str, Any] = {}

    def told() -> bool:
        # One reading: between two attempts a kubelet says for a moment that the container is being created.
        seen.update(world.condition(home.namespace, home.name, "DatabaseReady"))
        return seen.get("reason") == "PodFailed" and "ImagePull" in seen["message"]

    world.until(told, "the failed pull to be told")
    assert f"{home.name}-database-0" in seen["message"]
    pods = {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{home.namespace}/pods")["items"]}
    assert others <= pods, "nothing else was touched"
    world.kubelet.heal(home.namespace, f"{home.name}-database-0")
    world.until_ready(home.namespace, home.name)
