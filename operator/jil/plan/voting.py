"""What the quorum decision is about: the network as the caller observed it, and the act that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from jil.plan.acts import Act
from jil.plan.chain import ChainReading

#: Stands for the address where the record says that no consensus key was ever made. Not the same as None: not known.
NO_CONSENSUS_KEY: Final = "no-consensus-key"


class PodState(StrEnum):
    """The target's pod, read live and acted on with UID and resourceVersion preconditions."""

    RUNNING = "Running"

    DOWN = "Down"
    """No validator process: the phase is Succeeded or Failed, or the container is waiting or terminated."""

    ABSENT = "Absent"
    """There is no pod."""

    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Subject:
    """What would be done to whom. ``name`` is for messages; ``address`` the consensus address (40 upper-case hex
    digits), NO_CONSENSUS_KEY, or None when it is not known."""

    name: str
    act: Act
    component: str
    address: str | None
    pod: PodState = PodState.UNKNOWN


@dataclass(frozen=True, slots=True)
class Member:
    """A declared member. ``address`` None: its key is not known yet. ``local``: run by the operator of this cluster."""

    node_id: str
    address: str | None
    power: int
    local: bool


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What the caller observed, live. Nothing here has a default: what was not looked at must be said to be unknown.

    ``readings``: as many as answered, possibly none. ``unknown``: addresses whose node could not be reached or judged.
    ``joining``: address -> power of validators that are about to vote, or vote and have not caught up.
    ``known_height``: the highest height any record or ledger has seen. ``shared_ledger``: every operator of the network
    books in the same ledger. ``static_quota``: power that this cluster alone may hold away by plan, agreed beforehand.
    """

    chain_id: str
    members: tuple[Member, ...]
    readings: tuple[ChainReading, ...]
    unknown: frozenset[str]
    joining: Mapping[str, int]
    known_height: int
    allow_halt: bool
    shared_ledger: bool
    static_quota: int | None

    def in_the_set(self, address: str) -> bool:
        """Whether anybody, however badly heard, says that the key votes or is about to."""
        return address in self.joining or any(address in powers for powers in self._sets())

    def size(self) -> int:
        """How many vote, counted upwards: every declared member, and every key that anybody saw in the set."""
        declared = {member.address for member in self.members if member.address is not None}
        return len(self.members) + len(set(self.joining).union(*self._sets()) - declared)

    def foreigners(self) -> tuple[str, ...]:
        """Who votes without this operator knowing its planned outages: members run elsewhere, undeclared keys."""
        local = {member.address for member in self.members if member.local}
        strangers = {address for powers in self._sets() for address in powers if address not in local}
        declared = {member.address: member.node_id for member in self.members if not member.local}
        return tuple(sorted({*declared.values(), *(self.name(address) for address in strangers)}))

    def name(self, address: str) -> str:
        """The nodeId of an address, as people know it, or the address itself."""
        return next((member.node_id for member in self.members if member.address == address), address)

    def _sets(self) -> tuple[Mapping[str, int], ...]:
        return tuple(reading.powers for reading in self.readings if reading.chain_id == self.chain_id)


@dataclass(frozen=True, slots=True)
class LastStep:
    """The last act that cost power. ``height`` is the median of the nodes then; None when it is not known."""

    height: int | None
