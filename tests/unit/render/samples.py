"""Declared objects that the render tests share: two founders in two jurisdictions, one later member, one release."""

from __future__ import annotations

from typing import Any

from jil.api.jurisdiction import JurisdictionSpec
from jil.api.network import NetworkSpec
from jil.api.node import NodeSpec
from jil.api.release import ReleaseSpec
from jil.render.context import NodeContext, Peer

DIGEST = "sha256:" + "ab" * 32


def image(name: str) -> dict[str, str]:
    return {"image": f"registry.example/jil/{name}@{DIGEST}", "tag": "0.1.0"}


def release(flavour: str = "kafka", services: list[dict[str, Any]] | None = None) -> ReleaseSpec:
    return ReleaseSpec.model_validate(
        {
            "version": "0.1.0",
            "broker": {"flavour": flavour},
            "images": {c: image(c) for c in ("database", "cache", "broker", "validator", "health")},
            "services": services
            if services is not None
            else [
                {
                    "name": "transfers",
                    "image": image("node"),
                    "command": ["python", "-m", "jil.node.transfers"],
                    "needs": ["database"],
                },
                {
                    "name": "rates",
                    "image": image("node"),
                    "command": ["python", "-m", "jil.node.rates"],
                    "needs": ["cache", "broker"],
                },
            ],
        }
    )


def network() -> NetworkSpec:
    return NetworkSpec.model_validate(
        {
            "chainId": "jil-test",
            "track": "devnet",
            "genesis": {"time": "2026-01-01T00:00:00Z"},
            "members": [
                {"nodeId": "CH-ZUG-01", "zone": "CH/FINMA", "founder": True, "namespace": "jil-ch-finma"},
                {"nodeId": "SG-MAS-01", "zone": "SG/MAS", "founder": True, "namespace": "jil-sg-mas"},
                {"nodeId": "GB-LON-01", "zone": "GB/FCA", "namespace": "jil-gb-fca"},
            ],
        }
    )


ZURICH = {"nodeId": "CH-ZUG-01", "region": "ch-zug", "country": "CH", "datacenter": "zug-1"}
SINGAPORE = {"nodeId": "SG-MAS-01", "region": "sg-central", "country": "SG", "datacenter": "sin-2"}

PEER_ZURICH = Peer("a" * 40, "ch-zug-01-p2p.jil-ch-finma.svc:26656")
PEER_SINGAPORE = Peer("b" * 40, "sg-mas-01-p2p.jil-sg-mas.svc:26656")


def zurich(**overrides: Any) -> NodeContext:
    """The context of CH-ZUG-01; ``spec`` overrides fields of the node, everything else fields of the context."""
    spec = {**ZURICH, **overrides.pop("spec", {})}
    values: dict[str, Any] = {
        "name": "ch-zug-01",
        "namespace": "jil-ch-finma",
        "uid": "11111111-1111-1111-1111-111111111111",
        "node": NodeSpec.model_validate(spec),
        "jurisdiction_name": "ch-finma",
        "jurisdiction": JurisdictionSpec.model_validate({"zone": "CH/FINMA", "network": "jil", "release": "r1"}),
        "network": network(),
        "release_name": "r1",
        "release": release(),
        "system_namespace": "jil-system",
        "dialled_peers": (PEER_SINGAPORE,),
        "allowed_peer_ids": ("a" * 40, "b" * 40),
        "p2p_cluster_ip": "10.96.0.11",
    }
    return NodeContext(**{**values, **overrides})


def singapore(**overrides: Any) -> NodeContext:
    values: dict[str, Any] = {
        "name": "sg-mas-01",
        "namespace": "jil-sg-mas",
        "uid": "22222222-2222-2222-2222-222222222222",
        "node": NodeSpec.model_validate(SINGAPORE),
        "jurisdiction_name": "sg-mas",
        "jurisdiction": JurisdictionSpec.model_validate({"zone": "SG/MAS", "network": "jil", "release": "r1"}),
        "dialled_peers": (PEER_ZURICH,),
        "p2p_cluster_ip": "10.96.0.22",
    }
    return zurich(**{**values, **overrides})
