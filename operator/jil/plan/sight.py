"""From what the operator sees of a network's nodes to what the gate is told: readings, unknown, joining.

Unreachable is away; it is never permission. A node that says to be another one is believed in nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jil.plan.chain import DEFAULT_READING_POLICY, ChainReading, ReadingPolicy, fault
from jil.plan.health import HealthReading
from jil.plan.voting import Member, NetworkFacts


@dataclass(frozen=True, slots=True)
class Sight:
    """One declared member as it is seen now.

    ``health``: the last answer of its health endpoint, None when it never answered (always for members elsewhere).
    ``pod_ready``: whether its validator's pod is ready, by the watch. ``signed_height``: the highest in its record.
    """

    member: Member
    health: HealthReading | None
    pod_ready: bool
    signed_height: int = 0


def reading_of(sight: Sight) -> ChainReading | None:
    """The node's word on the chain, if it has one and is the node that it says to be."""
    chain = sight.health.chain if sight.health is not None and sight.health.error is None else None
    if chain is None or not chain.ok or chain.reading is None:
        return None
    return chain.reading if sight.member.address == chain.reading.source else None


def is_unknown(sight: Sight, chain_id: str, now: datetime, policy: ReadingPolicy) -> bool:
    """Whether it cannot be told that this local validator does its work now: its pod is not ready, or its node gives no
    reading that is evidence (silent, too old, on another chain, without its commits, ...)."""
    reading = reading_of(sight)
    if reading is None or not sight.pod_ready:
        return True
    return fault(reading, chain_id, policy, int(now.timestamp() * 1000)) is not None


def network_facts(
    chain_id: str,
    sights: Sequence[Sight],
    *,
    now: datetime,
    allow_halt: bool,
    policy: ReadingPolicy = DEFAULT_READING_POLICY,
) -> NetworkFacts:
    """What the gate is told about a network. ``sights``: every declared member, those of other clusters too."""
    readings = tuple(reading for sight in sights if (reading := reading_of(sight)) is not None)
    known = {address: power for reading in readings for address, power in reading.powers.items()}
    unknown = {
        sight.member.address
        for sight in sights
        if sight.member.local and sight.member.address and is_unknown(sight, chain_id, now, policy)
    }
    joining: dict[str, int] = {}
    for sight in sights:
        address, health = sight.member.address, sight.health
        if address and health is not None and health.chain is not None and health.chain.catching_up:
            joining[address] = known.get(address, sight.member.power)
    return NetworkFacts(
        chain_id=chain_id,
        members=tuple(sight.member for sight in sights),
        readings=readings,
        unknown=frozenset(unknown),
        joining={address: power for address, power in joining.items() if power > 0},
        known_height=max((sight.signed_height for sight in sights), default=0),
        allow_halt=allow_halt,
        shared_ledger=all(sight.member.local for sight in sights),
        static_quota=None,
    )
