"""JILNetwork: one chain and its fleet. Who its members are, who founded it, how fast it makes blocks."""

from __future__ import annotations

from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Len
from pydantic import AwareDatetime, Field

from jil.api.conditions import Condition
from jil.api.fields import (
    Address,
    ChainId,
    ConsensusAddress,
    Count,
    ListMap,
    NamespaceName,
    NodeId,
    PeerId,
    PublicKey,
    RecordedNodeId,
    RecordedPeerId,
    RecordedPublicKey,
    Sha256Hex,
    SpecModel,
    StatusModel,
    Zone,
)
from jil.api.objects import Resource
from jil.api.rules import Rule, immutable, immutable_optional
from jil.api.trust import Track as Track  # noqa: PLC0414 - a track is a word of the network too
from jil.api.trust import TrustSpec

MEMBERS_MAX = 100


class Genesis(SpecModel):
    """What the first block is made of, beside the founders."""

    time: Annotated[
        AwareDatetime,
        immutable("genesis.time", "It is part of the first block: another genesis is another JILNetwork."),
    ] = Field(description="Time of the first block, RFC 3339 with a zone, such as 2026-01-01T00:00:00Z. Immutable.")


class Consensus(SpecModel):
    """Timing of the consensus; every member should use the same."""

    timeout_propose_ms: Annotated[int, Ge(100), Le(60_000)] = Field(
        default=3000, description="How long to wait for a proposal before voting for none, in milliseconds."
    )
    timeout_commit_ms: Annotated[int, Ge(0), Le(60_000)] = Field(
        default=1150,
        description="Pause after a commit before the next height, in milliseconds; it sets the block time.",
    )


# In CEL `namespace` is a reserved word: the field is `__namespace__` there. Unescaped it compiles, and its estimated
# cost is then that of an unbounded string, which the API server refuses.
class Member(SpecModel):
    """One node of the network: run in this cluster (``namespace``) or by another one (``publicKey`` and so on)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.__namespace__) != has(self.publicKey)",
            "a member needs exactly one of namespace (this cluster runs it) and publicKey (another one does).",
            "'member ' + self.nodeId + (has(self.__namespace__) ? ' has both namespace and publicKey: keep namespace "
            "if this cluster runs it, publicKey if another one does.' : ' has neither namespace nor publicKey: set "
            "namespace if this cluster runs it; for a member of another cluster set publicKey, peerId and address.')",
        ),
        Rule(
            "has(self.publicKey) == has(self.peerId) && has(self.publicKey) == has(self.address)",
            "publicKey, peerId and address come together, for a member that another cluster runs.",
            "'member ' + self.nodeId + ': publicKey, peerId and address come together for a member that another "
            "cluster runs, and all three stay away for one that this cluster runs.'",
        ),
        immutable_optional(
            "__namespace__",
            "namespace of a member",
            "Its key lives with its node: remove the member by the network's rules and add it again elsewhere.",
        ),
    )

    node_id: NodeId = Field(description="Id of the node, such as CH-ZUG-01; unique in the network.")
    zone: Zone = Field(description="Jurisdiction zone of the member, such as CH/FINMA.")
    power: Annotated[int, Ge(1), Le(1_000_000_000)] = Field(
        default=10, description="Voting power in the genesis (founders) or to be voted in (others), without a unit."
    )
    founder: bool = Field(default=False, description="Whether the member's key is part of the genesis.")
    namespace: NamespaceName | None = Field(
        default=None,
        description="Namespace of the JILNode, for a member that this cluster runs. Excludes publicKey. Immutable.",
    )
    public_key: PublicKey | None = Field(
        default=None, description="ed25519 consensus key in base64, for a member that another cluster runs."
    )
    peer_id: PeerId | None = Field(
        default=None, description="p2p id, 40 lower-case hex digits, for a member that another cluster runs."
    )
    address: Address | None = Field(
        default=None, description="p2p address HOST:PORT, for a member that another cluster runs."
    )

    @property
    def is_here(self) -> bool:
        """Whether this cluster runs the member."""
        return self.namespace is not None


class Disruption(SpecModel):
    """What the operator may do to the network by its own hand."""

    allow_halt: bool = Field(
        default=False,
        description="Whether planned work may halt the chain, which a network of one to three members cannot avoid. "
        "Only on track devnet.",
    )


#: What a founder is in the genesis. Where it is reached (peerId, address) is not part of it and may change.
_FROZEN = (
    "{a}.members.filter(m, m.founder).all(m, {b}.members.exists(o, o.founder && o.nodeId == m.nodeId && "
    "o.zone == m.zone && o.power == m.power && has(o.__namespace__) == has(m.__namespace__) && "
    "has(o.publicKey) == has(m.publicKey) && (!has(m.publicKey) || o.publicKey == m.publicKey)))"
)


class NetworkSpec(SpecModel):
    """Desired state of a JILNetwork."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.members.exists(m, m.founder)",
            "a network needs at least one member with founder: true, otherwise its genesis has no validator.",
        ),
        Rule(
            " && ".join((_FROZEN.format(a="self", b="oldSelf"), _FROZEN.format(a="oldSelf", b="self"))),
            "founders are part of the genesis: they cannot be added, removed or changed. Add a member with "
            "founder: false, which joins the running network.",
        ),
        Rule(
            "self.members.all(m, !has(m.publicKey) || "
            "self.members.exists_one(o, has(o.publicKey) && o.publicKey == m.publicKey))",
            "two members have the same publicKey: each validator has its own key. Compare status.members of their "
            "clusters.",
        ),
        Rule(
            "self.members.all(m, !has(m.peerId) || self.members.exists_one(o, has(o.peerId) && o.peerId == m.peerId))",
            "two members have the same peerId: each node has its own p2p key. Compare status.members of their "
            "clusters.",
        ),
        Rule(
            "!self.disruption.allowHalt || self.track == 'devnet'",
            "disruption.allowHalt is for track devnet only: remove it on other tracks.",
            "'disruption.allowHalt is for track devnet only, and this network is on ' + self.track + ': remove it; "
            "planned work then waits until the network can spare the node.'",
        ),
        Rule(
            "self.track == 'devnet' || has(self.trust)",
            "a network on track testnet or mainnet needs trust: keys, tracks and repositories that images are checked by.",
            "'a network on track ' + self.track + ' needs trust: keys, tracks and repositories that images are checked "
            "by.'",
        ),
        Rule(
            "!has(oldSelf.trust) || has(self.trust)",
            "trust cannot be taken away from a network that has it: change its keys, tracks and repositories instead.",
        ),
        Rule(
            "!has(self.trust) || self.trust.tracks.exists(t, t.track == self.track)",
            "trust.tracks has no entry for the track of this network: nothing could ever run. Add one.",
            "'trust.tracks has no entry for ' + self.track + ', the track of this network: nothing could ever run. Add "
            "one.'",
        ),
    )

    chain_id: Annotated[ChainId, immutable("chainId", "Every block names it: another chain is another JILNetwork.")] = (
        Field(description="Chain id of the consensus network. Immutable.")
    )
    track: Annotated[
        Track, immutable("track", "Make another JILNetwork for another track; keys and data never change tracks.")
    ] = Field(description="devnet, testnet or mainnet: how images are approved and what is allowed. Immutable.")
    genesis: Genesis = Field(description="What the first block is made of, beside the founders.")
    consensus: Consensus = Field(default=Consensus(), description="Timing of the consensus.")
    members: Annotated[tuple[Member, ...], Len(1, MEMBERS_MAX), ListMap("nodeId")] = Field(
        description="Every node that may take part, in this cluster or another."
    )
    disruption: Disruption = Field(default=Disruption(), description="What planned work may do to the network.")
    trust: TrustSpec | None = Field(
        default=None,
        description="Which images may run. Required on testnet and mainnet; unset on devnet, images run on the "
        "release's digests alone. Cannot be removed once set.",
    )

    @property
    def founders(self) -> tuple[Member, ...]:
        """Members whose keys are in the genesis, in the order of their ids (the genesis must not depend on YAML)."""
        return tuple(sorted((m for m in self.members if m.founder), key=lambda m: m.node_id))

    @property
    def members_here(self) -> tuple[Member, ...]:
        """Members that this cluster runs, in the order of their ids."""
        return tuple(sorted((m for m in self.members if m.is_here), key=lambda m: m.node_id))

    @property
    def members_elsewhere(self) -> tuple[Member, ...]:
        """Members that another cluster runs, in the order of their ids."""
        return tuple(sorted((m for m in self.members if not m.is_here), key=lambda m: m.node_id))

    def member(self, node_id: str) -> Member | None:
        """The member with that id, or None: then the node does not belong to this network."""
        return next((m for m in self.members if m.node_id == node_id), None)


class MemberStatus(StatusModel):
    """A member's public identity: what other clusters need in order to list it."""

    node_id: RecordedNodeId = Field(description="Id of the member.")
    address: ConsensusAddress | None = Field(default=None, description="Consensus address, 40 capital hex digits.")
    peer_id: RecordedPeerId | None = Field(default=None, description="p2p id, 40 lower-case hex digits.")
    public_key: RecordedPublicKey | None = Field(default=None, description="ed25519 consensus key in base64.")


class NetworkStatus(StatusModel):
    """Observed state of a JILNetwork."""

    observed_generation: Count = Field(default=0, description="metadata.generation that the status was computed from.")
    conditions: Annotated[tuple[Condition, ...], Len(0, 32), ListMap("type")] = Field(
        default=(), description="SpecValid, GenesisReady, Ready."
    )
    genesis_hash: Sha256Hex | None = Field(
        default=None, description="SHA-256 of the frozen genesis document, 64 hex digits."
    )
    members: Annotated[tuple[MemberStatus, ...], Len(0, MEMBERS_MAX), ListMap("nodeId")] = Field(
        default=(), description="Public identities of the members whose keys exist."
    )


class JILNetwork(Resource):
    """One chain and its fleet: chain id, track, genesis, consensus timing and members."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "the name of a JILNetwork becomes a label value: at most 63 lower-case letters, digits and hyphens, "
            "beginning and ending with a letter or digit.",
            "'name ' + self.metadata.name + ' becomes a label value: use at most 63 lower-case letters, digits and "
            "hyphens, beginning and ending with a letter or digit.'",
        ),
    )

    spec: NetworkSpec
    status: NetworkStatus = NetworkStatus()
