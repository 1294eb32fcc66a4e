"""One simulated world for the tests of this folder: real control plane, simulated kubelet, the real operator process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.controlplane import ControlPlane
from tests.sim.home import Home
from tests.sim.world import World

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The operator runs against a control plane of its own. Every test uses a network and namespaces of its own."""
    logs: Path = tmp_path_factory.mktemp("operator")
    with ControlPlane() as plane, World(plane, logs) as made:
        made.release("r1")
        made.operator()
        yield made


@pytest.fixture
def home(world: World) -> Home:
    """A jurisdiction that waits for its one node, the network's only founder."""
    number = next(_numbers)
    namespace, node_id = f"jil-test-{number}", f"CH-ZUG-{number:02d}"
    member = {"nodeId": node_id, "zone": "CH/FINMA", "founder": True, "namespace": namespace}
    world.network(f"net-{number}", [member])
    world.jurisdiction(namespace, f"net-{number}")
    return Home(f"net-{number}", namespace, node_id.lower(), node_id)


@pytest.fixture
def running(world: World, home: Home) -> Home:
    """A node that is Ready."""
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    return home
