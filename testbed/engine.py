"""The Docker engine: the one that answers is used as it is; where none does, a private one that leaves no trace."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import daemons, host, paths, provision
from testbed.errors import BedError
from testbed.locking import exclusive
from testbed.processes import run, succeeds, tail, wait_until
from testbed.progress import stage

NETWORK = "kind"
"""The Docker network of kind's nodes; kind looks for exactly this name."""

_CAP_SYS_RESOURCE = 24
_BEFORE = "host-before.json"
_NETWORKS = "networks.json"
_RUN = "jil-testbed-"
_PROGRAMS = ("dockerd", "containerd", "containerd-shim", "docker-proxy", "docker-init", "runc")
"""What an engine consists of, by the kernel's short names (15 characters)."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers. ``host`` is the DOCKER_HOST value; "" means docker's own default."""

    host: str
    private: bool

    @property
    def environment(self) -> dict[str, str]:
        """What docker and kind need to talk to this engine."""
        return {"DOCKER_HOST": self.host} if self.host else {}

    def docker(self, *arguments: str | Path, timeout_s: float = 120.0, env: dict[str, str] | None = None) -> str:
        """Run the docker client; returns stdout."""
        return run([_client(), *arguments], timeout_s=timeout_s, env={**self.environment, **(env or {})})

    def succeeds(self, *arguments: str | Path, timeout_s: float = 30.0) -> bool:
        """Whether a command of the docker client ends with status 0 in time."""
        return succeeds([_client(), *arguments], env=self.environment, timeout_s=timeout_s)

    def has(self, image: str) -> bool:
        """Whether the engine holds an image."""
        return self.succeeds("image", "inspect", image)

    def gateway(self) -> str:
        """IPv4 address of the host on the kind network. Raises BedError when there is no such network."""
        configuration = json.loads(self.docker("network", "inspect", NETWORK))[0]["IPAM"]["Config"] or []
        for entry in configuration:
            if "." in entry.get("Subnet", "") and entry.get("Gateway"):
                return str(entry["Gateway"])
        raise BedError(f"the Docker network '{NETWORK}' has no IPv4 gateway; remove it (docker network rm {NETWORK})")


def find() -> Engine | None:
    """The engine in use: ours when it runs, else the one that DOCKER_HOST or docker's default names, else None."""
    private = _Private()
    if private.running():
        return private.engine
    if os.environ.get("DOCKER_HOST") == private.engine.host or not provision.find("docker"):
        return None
    own = Engine(os.environ.get("DOCKER_HOST", ""), private=False)
    return own if succeeds([_client(), "version", "--format", "{{.Server.Version}}"], timeout_s=15) else None


def up() -> Engine:
    """An engine that answers; starts the private one where none does (root; 1-2 s)."""
    with exclusive("engine"):
        found = find()
        if found:
            return found
        if os.environ.get("DOCKER_HOST") not in (None, "", _Private().engine.host):
            raise BedError(
                f"the engine DOCKER_HOST={os.environ['DOCKER_HOST']} names does not answer; start it or unset it"
            )
        if os.geteuid() != 0:
            raise BedError(
                "no Docker engine answers and starting a private one needs root: start Docker, or run as root"
            )
        private = _Private()
        private.down()  # what a crash may have left
        with stage("starting a private Docker engine"):
            try:
                private.up()
            except BaseException:
                private.down()
                raise
        return private.engine


def down() -> None:
    """Stop the private engine with everything in it and undo what it changed; its images stay in the cache."""
    with exclusive("engine"):
        private = _Private()
        if private.left_something():
            with stage("stopping the private Docker engine"):
                private.down()


def _client() -> str:
    return provision.find("docker") or "docker"


class _Private:
    """The private engine of this cache. Its names carry a hash of the cache's path: several may run side by side."""

    def __init__(self) -> None:
        self.key = hashlib.sha256(str(paths.cache_root()).encode()).hexdigest()[:8]
        # Sockets live in /run: a unix socket's path may have 108 bytes, and /run is empty after a reboot.
        self.run = Path("/run") / f"{_RUN}{self.key}"
        self.socket = self.run / "docker.sock"
        self.data = paths.cache_root() / "engine" / "data"
        self.log = paths.cache_root() / "engine" / "dockerd.log"
        self.pid = paths.state() / "dockerd.json"
        self.before = self.run / _BEFORE
        self.complete = self.run / "complete"
        self.own_bridge, self.kind_bridge = f"jil{self.key[:6]}e", f"jil{self.key[:6]}k"
        self.cgroup = f"jil-testbed-{self.key}"
        self.engine = Engine(f"unix://{self.socket}", private=True)

    def running(self) -> bool:
        # One whose start was cut short answers too, but has neither the nodes' network nor a way out.
        return self.complete.exists() and daemons.find(self.pid) is not None and self._answers()

    def left_something(self) -> bool:
        return self.run.exists()

    def up(self) -> None:
        for need in provision.missing(private_engine=True):
            raise BedError(
                f"'{need.program}' is missing; `python3 -m testbed setup` installs it (package {need.package})"
            )
        own, kind = host.free_subnets(2)
        self.run.mkdir(mode=0o700, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        siblings = self._siblings()
        self.before.write_text(siblings[0].read_text() if siblings else host.look().as_json())
        (self.run / _NETWORKS).write_text(json.dumps({self.own_bridge: str(own), self.kind_bridge: str(kind)}))
        host.prepare()
        host.create_bridge(self.own_bridge, own)
        configuration = self.data.parent / "daemon.json"
        configuration.write_text("{}\n")
        command: list[str | Path] = [
            provision.find("dockerd") or "dockerd",
            f"--config-file={configuration}",  # never the host's /etc/docker/daemon.json
            f"--host={self.engine.host}",
            f"--data-root={self.data}",
            f"--exec-root={self.run / 'exec'}",
            f"--pidfile={self.run / 'dockerd.pid'}",
            f"--bridge={self.own_bridge}",  # never docker0
            f"--default-address-pool=base={kind},size={kind.prefixlen}",
            f"--insecure-registry={kind}",
            "--iptables=false",  # the few rules that are needed are ours, see host.let_through
            f"--cgroup-parent=/{self.cgroup}",
            "--log-level=warn",
            *self._runtime(),
        ]
        search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        daemon = daemons.start(command, self.log, self.pid, {"PATH": search, "DOCKER_HOST": ""})
        try:
            wait_until(lambda: not daemon.running() or self._answers(), "dockerd to answer", 60, 0.1)
        finally:
            if not self._answers():
                raise BedError(f"the private dockerd did not start; the end of {self.log}:\n{tail(self.log, 1500)}")
        name = f"com.docker.network.bridge.name={self.kind_bridge}"
        if not succeeds([_client(), "network", "inspect", NETWORK], env=self.engine.environment):
            self.engine.docker("network", "create", "--driver=bridge", f"--subnet={kind}", "--opt", name, NETWORK)
        for bridge, network in ((self.own_bridge, own), (self.kind_bridge, kind)):
            host.let_through(bridge, network)
        self.complete.touch()

    def down(self) -> None:
        daemon = daemons.find(self.pid)
        if daemon:
            if self._answers():
                containers = self.engine.docker("ps", "--all", "--quiet").split()
                if containers:
                    self.engine.docker("rm", "--force", "--volumes", *containers)
                self.engine.docker("network", "prune", "--force")
                self.engine.docker("volume", "prune", "--force")
            daemon.end(grace_s=20)
        self._end_leftovers()
        self._unmount()
        networks = self.run / _NETWORKS
        if networks.exists():
            for bridge, network in json.loads(networks.read_text()).items():
                host.let_through(bridge, ipaddress.IPv4Network(network), insert=False)
                host.remove_link(bridge)
        if self.before.exists() and not self._siblings():
            host.restore(host.Before.from_json(self.before.read_text()))
        self._remove_cgroups()
        shutil.rmtree(self.run, ignore_errors=True)
        self.pid.unlink(missing_ok=True)

    def _siblings(self) -> list[Path]:
        """What private engines of other caches wrote down about this host: the last one to leave restores it."""
        return [file for file in Path("/run").glob(f"{_RUN}*/{_BEFORE}") if file.parent != self.run]

    def _answers(self) -> bool:
        return self.socket.exists() and succeeds([_client(), "version"], env=self.engine.environment, timeout_s=15)

    def _runtime(self) -> Sequence[str]:
        """Where the host lacks CAP_SYS_RESOURCE, runc fails to give it to a privileged container: leave it out."""
        status = Path("/proc/self/status").read_text()
        bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
        if int(bounding, 16) >> _CAP_SYS_RESOURCE & 1:
            return ()
        wrapper = self.data.parent / "runc-without-sys-resource"
        wrapper.write_text(_RUNC_WRAPPER.replace("RUNC", provision.find("runc") or "runc"))
        wrapper.chmod(0o755)
        return (f"--add-runtime=reduced={wrapper}", "--default-runtime=reduced")

    def _end_leftovers(self) -> None:
        """After a crash of dockerd its shims and their containers live on: end them, and containerd."""
        for pid in self._leftovers():
            for victim in (*daemons.children(pid), pid):
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        wait_until(lambda: not self._leftovers(), "the engine's processes to end", 20)

    def _leftovers(self) -> list[int]:
        """Programs of an engine that have this engine's folder, and no other's, in their command line.

        Both are needed: a person's docker client or editor may name that folder too.
        """
        return [pid for pid in daemons.mentioning(str(self.run)) if daemons.name_of(pid) in _PROGRAMS]

    def _unmount(self) -> None:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        points = [Path(line.split()[1].encode().decode("unicode_escape")) for line in lines]
        # The data folder itself too: dockerd mounts it onto itself, and leaves that when it is killed.
        ours = [point for point in points if point.is_relative_to(self.run) or point.is_relative_to(self.data)]
        for point in sorted(ours, reverse=True):
            succeeds(["umount", "--lazy", point])

    def _remove_cgroups(self) -> None:
        root = Path("/sys/fs/cgroup")
        for top in [root / self.cgroup, *root.glob(f"*/{self.cgroup}")]:
            # Only empty groups can be removed, from the leaves up.
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    continue


_RUNC_WRAPPER = """#!/bin/sh
# Removes CAP_SYS_RESOURCE from a container's specification: this host does not have it to give.
previous=
for argument; do
  case "$previous" in
    --bundle | -b) file="$argument/config.json" ;;
    --process | -p) file="$argument" ;;
  esac
  previous="$argument"
done
[ -n "${file:-}" ] && sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g; s/"CAP_SYS_RESOURCE"//g' "$file"
exec RUNC "$@"
"""
