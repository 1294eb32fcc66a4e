"""A simulated world (real control plane, simulated kubelet) in which the real operator process is hurt on purpose."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from testbed.controlplane import ControlPlane
from tests.sim.world import World

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """No operator runs at first: each test starts and ends its own."""
    # A killed leader's Lease is waited for at every kill: a short one keeps forty kills within minutes.
    lease = {"JIL_LEASE_DURATION": "4", "JIL_LEASE_RENEW_DEADLINE": "2.5", "JIL_LEASE_RETRY": "0.5"}
    with ControlPlane() as plane, World(plane, tmp_path_factory.mktemp("faults"), lease) as made:
        made.release("r1")
        yield made


@dataclass(frozen=True)
class Home:
    network: str
    namespace: str
    name: str
    node_id: str


@pytest.fixture
def home(world: World) -> Iterator[Home]:
    number = next(_numbers)
    namespace, node_id = f"jil-fault-{number}", f"CH-ZUG-{number:02d}"
    world.network(f"fault-{number}", [{"nodeId": node_id, "zone": "CH/FINMA", "founder": True, "namespace": namespace}])
    world.jurisdiction(namespace, f"fault-{number}")
    yield Home(f"fault-{number}", namespace, node_id.lower(), node_id)
    for process in world.operators:
        world.kill(process)
