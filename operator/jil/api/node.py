"""JILNode: one node, declared. Everything but its id and place has a default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Len
from pydantic import Field, StringConstraints

from jil.api import labels
from jil.api.conditions import Condition
from jil.api.fields import (
    LABEL_KEY_PATTERN,
    ConsensusAddress,
    Count,
    Country,
    Datacenter,
    ImageText,
    LabelValue,
    ListMap,
    Message,
    NodeId,
    Quantity,
    RecordedPeerId,
    Region,
    ShortText,
    SpecModel,
    StatusModel,
)
from jil.api.labels import Component
from jil.api.objects import Resource
from jil.api.release import SERVICES_MAX, Resources, Service, ServiceName
from jil.api.rules import Rule, immutable, immutable_optional


class NodeState(StrEnum):
    """What the owner wants of the node."""

    RUNNING = "Running"
    STOPPED = "Stopped"
    MAINTENANCE = "Maintenance"


class Profile(StrEnum):
    """How much of a machine the node takes."""

    DEV = "dev"
    SMALL = "small"
    PROD = "prod"


class Phase(StrEnum):
    """One word for people, derived from conditions; programs read the conditions."""

    INVALID = "Invalid"
    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    CATCHING_UP = "CatchingUp"
    READY = "Ready"
    DEGRADED = "Degraded"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    MAINTENANCE = "Maintenance"
    DELETING = "Deleting"


#: Growth only: a volume cannot shrink, and the API server would accept the spec and the resize fail for ever.
_NEVER_SHRINKS = Rule(
    "!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0",
    "storage cannot shrink: volumes only grow. Keep the size or ask for more.",
    "'storage cannot shrink from ' + oldSelf + ' to ' + self + ': volumes only grow. Keep ' + oldSelf + ' or ask for "
    "more.'",
)
Size = Annotated[Quantity, _NEVER_SHRINKS]


class Storage(SpecModel):
    """Sizes of the node's volumes. They can grow and never shrink."""

    rules: ClassVar[tuple[Rule, ...]] = (
        immutable_optional(
            "storageClassName",
            "storage.storageClassName",
            "Existing volumes keep their class: make another JILNode, or put back the value that it was created with.",
        ),
    )

    storage_class_name: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = Field(
        default=None, description="StorageClass of all volumes; the cluster's default class when unset. Immutable."
    )
    database: Size = Field(default="10Gi", description="Volume of the database, in bytes.")
    cache: Size = Field(default="1Gi", description="Volume of the cache, in bytes.")
    broker: Size = Field(default="10Gi", description="Volume of the broker, in bytes.")
    validator: Size = Field(default="10Gi", description="Volume of the validator, in bytes.")

    def size(self, component: Component) -> str:
        """Requested size of a stateful component's volume. Raises KeyError for a component without one."""
        if component not in labels.STATEFUL:
            raise KeyError(f"{component} has no volume")
        size: str = getattr(self, component.value)
        return size


class Validator(SpecModel):
    """The node's part in the consensus."""

    enabled: Annotated[
        bool,
        immutable(
            "validator.enabled", "The node's place in the network depends on it: make another JILNode with another id."
        ),
    ] = Field(default=True, description="Whether the node runs a validator. Immutable.")


class Placement(SpecModel):
    """Where the node's pods may run."""

    node_selector: Annotated[
        # Only Python checks the form of a key: in CEL a key has no bound that the cost estimate could use.
        Mapping[Annotated[str, StringConstraints(max_length=317, pattern=LABEL_KEY_PATTERN)], LabelValue],
        Len(0, 16),
        Rule(
            "self.all(k, size(k) <= 317)",
            "a key of placement.nodeSelector must be the key of a label: this one has more than 317 characters.",
        ),
    ] = Field(default_factory=dict, description="Labels that a machine must have to run this node's pods, at most 16.")


class ServiceOverride(SpecModel):
    """What this node does differently for one service of the catalogue. Never the image."""

    name: ServiceName = Field(description="Name of the service in the release.")
    replicas: Annotated[int, Ge(0), Le(10)] | None = Field(
        default=None, description="Pods of the service on this node; that of the release when unset, 0 for none."
    )
    resources: Resources = Field(
        default=Resources(), description="Requests per pod; what is not set comes from the release or the profile."
    )


class NodeSpec(SpecModel):
    """Desired state of a JILNode."""

    node_id: Annotated[
        NodeId, immutable("nodeId", "Keys and data belong to it: make another JILNode for another id.")
    ] = Field(description="Id of the node, such as CH-ZUG-01; unique, and a member of the network. Immutable.")
    region: Region = Field(description="Region such as ch-zug; JIL_REGION of the node.")
    country: Country = Field(description="Country that the node stands in, ISO 3166, two capital letters.")
    datacenter: Datacenter = Field(description="Datacenter that the node stands in, such as zug-1.")
    state: NodeState = Field(
        default=NodeState.RUNNING,
        description="Running, Stopped (no pods; keys and data stay) or Maintenance (runs, serves nobody).",
    )
    profile: Profile = Field(
        default=Profile.SMALL, description="How much of a machine the node takes: dev, small, prod."
    )
    storage: Storage = Field(default=Storage(), description="Sizes of the volumes; they can grow and never shrink.")
    validator: Validator = Field(default=Validator(), description="The node's part in the consensus.")
    placement: Placement = Field(default=Placement(), description="Where the pods may run.")
    services: Annotated[tuple[ServiceOverride, ...], Len(0, SERVICES_MAX), ListMap("name")] = Field(
        default=(), description="What this node does differently for services of the catalogue."
    )

    def override(self, service: str) -> ServiceOverride | None:
        """This node's override of a service, or None."""
        return next((override for override in self.services if override.name == service), None)

    def replicas(self, service: Service) -> int:
        """Pods of a service on this node: the override where there is one, else what the release says."""
        override = self.override(service.name)
        return service.replicas if override is None or override.replicas is None else override.replicas

    @property
    def record_name(self) -> str:
        """Name of the JILNodeRecord that claims the id."""
        return labels.record_name(self.node_id)

    @property
    def components(self) -> tuple[Component, ...]:
        """The components that this node runs, in the order in which they start."""
        return tuple(c for c in Component if self.validator.enabled or c is not Component.VALIDATOR)


class WaitingFor(StatusModel):
    """What the node waits for, as the one thing that a person would look at first."""

    reason: ShortText = Field(description="Reason, as in the conditions.")
    message: Message = Field(default="", description="What is waited for and what would end the wait.")
    since: datetime | None = Field(default=None, description="When the wait began.")
    deadline: datetime | None = Field(
        default=None, description="When it will be reported as overdue; unset for a wait without limit."
    )


class ComponentStatus(StatusModel):
    """One component or service as it runs."""

    name: ShortText = Field(description="Component or service.")
    ready: bool = Field(default=False, description="Whether it does its work.")
    image: ImageText | None = Field(default=None, description="Image that runs, by digest.")
    version: ShortText | None = Field(default=None, description="Version that the component itself reports.")


class NodeStatus(StatusModel):
    """Observed state of a JILNode."""

    observed_generation: Count = Field(default=0, description="metadata.generation that the status was computed from.")
    phase: ShortText | None = Field(
        default=None, description="One word derived from the conditions: " + ", ".join(Phase) + "."
    )
    state: ShortText | None = Field(
        default=None, description="State that the node has reached: " + ", ".join(NodeState) + "."
    )
    release: ShortText | None = Field(default=None, description="JILRelease that the node runs.")
    height: Count | None = Field(
        default=None,
        description="Height of the node's chain when last sampled: every minute; with more than 350 nodes less often.",
    )
    lag: Count | None = Field(default=None, description="Blocks behind the highest peer when last sampled.")
    peer_id: RecordedPeerId | None = Field(default=None, description="p2p id of the node.")
    consensus_address: ConsensusAddress | None = Field(default=None, description="Consensus address of the node's key.")
    waiting_for: WaitingFor | None = Field(default=None, description="What the node waits for; unset when nothing.")
    components: Annotated[tuple[ComponentStatus, ...], Len(0, SERVICES_MAX + 10), ListMap("name")] = Field(
        default=(), description="Components and services as they run."
    )
    conditions: Annotated[tuple[Condition, ...], Len(0, 32), ListMap("type")] = Field(
        default=(),
        description="SpecValid, ImageTrust, IdentityReady, StorageReady, DatabaseReady, CacheReady, BrokerReady, "
        "ValidatorReady, ServicesReady, Serving, Ready.",
    )


class JILNode(Resource):
    """One JIL node: database, cache, broker, validator and services, declared in one object."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"size(self.metadata.name) <= {labels.NODE_NAME_MAX} && "
            "self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')",
            f"the name of a JILNode begins the names of its Services: at most {labels.NODE_NAME_MAX} lower-case "
            "letters, digits and hyphens, beginning with a letter and ending with a letter or digit.",
            "'name ' + self.metadata.name + ' begins the names of the node\\'s Services: use at most "
            f"{labels.NODE_NAME_MAX} lower-case letters, digits and hyphens, beginning with a letter and ending with a "
            "letter or digit, such as ' + self.spec.nodeId.lowerAscii() + '.'",
        ),
    )

    spec: NodeSpec
    status: NodeStatus = NodeStatus()
