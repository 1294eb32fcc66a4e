"""NetworkPolicies: nothing is allowed in a JIL namespace but the flows that a node needs.

The namespace's default-deny belongs to the jurisdiction; what is opened belongs to each node. Pods say what they need
by label (``jil.io/needs-database``), and only pods of the same node get it.
"""

from __future__ import annotations

from collections.abc import Mapping

from jil.api import labels
from jil.render import broker, cache, database, pods, services, validator
from jil.render.context import NodeContext, Object
from jil.render.meta import metadata, selector

DEFAULT_DENY = "jil-default-deny"
DNS = "jil-dns"

OPERATOR_SELECTOR = {labels.APP_NAME: "jil-operator"}
"""Labels of the operator's own pods (chart jil-operator): it reads the health endpoint."""

_NEEDS = {
    "database": (database.COMPONENT, database.PORT),
    "cache": (cache.COMPONENT, cache.PORT),
    "broker": (broker.COMPONENT, broker.PORT),
    "chain": (validator.COMPONENT, validator.RPC_PORT),
}


def _ports(*numbers: int, protocol: str = "TCP") -> list[Object]:
    return [{"port": number, "protocol": protocol} for number in numbers]


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _policy(meta: Mapping[str, object], spec: Object) -> Object:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": dict(meta), "spec": spec}


def namespace_objects(namespace: str, jurisdiction: str, network: str) -> list[Object]:
    """Default-deny both ways for every pod of the namespace, and DNS, without which nothing finds anything."""

    def meta(name: str) -> Object:
        return {
            "name": name,
            "namespace": namespace,
            "labels": {
                labels.APP_NAME: "network-policy",
                labels.APP_MANAGED_BY: labels.MANAGED_BY,
                labels.APP_PART_OF: labels.PART_OF,
                labels.NETWORK: network,
                labels.JURISDICTION: jurisdiction,
            },
        }

    return [
        _policy(meta(DEFAULT_DENY), {"podSelector": {}, "policyTypes": ["Egress", "Ingress"]}),
        _policy(
            meta(DNS),
            {
                "podSelector": {},
                "policyTypes": ["Egress"],
                "egress": [
                    {
                        "to": [_namespace("kube-system")],
                        "ports": [*_ports(53, protocol="UDP"), *_ports(53)],
                    }
                ],
            },
        ),
    ]


def _need_policies(ctx: NodeContext, need: str) -> list[Object]:
    component, port = _NEEDS[need]
    clients = {labels.APP_INSTANCE: ctx.name, f"{pods.NEEDS_LABEL_PREFIX}{need}": "true"}
    server = selector(ctx, component)
    base = labels.child_name(ctx.name, f"needs-{need}")
    return [
        _policy(
            metadata(ctx, f"{base}-in", component),
            {
                "podSelector": {"matchLabels": server},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": clients}}], "ports": _ports(port)}],
            },
        ),
        _policy(
            metadata(ctx, f"{base}-out", component),
            {
                "podSelector": {"matchLabels": clients},
                "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": {"matchLabels": server}}], "ports": _ports(port)}],
            },
        ),
    ]


def _p2p_policy(ctx: NodeContext) -> Object:
    """Validators of the network reach each other across namespaces; members of other clusters by their addresses."""
    peers: Object = {
        "namespaceSelector": {"matchLabels": {labels.NETWORK: ctx.network_name}},
        "podSelector": {"matchLabels": {labels.APP_NAME: validator.COMPONENT, labels.NETWORK: ctx.network_name}},
    }
    egress: list[Object] = [{"to": [peers], "ports": _ports(validator.P2P_PORT)}]
    ingress: list[Object] = [{"from": [peers], "ports": _ports(validator.P2P_PORT)}]
    external_ports = sorted({int(m.address.rsplit(":", 1)[1]) for m in ctx.network.members if m.address})
    if external_ports:
        # A policy cannot name a DNS host; the port is what it can hold on to. Peers are filtered by id in any case.
        egress.append({"ports": _ports(*external_ports)})
        ingress.append({"ports": _ports(validator.P2P_PORT)})
    return _policy(
        metadata(ctx, labels.p2p_service(ctx.name), validator.COMPONENT),
        {
            "podSelector": {"matchLabels": selector(ctx, validator.COMPONENT)},
            "policyTypes": ["Egress", "Ingress"],
            "egress": egress,
            "ingress": ingress,
        },
    )


def _service_policy(ctx: NodeContext, name: str, port: int) -> Object:
    """A service is what the node offers: anybody in the cluster's network may call it, it may call only what it needs."""
    return _policy(
        metadata(ctx, labels.child_name(ctx.name, name), name),
        {
            "podSelector": {"matchLabels": selector(ctx, name)},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": _ports(port)}],
        },
    )


def _health_policy(ctx: NodeContext) -> Object:
    return _policy(
        metadata(ctx, labels.child_name(ctx.name, services.HEALTH), services.HEALTH),
        {
            "podSelector": {"matchLabels": selector(ctx, services.HEALTH)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [
                        {
                            **_namespace(ctx.system_namespace),
                            "podSelector": {"matchLabels": dict(OPERATOR_SELECTOR)},
                        }
                    ],
                    "ports": _ports(services.HEALTH_PORT),
                }
            ],
        },
    )


def objects(ctx: NodeContext) -> list[Object]:
    """The openings of one node."""
    needs = [need for need in _NEEDS if need != "chain" or ctx.node.validator.enabled]
    made = [policy for need in needs for policy in _need_policies(ctx, need)]
    if ctx.node.validator.enabled:
        made.append(_p2p_policy(ctx))
    made.append(_health_policy(ctx))
    made += [_service_policy(ctx, item.name, item.port) for item in ctx.release.services]
    return made
