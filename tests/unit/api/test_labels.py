"""Names of children: unique, within Kubernetes' limits, the same everywhere."""

from __future__ import annotations

import re

import pytest

from jil.api import labels
from jil.api.labels import Component

LONGEST_NODE = "n" * labels.NODE_NAME_MAX
LONGEST_SERVICE = "s" * labels.SERVICE_NAME_MAX
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def _children(node: str) -> list[str]:
    return [
        *(labels.child_name(node, component) for component in Component),
        labels.child_name(node, LONGEST_SERVICE),
        labels.p2p_service(node),
        labels.rpc_service(node),
        labels.validator_key_secret(node),
        labels.node_key_secret(node),
        labels.credentials_secret(node),
        labels.peers_config_map(node),
        *(labels.pod_name(node, component) for component in labels.STATEFUL),
    ]


def test_longest_names_of_children_are_dns_labels_and_label_values() -> None:
    for name in _children(LONGEST_NODE):
        assert len(name) <= labels.LABEL_VALUE_MAX
        assert DNS_1035.fullmatch(name)


def test_longest_content_named_config_map_is_a_dns_label() -> None:
    assert len(labels.config_map(LONGEST_NODE, LONGEST_SERVICE, "content")) <= labels.LABEL_VALUE_MAX


def test_label_that_a_controller_adds_to_pods_fits() -> None:
    """controller-revision-hash is <StatefulSet name>-<10 digits> and a label value: the classic limit of 52."""
    assert max(len(labels.child_name(LONGEST_NODE, component)) for component in labels.STATEFUL) <= 52


def test_names_are_those_of_the_interface() -> None:
    assert labels.child_name("ch-zug-01", Component.DATABASE) == "ch-zug-01-database"
    assert labels.pod_name("ch-zug-01", Component.VALIDATOR) == "ch-zug-01-validator-0"
    assert labels.p2p_service("ch-zug-01") == "ch-zug-01-p2p"
    assert labels.record_name("CH-ZUG-01") == "ch-zug-01"
    assert labels.master_validator_key_secret("CH-ZUG-01") == "ch-zug-01-validator-key"
    assert labels.master_node_key_secret("CH-ZUG-01") == "ch-zug-01-node-key"
    assert labels.master_credentials_secret("CH-ZUG-01") == "ch-zug-01-credentials"
    assert labels.genesis_config_map("jil-devnet") == "genesis-jil-devnet"
    assert labels.ledger_config_map("jil-devnet") == "ledger-jil-devnet"


def test_children_of_one_node_have_different_names() -> None:
    names = _children("ch-zug-01")
    assert len(set(names)) == len(names)


def test_reserved_service_names_are_those_of_fixed_children() -> None:
    fixed = {labels.child_name("n", name) for name in labels.RESERVED_SERVICE_NAMES}
    assert {labels.child_name("n", c) for c in Component} | {labels.p2p_service("n"), labels.rpc_service("n")} == fixed


def test_content_names_a_config_map() -> None:
    one, same, other = (labels.config_map("n", "cache", content) for content in ("a", "a", "b"))
    assert one == same != other
    assert re.fullmatch(r"n-cache-[0-9a-f]{8}", one)


def test_node_uid_is_never_a_label_of_pods() -> None:
    where = {"node": "ch-zug-01", "component": "cache", "network": "devnet", "jurisdiction": "ch-finma"}
    pod = labels.pod_labels(**where)
    assert labels.NODE_UID not in pod
    assert labels.child_labels(**where, node_uid="u") == pod | {labels.NODE_UID: "u"}
    assert labels.selector_labels(node="ch-zug-01", component="cache").items() <= pod.items()


@pytest.mark.parametrize("component", Component)
def test_component_label_is_plain_text(component: Component) -> None:
    where = labels.pod_labels(node="n", component=component, network="x", jurisdiction="y")
    assert type(where[labels.APP_NAME]) is str
