"""Every connection that a node needs is allowed by the rendered NetworkPolicies, and nothing else is.

A small evaluator of the NetworkPolicy semantics (podSelector, namespaceSelector, ports; policies are additive, a pod
that is selected by none for a direction is open): the test bed's CNI enforces none, so the objects are judged by what
they mean, and no claim of enforcement is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from jil.render import node, policies
from tests.unit.render import samples


@dataclass(frozen=True)
class Pod:
    namespace: str
    labels: dict[str, str] = field(hash=False)


NAMESPACES = {
    "jil-ch-finma": {"kubernetes.io/metadata.name": "jil-ch-finma", "jil.io/network": "jil"},
    "jil-sg-mas": {"kubernetes.io/metadata.name": "jil-sg-mas", "jil.io/network": "jil"},
    "jil-system": {"kubernetes.io/metadata.name": "jil-system"},
    "kube-system": {"kubernetes.io/metadata.name": "kube-system"},
    "elsewhere": {"kubernetes.io/metadata.name": "elsewhere"},
}


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "the evaluator knows matchLabels only; extend it with the renderer"
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())


def _peer_matches(peer: dict[str, Any], policy_namespace: str, pod: Pod) -> bool:
    assert set(peer) <= {"podSelector", "namespaceSelector"}
    if "namespaceSelector" in peer:
        if not _matches(peer["namespaceSelector"], NAMESPACES[pod.namespace]):
            return False
    elif pod.namespace != policy_namespace:
        return False
    return _matches(peer.get("podSelector", {}), pod.labels)


def _direction_allows(
    all_policies: list[dict[str, Any]], direction: str, subject: Pod, other: Pod, port: int, protocol: str
) -> bool:
    selecting = [
        p
        for p in all_policies
        if p["metadata"]["namespace"] == subject.namespace
        and direction in p["spec"]["policyTypes"]
        and _matches(p["spec"]["podSelector"], subject.labels)
    ]
    if not selecting:
        return True
    side = "from" if direction == "Ingress" else "to"
    for policy in selecting:
        for rule in policy["spec"].get(direction.lower(), []):
            ports = rule.get("ports")
            if ports is not None and not any(p["port"] == port and p["protocol"] == protocol for p in ports):
                continue
            peers = rule.get(side)
            if peers is None or any(_peer_matches(p, policy["metadata"]["namespace"], other) for p in peers):
                return True
    return False


def allowed(all_policies: list[dict[str, Any]], source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    return _direction_allows(all_policies, "Egress", source, target, port, protocol) and _direction_allows(
        all_policies, "Ingress", target, source, port, protocol
    )


def _world() -> tuple[list[dict[str, Any]], dict[str, Pod]]:
    found: list[dict[str, Any]] = []
    pods: dict[str, Pod] = {}
    for context in (samples.zurich(), samples.singapore()):
        rendered = node.objects(context)
        found += [o for o in rendered if o["kind"] == "NetworkPolicy"]
        found += policies.namespace_objects(context.namespace, context.jurisdiction_name, context.network_name)
        for item in node.workloads(rendered):
            labels = item["spec"]["template"]["metadata"]["labels"]
            pods[item["metadata"]["name"]] = Pod(context.namespace, labels)
    pods["operator"] = Pod("jil-system", {"app.kubernetes.io/name": "jil-operator"})
    pods["dns"] = Pod("kube-system", {"k8s-app": "kube-dns"})
    pods["stranger"] = Pod("elsewhere", {"app": "curl"})
    pods["intruder"] = Pod("jil-ch-finma", {"app": "shell"})
    return found, pods


POLICIES, PODS = _world()

NEEDED = [
    ("ch-zug-01-transfers", "ch-zug-01-database", 5432),
    ("ch-zug-01-rates", "ch-zug-01-cache", 6379),
    ("ch-zug-01-rates", "ch-zug-01-broker", 9092),
    ("ch-zug-01-health", "ch-zug-01-database", 5432),
    ("ch-zug-01-health", "ch-zug-01-cache", 6379),
    ("ch-zug-01-health", "ch-zug-01-broker", 9092),
    ("ch-zug-01-health", "ch-zug-01-validator", 26657),
    ("ch-zug-01-validator", "sg-mas-01-validator", 26656),
    ("sg-mas-01-validator", "ch-zug-01-validator", 26656),
    ("operator", "ch-zug-01-health", 8081),
    ("stranger", "ch-zug-01-transfers", 8080),
]

FORBIDDEN = [
    ("ch-zug-01-transfers", "ch-zug-01-cache", 6379, "it did not ask for the cache"),
    ("ch-zug-01-rates", "ch-zug-01-database", 5432, "it did not ask for the database"),
    ("ch-zug-01-transfers", "sg-mas-01-database", 5432, "another node's database (AC-02)"),
    ("ch-zug-01-transfers", "sg-mas-01-transfers", 8080, "another node's service (AC-02)"),
    ("ch-zug-01-validator", "ch-zug-01-database", 5432, "the validator needs no database"),
    ("ch-zug-01-validator", "sg-mas-01-validator", 26657, "RPC stays inside a node"),
    ("operator", "ch-zug-01-database", 5432, "the operator never logs in to a node's database"),
    ("stranger", "ch-zug-01-database", 5432, "a stranger"),
    ("stranger", "ch-zug-01-validator", 26656, "a stranger is no peer"),
    ("stranger", "ch-zug-01-health", 8081, "health is for the operator"),
    ("intruder", "ch-zug-01-database", 5432, "a pod without the label, in the namespace"),
    ("ch-zug-01-transfers", "stranger", 443, "nothing leaves a node"),
]


@pytest.mark.parametrize(("source", "target", "port"), NEEDED)
def test_every_needed_connection_is_allowed(source: str, target: str, port: int) -> None:
    assert allowed(POLICIES, PODS[source], PODS[target], port)


@pytest.mark.parametrize(("source", "target", "port", "why"), FORBIDDEN)
def test_ac_02_nothing_else_is_allowed(source: str, target: str, port: int, why: str) -> None:
    assert not allowed(POLICIES, PODS[source], PODS[target], port), why


def test_every_pod_finds_names() -> None:
    for name, pod in PODS.items():
        if pod.namespace.startswith("jil-") and name != "operator":
            assert allowed(POLICIES, pod, PODS["dns"], 53, "UDP"), name
            assert allowed(POLICIES, pod, PODS["dns"], 53), name


def test_every_environment_variable_that_names_a_host_has_its_policy() -> None:
    """What a container is told to connect to is exactly what its pod may connect to."""
    targets = {
        "JIL_DATABASE_HOST": ("database", 5432),
        "JIL_CACHE_HOST": ("cache", 6379),
        "JIL_BROKER_SEEDS": ("broker", 9092),
        "JIL_RPC_URL": ("validator", 26657),
    }
    for item in node.workloads(node.objects(samples.zurich())):
        source = PODS[item["metadata"]["name"]]
        env = {e["name"] for c in item["spec"]["template"]["spec"]["containers"] for e in c["env"]}
        for variable, (component, port) in targets.items():
            reachable = allowed(POLICIES, source, PODS[f"ch-zug-01-{component}"], port)
            assert reachable == (variable in env), f"{item['metadata']['name']}: {variable}"


def test_without_its_policies_a_namespace_would_be_open_so_the_evaluator_can_fail() -> None:
    assert allowed([], PODS["stranger"], PODS["ch-zug-01-database"], 5432)
