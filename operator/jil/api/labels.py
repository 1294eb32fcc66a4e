"""Names: labels, annotations, field managers, components and every child object of a JILNode.

A name is decided here and nowhere else, so that the renderer, the RBAC, the garbage collector and the tests cannot
disagree about what a child is called.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

GROUP = "jil.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "jil"

#: Default of the operator's setting; the namespace of records, master secrets, ledgers and the operator itself.
SYSTEM_NAMESPACE = "jil-system"

# -- field managers (server-side apply) ------------------------------------------------------------------------------
FIELD_MANAGER = "jil-operator"
STATUS_FIELD_MANAGER = "jil-operator-status"
SAMPLES_FIELD_MANAGER = "jil-operator-samples"

# -- labels ----------------------------------------------------------------------------------------------------------
APP_NAME = "app.kubernetes.io/name"
APP_INSTANCE = "app.kubernetes.io/instance"
APP_MANAGED_BY = "app.kubernetes.io/managed-by"
APP_PART_OF = "app.kubernetes.io/part-of"
MANAGED_BY = "jil-operator"
PART_OF = "jil"

NETWORK = "jil.io/network"
JURISDICTION = "jil.io/jurisdiction"
NODE = "jil.io/node"
#: On the metadata of a child only: never in a pod template or a selector, so that two nodes' templates stay the same.
NODE_UID = "jil.io/node-uid"
#: On the pod templates of services and in their Services' selectors; drain flips it on the live pod.
SERVING = "jil.io/serving"

#: On a jurisdiction's namespace, from chart jil-jurisdiction: pods are admitted by its JILImageAllowList only.
IMAGE_TRUST = "jil.io/image-trust"
#: Value of it where nothing is admitted while there is no such list.
IMAGE_TRUST_REQUIRED = "required"

# -- annotations -----------------------------------------------------------------------------------------------------
CONFIRM_DELETE = "jil.io/confirm-delete"
START_PERMIT = "jil.io/start-permit"

#: Kubernetes refuses longer label values, and the names below are used as label values.
LABEL_VALUE_MAX = 63
#: Leaves room for ``-<service>`` (21) and a content hash or pod ordinal within a 63-character DNS label.
NODE_NAME_MAX = 30
SERVICE_NAME_MAX = 20


class Component(StrEnum):
    """The workloads that every JILNode has, in the order in which they start."""

    DATABASE = "database"
    CACHE = "cache"
    BROKER = "broker"
    VALIDATOR = "validator"
    HEALTH = "health"


#: Components with a StatefulSet and a volume of their own.
STATEFUL: tuple[Component, ...] = (Component.DATABASE, Component.CACHE, Component.BROKER, Component.VALIDATOR)

#: The ports of the components' Services (``validator`` has two Services, see ``p2p_service`` and ``rpc_service``).
DATABASE_PORT = 5432
CACHE_PORT = 6379
BROKER_PORT = 9092
P2P_PORT = 26656
RPC_PORT = 26657
HEALTH_PORT = 8081
SERVICE_PORT = 80

#: Names that no catalogue service may have: they would collide with children that every node has.
RESERVED_SERVICE_NAMES: tuple[str, ...] = (*(component.value for component in Component), "rpc", "p2p")


# -- children of a JILNode -------------------------------------------------------------------------------------------
def child_name(node: str, component: str) -> str:
    """Workload, Service and PVC of ``component`` (a Component or the name of a catalogue service) of node ``node``."""
    return f"{node}-{component}"


def pod_name(node: str, component: str) -> str:
    """The one pod of a StatefulSet component."""
    return f"{child_name(node, component)}-0"


def p2p_service(node: str) -> str:
    """Service of the validator's p2p port; it exists before any validator starts."""
    return f"{node}-p2p"


def rpc_service(node: str) -> str:
    """Service of the validator's RPC port."""
    return f"{node}-rpc"


def validator_key_secret(node: str) -> str:
    """Secret in the node's namespace with the consensus key."""
    return f"{node}-validator-key"


def node_key_secret(node: str) -> str:
    """Secret in the node's namespace with the p2p key."""
    return f"{node}-node-key"


def credentials_secret(node: str) -> str:
    """Secret in the node's namespace with the generated passwords."""
    return f"{node}-credentials"


def pull_secret(node: str) -> str:
    """Secret in the node's namespace with its short-lived login at the registry. No key: it is made anew all the time."""
    return f"{node}-pull"


def peers_config_map(node: str) -> str:
    """The one mutable ConfigMap of a node: the peers it lets in, reloaded without a restart."""
    return f"{node}-peers"


def config_map(node: str, component: str, content: str) -> str:
    """Immutable ConfigMap named by its content: a change is a new object, never an edit under a running pod."""
    return f"{child_name(node, component)}-{content_hash(content)}"


def content_hash(content: str) -> str:
    """First eight hex digits of the SHA-256 of ``content``."""
    return hashlib.sha256(content.encode()).hexdigest()[:8]


# -- objects in the system namespace ---------------------------------------------------------------------------------
def record_name(node_id: str) -> str:
    """Name of the JILNodeRecord; that it is unique is what makes a nodeId unique."""
    return node_id.lower()


def master_validator_key_secret(node_id: str) -> str:
    """Master copy of the consensus key beside the record: outlives the node's namespace."""
    return f"{record_name(node_id)}-validator-key"


def master_node_key_secret(node_id: str) -> str:
    """Master copy of the p2p key."""
    return f"{record_name(node_id)}-node-key"


def master_credentials_secret(node_id: str) -> str:
    """Master copy of the generated passwords."""
    return f"{record_name(node_id)}-credentials"


def genesis_config_map(network: str) -> str:
    """Immutable ConfigMap with the frozen genesis; the same name in the system namespace and beside each node."""
    return f"genesis-{network}"


#: Key of the genesis document in that ConfigMap.
GENESIS_KEY = "genesis.json"


def ledger_config_map(network: str) -> str:
    """ConfigMap with the network's disruption ledger."""
    return f"ledger-{network}"


# -- objects in a jurisdiction's namespace ---------------------------------------------------------------------------
COMPLIANCE_CONFIG_MAP = "jil-compliance"
COMPLIANCE_KEY = "compliance.json"


# -- label sets ------------------------------------------------------------------------------------------------------
def pod_labels(*, node: str, component: str, network: str, jurisdiction: str) -> dict[str, str]:
    """Labels of a pod template. ``jurisdiction`` is the name of the JILJurisdiction, ``node`` that of the JILNode."""
    return {
        APP_NAME: str(component),
        APP_INSTANCE: node,
        APP_MANAGED_BY: MANAGED_BY,
        APP_PART_OF: PART_OF,
        NETWORK: network,
        JURISDICTION: jurisdiction,
        NODE: node,
    }


def child_labels(*, node: str, node_uid: str, component: str, network: str, jurisdiction: str) -> dict[str, str]:
    """Labels of a child's own metadata: those of its pods and the JILNode's UID."""
    return pod_labels(node=node, component=component, network=network, jurisdiction=jurisdiction) | {NODE_UID: node_uid}


def selector_labels(*, node: str, component: str) -> dict[str, str]:
    """The smallest set that finds one component's pods; selectors of workloads are immutable, so it never grows."""
    return {APP_NAME: str(component), APP_INSTANCE: node, APP_PART_OF: PART_OF}


def children_selector() -> str:
    """Label selector for everything this operator owns, for watches and sweeps."""
    return f"{APP_MANAGED_BY}={MANAGED_BY}"
