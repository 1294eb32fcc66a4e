"""Machines that fail: a node of the kind cluster is stopped, started, cut off from the network and healed.

A cut is two rules in the node's own network namespace that drop whatever comes in or goes out: addresses, routes and
running containers stay as they are, which is what a broken switch looks like. Works on every Docker engine; restarting
the node removes the rules too.
"""

from __future__ import annotations

from typing import Protocol

from testbed.engine import Engine
from testbed.errors import BedError
from testbed.processes import wait_until

_MARK = "jil-testbed-cut"
_RULES = (("PREROUTING", "-i"), ("POSTROUTING", "-o"))
_READY_DEADLINE_S = 180.0


class HasNodes(Protocol):
    """A kind cluster, as far as its nodes are concerned."""

    @property
    def name(self) -> str:
        """What its containers are called by."""

    def kubectl(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run kubectl on it; returns stdout. Raises BedError."""


def names(host: Engine, cluster: HasNodes) -> list[str]:
    """Container names of the cluster's nodes, running or not."""
    label = f"label=io.x-k8s.kind.cluster={cluster.name}"
    return sorted(host.docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").split())


def resolve(host: Engine, cluster: HasNodes, name: str) -> str:
    """The container of a node by its full name or the part after the cluster's: ``worker2`` is ``jil-worker2``.

    Raises BedError listing the nodes when there is none of that name.
    """
    known = names(host, cluster)
    for candidate in (name, f"{cluster.name}-{name}"):
        if candidate in known:
            return candidate
    raise BedError(f"the cluster '{cluster.name}' has no node '{name}'; it has {', '.join(known) or 'none at all'}")


def state(host: Engine, node: str) -> str:
    """Docker's word for the container (running, exited, paused), or "cut" when it runs behind a cut."""
    found = host.docker("inspect", "--format", "{{.State.Status}}", node).strip()
    return "cut" if found == "running" and _is_cut(host, node) else found


def stop(host: Engine, node: str, *, kill: bool = False) -> None:
    """Shut a node down, or with ``kill`` pull its plug. Does nothing to one that is down."""
    if state(host, node) == "paused":
        host.docker("unpause", node)
    if kill:
        if state(host, node) != "exited":
            host.docker("kill", node)
    else:
        host.docker("stop", "--time", "20", node, timeout_s=90)


def start(host: Engine, cluster: HasNodes, node: str) -> None:
    """Start a node that is down (or paused) and wait until Kubernetes calls it Ready again."""
    before = _heartbeat(cluster, node)
    wake(host, node)
    _wait_ready(cluster, node, before)


def wake(host: Engine, node: str) -> None:
    """Start, unpause and heal a node, whatever it needs of that; does not wait."""
    found = state(host, node)
    if found == "paused":
        host.docker("unpause", node)
    elif found not in ("running", "cut"):
        host.docker("start", node)
    _uncut(host, node)


def cut(host: Engine, node: str) -> None:
    """Drop everything that comes to the node or leaves it, also of its pods. Raises BedError when it does not run."""
    found = state(host, node)
    if found not in ("running", "cut"):
        raise BedError(f"the node '{node}' is {found}, there is nothing to cut; `start-node` starts it")
    _shell(host, node, "-C {0} 2>/dev/null || $f -w -t mangle -I {0}")


def heal(host: Engine, cluster: HasNodes, node: str) -> None:
    """Take the cut away and wait until Kubernetes calls the node Ready. Raises BedError when it does not run."""
    found = state(host, node)
    if found not in ("running", "cut"):
        raise BedError(f"the node '{node}' is {found}, a cut is not what it suffers from; `start-node` starts it")
    before = _heartbeat(cluster, node)
    _uncut(host, node)
    _wait_ready(cluster, node, before)


def _uncut(host: Engine, node: str) -> None:
    _shell(host, node, "-D {0} 2>/dev/null || true")


def _is_cut(host: Engine, node: str) -> bool:
    return host.succeeds("exec", node, "sh", "-c", f"iptables -w -t mangle -S PREROUTING | grep -q {_MARK}")


def _shell(host: Engine, node: str, action: str) -> None:
    """Run an iptables action (a format with the rule as {0}) for both rules, in IPv4 and, where it is there, IPv6."""
    lines = []
    for chain, direction in _RULES:
        rule = f"{chain} {direction} eth0 -m comment --comment {_MARK} -j DROP"
        lines.append(f"$f -w -t mangle {action.format(rule)} || test $f = ip6tables")
    script = "for f in iptables ip6tables; do command -v $f >/dev/null || continue; " + "; ".join(lines) + "; done"
    host.docker("exec", node, "sh", "-ec", script)


def _wait_ready(cluster: HasNodes, node: str, heartbeat: str) -> None:
    """Ready, and by a word that is newer than ``heartbeat``: a node that is away stays "Ready" for 40 s."""

    def ready() -> bool:
        # The API server itself may be on the node that comes back.
        try:
            word = cluster.kubectl("get", "node", node, "-o", _READY, timeout_s=10).strip()
        except BedError:
            return False
        return word == "True" and _heartbeat(cluster, node) != heartbeat

    wait_until(ready, f"the node '{node}' to be Ready again", _READY_DEADLINE_S, 0.5)


def _heartbeat(cluster: HasNodes, node: str) -> str:
    """When the node's kubelet last renewed its Lease, as the API server has it; "" when nobody can say."""
    try:
        lease = cluster.kubectl("-n", "kube-node-lease", "get", "lease", node, "-o", _RENEWED, timeout_s=10)
    except BedError:
        return ""
    return lease.strip()


_READY = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
_RENEWED = "jsonpath={.spec.renewTime}"
