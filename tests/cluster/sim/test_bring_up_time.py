"""A whole network of four comes up on the simulated rig, and what that costs in requests.

Five seconds is what it takes on two idle cores (`make bench` measures it); here only what a slow machine hardly changes
is held tight: the number of requests. A node that waits is looked at every five seconds, for a few requests each time.
"""

from __future__ import annotations

import time
from collections import Counter

from tests.cluster.sim.conftest import make_network
from tests.sim.world import World

DEADLINE_S = 240.0
REQUESTS_PER_NODE = 200
READS_OF_SECRETS_PER_NODE = 14
SLOW_S = 60.0
"""From here on the looks count that a node which waits costs: so many requests in a second."""
REQUESTS_PER_SECOND = 1.0


def test_four_nodes_are_ready_within_the_deadline_and_ask_for_little(world: World) -> None:
    network = make_network(world, 4)
    since = world.plane.audit_position()
    begun = time.monotonic()
    network.declare(world)
    for home in network.homes:
        world.until_ready(home.namespace, home.name, DEADLINE_S)
    took = time.monotonic() - begun
    asked: Counter[tuple[str, str]] = Counter()
    for entry in world.plane.audit_entries(since):
        resource = entry.get("objectRef", {}).get("resource", "")
        beside = entry["verb"] == "watch" or resource in ("", "leases", "events")
        if entry.get("userAgent", "").startswith("jil-operator") and not beside:
            asked[(entry["verb"], resource)] += 1
    print(f"four nodes Ready after {took:.1f} s, {asked.total()} requests of the operator: {asked.most_common(8)}")
    assert asked.total() <= 4 * (REQUESTS_PER_NODE + max(0.0, took - SLOW_S) * REQUESTS_PER_SECOND), asked
    assert asked[("get", "secrets")] <= 4 * READS_OF_SECRETS_PER_NODE, asked
