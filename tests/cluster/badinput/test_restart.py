"""An operator that starts anew knows nothing of anybody's health yet: that is no news to be written down."""

from __future__ import annotations

import time

from tests.cluster.badinput.conftest import Bad
from tests.sim.home import Home


def test_i8_a_new_leader_writes_nothing_to_a_node_at_rest(bad: Bad, home: Home) -> None:
    world = bad.world
    first = world.operator()
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    time.sleep(2)  # what follows from being Ready is written too
    first.terminate()
    first.wait(60)
    before, since = world.get_node(home.namespace, home.name), world.plane.audit_position()
    second = world.operator()
    bad.leads(second)
    bad.says(second, f"health of {home.namespace}/{home.name} changed")
    time.sleep(2)
    path = f"/namespaces/{home.namespace}/"
    writes = [
        entry["requestURI"]
        for entry in world.plane.audit_entries(since)
        if entry["verb"] in ("create", "update", "patch", "delete")
        and entry.get("userAgent", "").startswith("jil-operator/")
        and path in entry["requestURI"]
        and "jil-operator-samples" not in entry["requestURI"]
    ]
    assert writes == []
    assert world.get_node(home.namespace, home.name)["status"]["phase"] == before["status"]["phase"] == "Ready"
