"""An operator that starts anew knows nothing of anybody's health yet: that is no news to be written down."""

from __future__ import annotations

from tests.cluster.badinput.conftest import Bad
from tests.sim.home import Home


def test_i8_a_new_leader_writes_nothing_to_a_node_at_rest(bad: Bad, home: Home) -> None:
    world = bad.world
    first = world.operator()
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    world.until(lambda: bad.rests(home), "what follows from being Ready to be written too")
    first.terminate()
    first.wait(90)
    before, since = world.get_node(home.namespace, home.name), world.plane.audit_position()
    second = world.operator()
    bad.leads(second)
    bad.says(second, f"health of {home.namespace}/{home.name} changed")
    world.until(lambda: bad.rests(home), "the second one to be at rest")
    assert bad.writes(home, since) == []
    assert world.get_node(home.namespace, home.name)["status"]["phase"] == before["status"]["phase"] == "Ready"
