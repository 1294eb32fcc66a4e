"""What a Docker engine changes on the host (network, kernel settings, files): chosen with care, undone afterwards.

Everything here needs root and is used for the private engine only; a user's own engine is never touched.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
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
_POOL = ipaddress.ip_network("172.31.128.0/17")
"""Two free /24 of this range are taken: outside of what Docker (172.17-30) and Kubernetes (10.x) use by default."""


_FILES = ("/etc/docker/key.json", "/etc/docker", "/run/docker", "/run/containerd", "/opt/containerd")
"""dockerd and containerd make these whatever their flags say."""


@dataclass
class Before:
    """The host as it was before: sysctls by name, and the files that were not there."""

    sysctls: dict[str, str] = field(default_factory=dict)
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
    return Before(_sysctls(), [name for name in _FILES if not Path(name).exists()])


def prepare() -> None:
    """Settings that the engine and several nodes on one kernel need."""
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
    """Delete a network interface if it is there, and what is plugged into it if it is a bridge.

    After a crash of the engine the cables of its containers are left, and they may last: a network namespace without a
    process lives on until its last connection has timed out.
    """
    folder = Path("/sys/class/net", name)
    for port in sorted(folder.glob("brif/*")):
        succeeds([find("ip") or "ip", "link", "delete", port.name])
    if folder.exists():
        _ip("link", "delete", name)


def let_through(bridge: str, network: ipaddress.IPv4Network, *, insert: bool = True) -> None:
    """Three rules for one bridge: forwarded in both directions, masqueraded towards the outside; or remove them.

    dockerd runs with --iptables=false, so these are all the rules there are, and they go one by one: no chain is
    made, no policy changed, another engine on the host is not disturbed.
    """
    iptables = [find("iptables") or "iptables", "-w"]
    outside = ["-s", str(network), "!", "-o", bridge, "-j", "MASQUERADE"]
    rules = (
        ("filter", "FORWARD", ["-i", bridge, "-j", "ACCEPT"]),
        ("filter", "FORWARD", ["-o", bridge, "-j", "ACCEPT"]),
    )
    for table, chain, rule in (*rules, ("nat", "POSTROUTING", outside)):
        there = succeeds([*iptables, "-t", table, "-C", chain, *rule])
        if there and not insert:
            run([*iptables, "-t", table, "-D", chain, *rule])
        elif insert and not there:
            run([*iptables, "-t", table, "-I", chain, *rule])


def restore(before: Before) -> None:
    """Bring sysctls and files back to what they were."""
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
