"""A release with two hundred services."""

from __future__ import annotations

from tests.sim.world import World, image

SERVICES = 200


def test_j38_a_release_with_two_hundred_services_becomes_ready(world: World) -> None:
    services = [
        {"name": f"svc-{number:03d}", "image": image("node"), "needs": ["database"]} for number in range(SERVICES)
    ]
    world.release("r-large", services)
    member = {"nodeId": "JP-TOK-01", "zone": "JP/FSA", "founder": True, "namespace": "jil-large"}
    world.network("large", [member])
    world.jurisdiction("jil-large", "large", zone="JP/FSA", release="r-large")
    world.node("jil-large", "jp-tok-01", "JP-TOK-01", profile="dev")
    world.until_ready("jil-large", "jp-tok-01", 280)
    status = world.get_node("jil-large", "jp-tok-01")["status"]
    assert len(status["components"]) == SERVICES + 5
    assert all(c["ready"] for c in status["components"])
