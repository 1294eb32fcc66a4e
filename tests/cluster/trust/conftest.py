"""A simulated world whose operator reads a real registry: distribution with TLS and a password."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from testbed.controlplane import ControlPlane
from tests.cluster.registry import rig as registries
from tests.cluster.trust.rig import Rig
from tests.sim.world import World


@pytest.fixture(scope="package")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Networks with policies; every test has its own network, namespace, release and node."""
    folder = tmp_path_factory.mktemp("trust")
    with registries.distribution(tmp_path_factory.mktemp("registry")) as registry:
        auth = base64.b64encode(f"{registries.USER}:{registries.PASSWORD}".encode()).decode()
        config = folder / "config.json"
        config.write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        env = {"JIL_REGISTRY_CONFIG": str(config), "JIL_REGISTRY_CA": str(registry.ca)}
        with ControlPlane() as plane, World(plane, folder, env) as world:
            world.operator()
            yield Rig(world, registry)
