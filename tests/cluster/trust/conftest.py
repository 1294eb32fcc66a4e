"""A simulated world whose operator reads a real registry: distribution with TLS and a password."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import queue
import threading
from collections.abc import Iterator

import pytest

from testbed.controlplane import ControlPlane
from tests.cluster.registry import rig as registries
from tests.cluster.registry.liar import Liar, running
from tests.cluster.trust.rig import LIAR, LIARS_LOGIN, Rig
from tests.sim.world import World


@contextlib.contextmanager
def lying(name: str | None = None) -> Iterator[tuple[Liar, str]]:
    """A server that does what tests say, in a thread of its own, and where it is; ``name``: how images call it."""
    ready: queue.Queue[tuple[Liar, str, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        async with running() as liar:
            address, liar.host = liar.host, name or liar.host
            done = asyncio.Event()
            ready.put((liar, f"http://{address}", asyncio.get_running_loop(), done))
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    liar, url, loop, done = ready.get(timeout=30)
    try:
        yield liar, url
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)


@pytest.fixture(scope="package")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Networks with policies; every test has its own network, namespace, release and node."""
    folder = tmp_path_factory.mktemp("trust")
    with (
        registries.distribution(tmp_path_factory.mktemp("registry")) as registry,
        lying(LIAR) as (liar, url),
        lying() as (storage, _),
    ):
        auth = base64.b64encode(f"{registries.USER}:{registries.PASSWORD}".encode()).decode()
        config = folder / "config.json"
        logins = {registry.host: {"auth": auth}, LIAR: {"auth": LIARS_LOGIN}}
        config.write_text(json.dumps({"auths": logins}))
        env = {"JIL_REGISTRY_CONFIG": str(config), "JIL_REGISTRY_CA": str(registry.ca)}
        env["JIL_REGISTRY_ENDPOINTS"] = json.dumps({LIAR: url})
        with ControlPlane() as plane, World(plane, folder, env) as world:
            world.operator()
            yield Rig(world, registry, liar, storage)
