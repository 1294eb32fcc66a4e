"""What a renderer may know: the declared objects, already resolved, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jil.api.jurisdiction import JurisdictionSpec
from jil.api.network import NetworkSpec
from jil.api.node import NodeSpec
from jil.api.release import ReleaseSpec
from jil.render.platform import Platform
from jil.render.profiles import Profile, profile_for

Object = dict[str, Any]
"""A Kubernetes object as plain data, ready for JSON."""

TEMPLATE_VERSION = 1
"""The newest render version. A node keeps the one in its record; see architecture: an operator upgrade moves no pod."""


class UnsupportedTemplateVersionError(ValueError):
    """The record asks for a render version that this operator does not carry."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"templateVersion {version} is not rendered by this operator (it renders {TEMPLATE_VERSION}); "
            "run an operator release that supports it, or move the node to a newer templateVersion by a rollout"
        )


@dataclass(frozen=True)
class Peer:
    """One entry of CometBFT's persistent_peers."""

    peer_id: str  # 40 lower-case hex digits
    address: str  # host:port, a Service name or an address of another cluster

    def __str__(self) -> str:
        return f"{self.peer_id}@{self.address}"


@dataclass(frozen=True)
class NodeContext:
    """Everything that one node's objects are made from."""

    name: str
    namespace: str
    uid: str
    node: NodeSpec
    jurisdiction_name: str
    jurisdiction: JurisdictionSpec
    network: NetworkSpec
    release_name: str
    release: ReleaseSpec
    system_namespace: str
    dialled_peers: tuple[Peer, ...] = ()
    """Peers this node dials: for a founder the other founders, for a later member the members listed before it."""
    allowed_peer_ids: tuple[str, ...] = ()
    """Every member's peer id: who may dial in. Reloaded by the validator without a restart."""
    p2p_cluster_ip: str | None = None
    """The recorded clusterIP: a deleted p2p Service comes back at the same address."""
    template_version: int = TEMPLATE_VERSION
    platform: Platform = field(default_factory=Platform)
    """What this cluster adds to every pod, by the operator's settings."""

    def __post_init__(self) -> None:
        if self.template_version != TEMPLATE_VERSION:
            raise UnsupportedTemplateVersionError(self.template_version)

    @property
    def profile(self) -> Profile:
        return profile_for(self.node.profile)

    @property
    def network_name(self) -> str:
        return self.jurisdiction.network
