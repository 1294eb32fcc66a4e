"""The operator's clock is an hour off (its process alone, by libfaketime): it leads, works, and stops in order."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest

from tests.cluster.badinput.conftest import Bad
from tests.sim.home import Home
from tests.sim.world import World

CORE = "/api/v1/namespaces"
LIBRARY = "libfaketime.so.1"
#: The operators' lease_duration, which these tests leave as it is.
LEASE_S = 15.0


@cache
def _faketime() -> Path:
    """Debian's libfaketime; as root it is installed when it is missing."""
    for attempt in range(2):
        found = sorted(Path("/usr/lib").glob(f"*/faketime/{LIBRARY}"))
        if found:
            return found[0]
        if attempt or os.geteuid() != 0:
            break
        command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends"]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run([*command, "libfaketime"], env=environment, capture_output=True, timeout=600)
    pytest.fail(f"{LIBRARY} is missing: install the Debian package libfaketime (as root: apt-get install libfaketime)")


def _off(by: str) -> dict[str, str]:
    """Only the wall clock: a monotonic one cannot be wrong."""
    return {"LD_PRELOAD": str(_faketime()), "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def test_clocks_an_hour_off_either_way_take_no_lease_and_go_on_with_what_the_other_wrote(bad: Bad, home: Home) -> None:
    """One operator is an hour ahead, its standby an hour behind."""
    world = bad.world
    # The rig's certificates are minutes old: an hour ago they were not valid yet, see the test below.
    since = world.plane.audit_position()
    first = world.operator(kubeconfig=bad.kubeconfig(insecure=True), **_off("+1h"))
    bad.leads(first)
    second = world.operator(kubeconfig=bad.kubeconfig(insecure=True), **_off("-1h"))
    world.node(home.namespace, home.name, home.node_id)
    world.until_ready(home.namespace, home.name)
    pods = _pods(world, home)
    for taken, renewed in _takeovers(world, since):
        # On a machine that stands still a Lease may be lost; by a clock that is wrong it must not.
        assert (taken - renewed).total_seconds() >= LEASE_S, f"taken at {taken}, renewed at {renewed}"
    world.kill(first, signal.SIGTERM)
    bad.leads(second)
    world.api.delete(f"{CORE}/{home.namespace}/services/{home.name}-cache")
    world.until(
        lambda: world.api.exists(f"{CORE}/{home.namespace}/services/{home.name}-cache"), "the second one to work"
    )
    assert _pods(world, home) == pods
    # Grants and permits written two hours from now: the node stops and starts all the same.
    world.patch_node(home.namespace, home.name, {"state": "Stopped"})
    world.until(lambda: world.phase(home.namespace, home.name) == "Stopped", "the node to stop")
    world.patch_node(home.namespace, home.name, {"state": "Running"})
    world.until_ready(home.namespace, home.name)


def test_a_clock_before_the_certificates_of_the_cluster_is_told_and_waited_for(bad: Bad) -> None:
    operator = bad.world.operator(kubeconfig=None, **_off("-1h"))
    bad.says(operator, "does not answer yet", "certificate is not yet valid")
    assert operator.poll() is None


def _pods(world: World, home: Home) -> set[str]:
    return {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{home.namespace}/pods")["items"]}


def _takeovers(world: World, since: int) -> Iterator[tuple[datetime, datetime]]:
    """(when a process took the Lease, when the one before had renewed it last), by the API server's clock."""
    holder, renewed = "", datetime.min
    for entry in world.plane.audit_entries(since):
        if (entry.get("objectRef") or {}).get("resource") != "leases" or entry["verb"] != "update":
            continue
        name = ((entry.get("requestObject") or {}).get("spec") or {}).get("holderIdentity")
        if entry["responseStatus"]["code"] != 200 or name is None:
            continue
        moment = datetime.fromisoformat(entry["requestReceivedTimestamp"].replace("Z", "+00:00"))
        if name and holder and name != holder:
            yield moment, renewed
        holder, renewed = name, moment
