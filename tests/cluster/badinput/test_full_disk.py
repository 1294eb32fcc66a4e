"""A small file system that is really full, under etcd and under a node's database: told, survived, nothing lost."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.apiclient import ApiError
from testbed.controlplane import ETCD, ControlPlane
from testbed.processes import tail
from tests.cluster.badinput.conftest import PATIENCE, QUICK, PatientWorld
from tests.cluster.node.harness import balance, open_account, transfer, transfer_service
from tests.cluster.node.servers import database_server, databases_on
from tests.sim.world import World

CORE = "/api/v1/namespaces"
NAMESPACE, NODE, NODE_ID = "jil-full", "ch-ful-01", "CH-FUL-01"


@contextlib.contextmanager
def small(folder: Path, mebibytes: int) -> Iterator[None]:
    """A file system of that size is mounted at ``folder``."""
    if os.geteuid() != 0:
        pytest.fail("a small file system is mounted for this test: run it as root")
    folder.mkdir(exist_ok=True)
    options = f"size={mebibytes}m,mode=0777"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "jil-small", str(folder)], check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)


def fill(folder: Path) -> Path:
    """Write until not one byte more fits; returns the file that takes the room."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    one_more = folder / "one-more"
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        one_more.write_bytes(b"x" * 4096)
    one_more.unlink(missing_ok=True)
    return ballast


class SmallDisk(ControlPlane):
    """A control plane whose etcd lives on a file system of 192 MiB (its first two log segments take 128)."""

    def _make_files(self) -> None:
        super()._make_files()
        self.mount = contextlib.ExitStack()
        self.data = self.folder / "etcd"
        self.mount.enter_context(small(self.data, 192))
        self.data.chmod(0o700)

    def stop(self) -> None:
        mount = getattr(self, "mount", None)
        if mount is not None:
            mount.close()
        super().stop()


def _write_until_etcd_ends(world: World) -> list[str]:
    """Names of the objects that were acknowledged before etcd gave up."""
    acknowledged, deadline = [], time.monotonic() + PATIENCE
    for number in itertools.count():
        if ETCD not in world.plane.pids() or time.monotonic() > deadline:
            break
        # A name for every try: one that was carried out and not answered in time is there all the same.
        name = f"filler-{number}"
        body = {"metadata": {"name": name}, "data": {"x": "y" * 900_000}}
        with contextlib.suppress(ApiError, OSError):
            world.api.request("POST", f"{CORE}/default/configmaps", body, timeout_s=10)
            acknowledged.append(name)
    assert ETCD not in world.plane.pids(), "etcd goes on although its disk is full"
    return acknowledged


def test_i4_i5_a_full_disk_under_etcd_is_waited_out_and_costs_no_key_no_pod_and_no_acknowledged_write(
    tmp_path: Path,
) -> None:
    with SmallDisk() as plane, PatientWorld(plane, tmp_path, dict(QUICK)) as world:
        world.release("r1")
        member = {"nodeId": NODE_ID, "zone": "CH/FINMA", "founder": True, "namespace": NAMESPACE}
        world.network("full", [member])
        world.jurisdiction(NAMESPACE, "full")
        operator = world.operator()
        world.node(NAMESPACE, NODE, NODE_ID)
        world.until_ready(NAMESPACE, NODE)
        keys = world.record(NODE_ID)["spec"]["keys"]
        pods = {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{NAMESPACE}/pods")["items"]}
        assert isinstance(plane, SmallDisk)
        ballast = fill(plane.data)
        acknowledged = _write_until_etcd_ends(world)
        assert "no space left on device" in tail(plane.log_of(ETCD), 20_000)
        world.until(lambda: "not leading any more" in world.log(), "the operator to give up leadership")
        assert operator.poll() is None
        ballast.unlink()
        plane.start_component(ETCD)
        world.until(lambda: world.log().count("leading with fencing number") >= 2, "the operator to lead again")
        for name in acknowledged:
            assert world.api.exists(f"{CORE}/default/configmaps/{name}")
        service = f"{CORE}/{NAMESPACE}/services/{NODE}-cache"
        world.api.delete(service)
        world.until(lambda: world.api.exists(service), "the operator to work again")
        world.until_ready(NAMESPACE, NODE)
        assert world.record(NODE_ID)["spec"]["keys"] == keys
        assert {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{NAMESPACE}/pods")["items"]} == pods


async def test_i4_a_full_volume_under_the_database_refuses_transfers_clearly_and_loses_none() -> None:
    server = database_server()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, server.root, ignore_errors=True)
        volume = server.root / "volume"
        stack.enter_context(small(volume, 96))
        stack.callback(server.stop)
        server.start()
        databases = databases_on(server)
        async with transfer_service(databases.app) as client:
            await open_account(client, "a", 1_000_000)
            await open_account(client, "b")
            ballast = fill(volume / "pgdata")
            # A little room, so that the disk fills up under transfers that were answered.
            os.truncate(ballast, ballast.stat().st_size - 256 * 1024)
            done = 0
            for number in range(20_000):
                status, body = await transfer(client, "a", "b", 1, f"k-{number}")
                if status != 201:
                    break
                done += 1
            assert done > 10
            assert status == 503, body
            assert "No space left on device" in body["detail"]
            assert "same idempotencyKey" in body["remedy"]
            ballast.unlink()
            # What was not acknowledged is repeated, as the answer said; it has taken effect once, or takes it now.
            assert (await transfer(client, "a", "b", 1, f"k-{done}"))[0] == 201
            assert await balance(client, "b") == done + 1
        server.stop()
        server.start()
        async with transfer_service(databases.app) as client:
            assert await balance(client, "a") + await balance(client, "b") == 1_000_000
            assert await balance(client, "b") == done + 1
