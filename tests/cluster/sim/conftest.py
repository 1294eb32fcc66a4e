"""Simulated worlds of four machines: a real control plane, the real operator process, everything in pods simulated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from testbed.controlplane import ControlPlane
from tests.sim.home import Home
from tests.sim.world import World

MACHINES = 4
#: What a machine may be silent before the real kube-controller-manager calls it lost (its own default is 50 s).
GRACE_S = 12

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Every test uses a network and namespaces of its own."""
    with ControlPlane() as plane, World(plane, tmp_path_factory.mktemp("sim"), machines=MACHINES) as made:
        made.release("r1")
        made.operator()
        yield made


@pytest.fixture
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world of its own, whose controller calls a machine lost after ``GRACE_S`` of silence."""
    flags = (f"--node-monitor-grace-period={GRACE_S}s", "--node-monitor-period=1s")
    with (
        ControlPlane(controller_flags=flags) as plane,
        World(plane, tmp_path_factory.mktemp("impatient"), heartbeat_s=1.0) as made,
    ):
        made.release("r1")
        made.operator()
        yield made


@dataclass(frozen=True)
class Network:
    """A network of equal founders, each in a namespace of its own."""

    name: str
    homes: tuple[Home, ...]

    def declare(self, world: World) -> None:
        """Applies all JILNodes."""
        for home in self.homes:
            world.node(home.namespace, home.name, home.node_id)


def make_network(world: World, count: int) -> Network:
    """A network of equal members that may not halt, with its jurisdictions, and no node yet."""
    number = next(_numbers)
    name, place = f"sim-{number}", f"S{chr(65 + number // 26)}{chr(65 + number % 26)}"
    homes = tuple(
        Home(name, f"jil-sim-{number}-{i}", f"ch-{place.lower()}-{i:02d}", f"CH-{place}-{i:02d}")
        for i in range(1, count + 1)
    )
    members = [{"nodeId": h.node_id, "zone": "CH/FINMA", "founder": True, "namespace": h.namespace} for h in homes]
    world.network(name, members, allow_halt=False)
    for home in homes:
        world.jurisdiction(home.namespace, name)
    return Network(name, homes)


@pytest.fixture
def home(world: World) -> Home:
    """A network of one, its node not declared yet."""
    return make_network(world, 1).homes[0]
