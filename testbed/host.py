"""What a Docker engine changes on the host (network, kernel settings, files): chosen with care, undone afterwards.

Everything here needs root and is used for the private engine only; a user's own engine is never touched.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from testbed.errors import BedError
from testbed.processes import run, succeeds
from testbed.provision import find

_SYSCTLS = (
    # dockerd
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.ipv6.conf.default.forwarding",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    # kubelets of privileged nodes
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
    # the systemd of every node
    "fs.file-max",
    "fs.nr_open",
    "fs.protected_fifos",
    "fs.protected_hardlinks",
    "fs.protected_regular",
    "fs.protected_symlinks",
    "kernel.core_uses_pid",
    "kernel.pid_max",
    "kernel.sysrq",
    # we, for several systemds and kubelets on one kernel
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
)
_WANTED = {"net.ipv4.ip_forward": 1, "fs.inotify.max_user_instances": 1024, "fs.inotify.max_user_watches": 524288}
_TABLES = ("filter", "nat")
_FAMILIES = ("iptables", "ip6tables")
_POOL = ipaddress.ip_network("172.31.128.0/17")
"""Two free /24 of this range are taken: outside of what Docker (172.17-30) and Kubernetes (10.x) use by default."""


_FILES = ("/etc/docker/key.json", "/etc/docker", "/run/docker", "/run/containerd", "/opt/containerd")
"""dockerd and containerd make these whatever their flags say."""


@dataclass
class Before:
    """The host as it was before: sysctls, policy of FORWARD, chains by family and table, files that were not there."""

    sysctls: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        """For the state file."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Before:
        """From the state file."""
        return Before(**json.loads(text))


def look() -> Before:
    """Write down how the host is now."""
    before = Before(sysctls=_sysctls(), absent=[name for name in _FILES if not Path(name).exists()])
    for family in _FAMILIES:
        for table in _TABLES:
            rules = _rules(family, table)
            before.chains[f"{family}/{table}"] = [rule.split()[1] for rule in rules if rule.startswith(("-N", "-P"))]
            for rule in rules:
                if table == "filter" and rule.startswith("-P FORWARD "):
                    before.policies[family] = rule.split()[2]
    return before


def prepare() -> None:
    """Settings the engine and several nodes need. dockerd closes FORWARD when it has to enable forwarding itself."""
    for name, value in _WANTED.items():
        path = _sysctl_path(name)
        if path.exists() and int(path.read_text().split()[0]) < value:
            path.write_text(str(value))


def free_subnets(count: int) -> list[ipaddress.IPv4Network]:
    """``count`` /24 networks that no route of this host overlaps. Raises BedError when there are not so many."""
    taken = []
    for line in _ip("-4", "route", "show", "table", "all").splitlines():
        match = re.match(r"(?:\w+ )?(\d+\.\d+\.\d+\.\d+(?:/\d+)?)\b", line)
        if match:
            taken.append(ipaddress.ip_network(match[1], strict=False))
    free = [each for each in _POOL.subnets(new_prefix=24) if not any(each.overlaps(other) for other in taken)]
    if len(free) < count:
        raise BedError(f"no {count} free /24 networks in {_POOL}: routes of this host take them (`ip route`)")
    return [each for each in free[:count] if isinstance(each, ipaddress.IPv4Network)]


def create_bridge(name: str, network: ipaddress.IPv4Network) -> None:
    """A bridge of ours with the network's first address; one of the same name is replaced."""
    remove_link(name)
    _ip("link", "add", name, "type", "bridge")
    _ip("address", "add", f"{network[1]}/{network.prefixlen}", "dev", name)
    _ip("link", "set", name, "up")


def remove_link(name: str) -> None:
    """Delete a network interface if it is there."""
    if Path("/sys/class/net", name).exists():
        _ip("link", "delete", name)


def restore(before: Before, bridges: Iterable[str]) -> None:
    """Bring the host back to ``before``: rules and chains that the engine left, FORWARD's policy, sysctls,
    files."""
    names = tuple(bridges)
    for family in _FAMILIES:
        for table in _TABLES:
            _remove_rules(family, table, set(before.chains.get(f"{family}/{table}", [])), names)
        policy = before.policies.get(family)
        if policy and find(family):
            succeeds([_program(family), "-w", "-P", "FORWARD", policy])
    now = _sysctls()
    for name, value in before.sysctls.items():
        if now.get(name, value) != value:
            _sysctl_path(name).write_text(value)
    for name in before.absent:
        path = Path(name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _remove_rules(family: str, table: str, chains_before: set[str], bridges: tuple[str, ...]) -> None:
    rules = _rules(family, table)
    new = {rule.split()[1] for rule in rules if rule.startswith("-N DOCKER")} - chains_before
    command = [_program(family), "-w", "-t", table]
    for rule in rules:
        words = rule.split()
        if words[0] == "-A" and (new & set(words) or set(bridges) & set(words)) and words[1] not in new:
            succeeds([*command, "-D", *words[1:]])
    for chain in new:
        succeeds([*command, "-F", chain])
    for chain in new:
        succeeds([*command, "-X", chain])


def _rules(family: str, table: str) -> list[str]:
    if not find(family):
        return []
    try:
        return run([_program(family), "-w", "-t", table, "-S"]).splitlines()
    except BedError:  # a kernel without this family or table has nothing to restore
        return []


def _program(family: str) -> str:
    return find(family) or family


def _ip(*arguments: str) -> str:
    return run([find("ip") or "ip", *arguments])


def _sysctl_path(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def _sysctls() -> dict[str, str]:
    found = {}
    for name in _SYSCTLS:
        path = _sysctl_path(name)
        if path.exists():
            found[name] = path.read_text().strip()
    return found
