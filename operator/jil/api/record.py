"""JILNodeRecord: what must survive the loss of a JILNode object. Written by the operator only, in its own namespace."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Len
from pydantic import Field, StringConstraints

from jil.api.fields import (
    ConsensusAddress,
    Count,
    ImageText,
    ListAtomic,
    ListMap,
    ObjectName,
    RecordedNodeId,
    RecordedPeerId,
    RecordedPublicKey,
    Sha256Hex,
    ShortText,
    SpecModel,
    Uid,
)
from jil.api.objects import Resource
from jil.api.release import SERVICES_MAX
from jil.api.rules import Rule, frozen_once_set, immutable

RELEASES_MAX = 5


class PermitMode(StrEnum):
    """What a start of the validator may do about its sign state."""

    CREATE = "create"
    REQUIRE = "require"
    CHECK = "check"


class PermitEnd(StrEnum):
    """How far the start guard of a permitted pod had got when the pod ended; Confirmed: nobody saw it, a person says so."""

    PASSED = "Passed"
    NEVER_PASSED = "NeverPassed"
    UNKNOWN = "Unknown"
    CONFIRMED = "Confirmed"


class Owner(SpecModel):
    """The JILNode that holds the claim."""

    namespace: ObjectName = Field(description="Namespace of the JILNode.")
    name: ObjectName = Field(description="Name of the JILNode.")
    uid: Uid = Field(description="UID of the JILNode; another one means it was deleted and created again.")


class ValidatorKeyFacts(SpecModel):
    """Public facts about the consensus key."""

    public_key: RecordedPublicKey = Field(description="ed25519 public key in base64.")
    address: ConsensusAddress = Field(description="Consensus address, 40 capital hex digits.")
    fingerprint: Sha256Hex = Field(description="SHA-256 of the Secret's data, 64 hex digits.")


class NodeKeyFacts(SpecModel):
    """Public facts about the p2p key."""

    peer_id: RecordedPeerId = Field(description="p2p id, 40 lower-case hex digits.")
    fingerprint: Sha256Hex = Field(description="SHA-256 of the Secret's data, 64 hex digits.")


class CredentialsFacts(SpecModel):
    """Public facts about the generated passwords."""

    fingerprint: Sha256Hex = Field(description="SHA-256 of the Secret's data, 64 hex digits.")


class Keys(SpecModel):
    """Fingerprints of the identity Secrets. A fingerprint without its Secret means lost, never new."""

    rules: ClassVar[tuple[Rule, ...]] = (
        frozen_once_set("validator", "the record of the consensus key (keys.validator)"),
        frozen_once_set("node", "the record of the p2p key (keys.node)"),
        frozen_once_set("credentials", "the record of the credentials (keys.credentials)"),
    )

    validator: ValidatorKeyFacts | None = Field(default=None, description="Consensus key, once it was made.")
    node: NodeKeyFacts | None = Field(default=None, description="p2p key, once it was made.")
    credentials: CredentialsFacts | None = Field(default=None, description="Passwords, once they were made.")


class P2P(SpecModel):
    """Where peers reach the node."""

    cluster_ip: Annotated[str, StringConstraints(min_length=2, max_length=45)] = Field(
        alias="clusterIP", description="Cluster IP of the p2p Service; peers resolve it once, at their start."
    )


class Volume(SpecModel):
    """One volume of the node."""

    component: ShortText = Field(description="Component that the volume belongs to.")
    pvc_uid: Uid = Field(alias="pvcUID", description="UID of the PersistentVolumeClaim.")
    pv_name: ObjectName | None = Field(default=None, description="PersistentVolume, once bound.")


class Permit(SpecModel):
    """The last permit to start the validator."""

    pod_uid: Uid = Field(alias="podUID", description="UID of the one pod that may start.")
    pod_name: ObjectName = Field(description="Name of that pod.")
    kube_node: ObjectName | None = Field(default=None, description="Machine that the pod was scheduled to.")
    mode: PermitMode = Field(
        description="create: may make the sign state (once, ever); require: must find it; check: must find it and look "
        "for its own signatures in recent blocks first."
    )
    issued_at: datetime = Field(description="When it was issued.")
    ended: PermitEnd | None = Field(
        default=None,
        description="Set once the pod's kubelet reported its end: Passed or NeverPassed (its start guard), or Unknown. "
        "Confirmed: a person made sure that it is over (JILOperation ConfirmFencing).",
    )


class ReleaseFacts(SpecModel):
    """One release that the node ran, with its images as they were."""

    release: ShortText = Field(description="Name of the JILRelease.")
    since: datetime = Field(description="When the node began to run it.")
    images: Annotated[Mapping[ShortText, ImageText], Len(0, SERVICES_MAX + 10)] = Field(
        default_factory=dict, description="Component or service -> image by digest."
    )


class RecordSpec(SpecModel):
    """The facts."""

    rules: ClassVar[tuple[Rule, ...]] = (
        frozen_once_set("genesisHash", "genesisHash: a node belongs to one chain, and its hash"),
        Rule(
            "!oldSelf.bootstrapped || self.bootstrapped",
            "bootstrapped cannot go back to false: a second permit to create the sign state could sign a height twice.",
        ),
        Rule(
            "self.highestSignedHeight >= oldSelf.highestSignedHeight",
            "highestSignedHeight cannot go back: the validator would be let start from an older sign state.",
        ),
    )

    # Immutable without a rule of its own: it must match the object's name, which never changes.
    node_id: RecordedNodeId = Field(description="Id that the record claims; its lower case is the record's name.")
    network: Annotated[ObjectName, immutable("network", "A node's key belongs to one chain.")] = Field(
        description="JILNetwork that the node takes part in. Immutable."
    )
    owner: Owner = Field(description="JILNode that holds the claim.")
    cluster_uid: Uid = Field(
        alias="clusterUID", description="UID of the cluster (of its kube-system namespace) that the keys were made in."
    )
    template_version: Annotated[int, Ge(1), Le(1_000_000)] = Field(
        description="Version of the renderer that the node's objects are made with."
    )
    keys: Keys = Field(default=Keys(), description="Fingerprints of the identity Secrets.")
    genesis_hash: Sha256Hex | None = Field(
        default=None, description="SHA-256 of the genesis that the node started from, 64 hex digits."
    )
    # Spelled out: the camel-case of the generator would be `p2P`.
    p2p: P2P | None = Field(default=None, alias="p2p", description="Where peers reach the node.")
    volumes: Annotated[tuple[Volume, ...], Len(0, 16), ListMap("component")] = Field(
        default=(), description="The node's volumes."
    )
    bootstrapped: bool = Field(
        default=False, description="Whether a permit to create the sign state was ever given. Never goes back."
    )
    highest_signed_height: Count = Field(
        default=0, description="Highest height that the node was seen to have signed. Never goes back."
    )
    permit: Permit | None = Field(default=None, description="The last permit to start the validator.")
    releases: Annotated[tuple[ReleaseFacts, ...], Len(0, RELEASES_MAX), ListAtomic()] = Field(
        default=(), description="The last five releases that the node ran, newest first."
    )

    def volume(self, component: str) -> Volume | None:
        """The recorded volume of a component, or None."""
        return next((volume for volume in self.volumes if volume.component == component), None)


class JILNodeRecord(Resource):
    """What must survive the loss of a JILNode; one per node id. Written by the operator, not by people."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name == self.spec.nodeId.lowerAscii()",
            "the name of a record is its nodeId in lower case: that is what makes the id unique.",
        ),
    )

    spec: RecordSpec
