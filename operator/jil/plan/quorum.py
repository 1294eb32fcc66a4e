"""May this node go down now? The arithmetic of invariant I2, in integers.

CometBFT finishes a block with more than 2/3 of the *voting power* (``T * 2 / 3 + 1`` in integers), so of a total T the
tolerable power is ``f = (T - 1) // 3``. Away is a SET keyed by consensus address, so nobody counts twice:

    away = planned (open grants) + not signing in the last K commits + unknown + joining

A planned act fits when the power of ``away + target`` is at most ``f - reserve``. The default reserve is a third of f,
counted in whole validators (see ``default_reserve``); a setting can change the reserve, nothing lowers the floor.

What costs power, and what an answer needs when no chain can be read:

- only the acts that end a validator's pod cost power (``acts.stops_a_validator``); everything else is allowed;
- a validator's power is 0 only when enough readings of a living chain agree that its key is not in the set, or when
  its record says that no consensus key was ever made (``NO_CONSENSUS_KEY``). That a spec does not call it a founder
  proves nothing;
- a network of 1 to 3 members with ``allow_halt`` may always stop: there nothing is promised;
- everything else needs readings of at least two nodes. Unreachable is away; it is never permission.

The repair of a validator that is provably away costs nothing, because it takes nothing: but only for acts that bring it
back. *Stopping* a crashed validator makes a passing outage a lasting one, so it goes through the budget like any stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jil.plan import chain
from jil.plan.acts import Act, stops_a_validator
from jil.plan.chain import ChainReading, ReadingPolicy
from jil.plan.verdict import Allow, Basis, Deny, DenyReason, Impossible, ImpossibleReason, Numbers, Verdict
from jil.plan.voting import NO_CONSENSUS_KEY, LastStep, NetworkFacts, PodState, Subject

#: Up to this size a network of equal validators can lose nobody.
SMALL_NETWORK: Final = 3

#: Acts after which the validator comes back by itself.
REPAIRS: Final = frozenset({Act.DELETE_POD, Act.DISARM})


@dataclass(frozen=True, slots=True)
class QuorumPolicy:
    """``reserve``: voting power kept beyond quorum, None for the default. ``advance`` is M, in blocks."""

    readings: ReadingPolicy = chain.DEFAULT_READING_POLICY
    advance: int = 10
    reserve: int | None = None

    def __post_init__(self) -> None:
        if self.advance < 1:
            raise ValueError(f"advance is {self.advance}: at least one block must pass between two steps")
        if self.reserve is not None and self.reserve < 0:
            raise ValueError(f"reserve is {self.reserve}: quorum is the hard floor, a reserve cannot go below it")


DEFAULT_POLICY = QuorumPolicy()


@dataclass(frozen=True, slots=True)
class _Case:
    """One question that the numbers must answer: everything ``decide`` was given, and the readings that count."""

    name: str
    address: str
    facts: NetworkFacts
    readings: tuple[ChainReading, ...]
    planned: frozenset[str]
    last_step: LastStep | None
    policy: QuorumPolicy
    now_ms: int


def tolerable(total: int) -> int:
    """Most power that may be missing while the rest is still more than two thirds of ``total``."""
    return (total - 1) // 3 if total > 0 else 0


def default_reserve(powers: Mapping[str, int]) -> int:
    """A third of the tolerable power, rounded down to whole validators, in units of power.

    From the heaviest validator to the lightest, each that still fits into ``f // 3`` is taken; their sum is the
    reserve. Rounding to whole validators makes the unit of power irrelevant: seven validators of power 10 have the
    reserve of seven of power 1 (none, and two may be away), where unrounded arithmetic would hold back a part of a
    validator and let only one go. For n equal validators it is exactly ``floor(f / 3)`` of them.
    """
    room = tolerable(sum(powers.values())) // 3
    reserve = 0
    for power in sorted(powers.values(), reverse=True):
        if reserve + power <= room:
            reserve += power
    return reserve


def tally(address: str, powers: Mapping[str, int], away: frozenset[str], reserve: int | None = None) -> Numbers:
    """The arithmetic for taking ``address`` away from a set of which ``away`` is away already."""
    total = sum(powers.values())
    before = sum(power for one, power in powers.items() if one in away)
    after = sum(power for one, power in powers.items() if one in away or one == address)
    kept = default_reserve(powers) if reserve is None else reserve
    return Numbers(total, tolerable(total), kept, before, powers.get(address, 0), after)


def decide(
    subject: Subject,
    facts: NetworkFacts,
    *,
    planned: frozenset[str],
    last_step: LastStep | None,
    now_ms: int,
    policy: QuorumPolicy = DEFAULT_POLICY,
) -> Verdict:
    """Whether the act may happen now. ``planned``: consensus addresses of all open grants of the network."""
    if not stops_a_validator(subject.act, subject.component):
        return Allow(Basis.NO_POWER, f"{subject.act} of {subject.component} {subject.name} stops no validator")
    if subject.address == NO_CONSENSUS_KEY:
        return Allow(Basis.NO_POWER, f"no consensus key was ever made for {subject.name}")
    good = chain.usable(facts.readings, facts.chain_id, policy.readings, now_ms)
    heard = chain.sources(good)
    current = chain.speaks_for_now(good, policy.readings, now_ms)
    if subject.address is not None and current and not facts.in_the_set(subject.address):
        return Allow(
            Basis.NO_POWER, f"the key of {subject.name} is not in the validator set, says each of {len(heard)} nodes"
        )
    repair = _repair(subject, facts, policy, now_ms)
    if repair is not None:
        return repair
    size = facts.size()
    if facts.allow_halt and 1 <= size <= SMALL_NETWORK:
        return Allow(
            Basis.HALT_ALLOWED, f"the network has {size} members and declares disruption.allowHalt: it may halt"
        )
    if subject.address is None:
        return Deny(
            DenyReason.ADDRESS_UNKNOWN,
            f"the consensus address of {subject.name} is not known, so neither is the power it would take away",
            f"the JILNodeRecord of {subject.name} names its key",
        )
    if len(heard) < policy.readings.sources:
        return _unheard(subject, facts, policy, now_ms)
    return _by_numbers(_Case(subject.name, subject.address, facts, good, planned, last_step, policy, now_ms))


def _repair(subject: Subject, facts: NetworkFacts, policy: QuorumPolicy, now_ms: int) -> Allow | None:
    """I3: the gate holds back the next healthy node, never the repair of the broken one."""
    if subject.act not in REPAIRS:
        return None
    if subject.pod in (PodState.DOWN, PodState.ABSENT):
        return Allow(
            Basis.REPAIR, f"no validator process runs in the pod of {subject.name}: {subject.act} takes nothing away"
        )
    if subject.address is None:
        return None
    proof = chain.silence(
        subject.address,
        facts.readings,
        chain_id=facts.chain_id,
        policy=policy.readings,
        now_ms=now_ms,
        known_height=facts.known_height,
    )
    if proof is None:
        return None
    return Allow(
        Basis.REPAIR,
        f"{subject.name} is absent from the last {proof.blocks} commits, seen by {len(proof.sources)} peers: "
        f"{subject.act} takes nothing away",
    )


def _unheard(subject: Subject, facts: NetworkFacts, policy: QuorumPolicy, now_ms: int) -> Deny | Impossible:
    """Too few readings: the answer is no, and the only question is whether waiting can help."""
    if facts.size() <= SMALL_NETWORK:
        # Declared power is at best what the chain has: if even that cannot do without the target, no reading will.
        declared = {member.node_id: member.power for member in facts.members}
        own = next((member.power for member in facts.members if member.address == subject.address), 0)
        most = tolerable(sum(declared.values()))
        if own > most:
            return _too_heavy(subject.name, facts, Numbers(sum(declared.values()), most, 0, 0, own, own))
    if _unbooked(facts):
        return _foreign(facts)
    heard = chain.sources(chain.usable(facts.readings, facts.chain_id, policy.readings, now_ms))
    faults = [chain.fault(reading, facts.chain_id, policy.readings, now_ms) for reading in facts.readings]
    why = "; ".join(text for text in faults if text) or "nobody else answered"
    return Deny(
        DenyReason.CHAIN_UNKNOWN,
        f"the chain was read from {len(heard)} nodes and {policy.readings.sources} are needed ({why}): "
        f"who signs is unknown, and unknown is no permission to take {subject.name} down",
        f"{policy.readings.sources} nodes of the network answer with the last {policy.readings.window} commits",
    )


def _by_numbers(case: _Case) -> Verdict:
    facts, reserve = case.facts, case.policy.reserve
    silent = chain.not_signing(case.readings, case.policy.readings)
    away = case.planned | facts.unknown | frozenset(facts.joining) | silent
    # The set may differ between heights: every reading's own set must carry the act, the tightest one is reported.
    sets = [{**facts.joining, **reading.powers} for reading in case.readings]
    tallies = [tally(case.address, powers, away, reserve) for powers in sets]
    numbers = min(tallies, key=lambda one: one.slack)
    heaviest = min(tallies, key=lambda one: one.may_be_away - one.target)
    if heaviest.target > heaviest.tolerable:
        return _too_heavy(case.name, facts, heaviest)
    if heaviest.target > heaviest.may_be_away:
        return _reserve_too_large(case, heaviest)
    if _unbooked(facts):
        return _foreign(facts)
    if _disagree(case.readings):
        return Deny(
            DenyReason.READINGS_DISAGREE,
            "two nodes give different validator sets for the same height, so one of them is wrong",
            "they agree: find the wrong one among "
            + ", ".join(sorted(facts.name(one.source) for one in case.readings)),
        )
    left = f"{numbers.total - numbers.away_after} of {numbers.total} voting power"
    if numbers.slack < 0:
        gone = sorted(facts.name(one) for one in away & set(sets[tallies.index(numbers)]) - {case.address})
        return Deny(
            DenyReason.QUORUM,
            f"without {case.name} {left} would be left; {numbers.quorum} are needed for a block and {numbers.reserve} "
            f"are kept in reserve. Away: {', '.join(gone) or 'nobody'}",
            f"validators with power {-numbers.slack} are back",
            numbers,
        )
    refusal = _quota(case, sets) or _too_early(case, numbers)
    return refusal or Allow(
        Basis.WITHIN_BUDGET,
        f"with {case.name} away {left} stay; quorum is {numbers.quorum}, the reserve {numbers.reserve}",
        numbers,
    )


def _disagree(readings: tuple[ChainReading, ...]) -> bool:
    at_height: dict[int, Mapping[str, int]] = {}
    return any(at_height.setdefault(reading.height, reading.powers) != reading.powers for reading in readings)


def _too_early(case: _Case, numbers: Numbers) -> Deny | None:
    """The chain must live: young blocks now, and enough of them since the last step."""
    evidence, needed = case.policy.readings, case.policy.advance
    stale = sorted(
        case.facts.name(one.source) for one in case.readings if not chain.advancing(one, evidence, case.now_ms)
    )
    if stale:
        return Deny(
            DenyReason.CHAIN_STALLED,
            f"the newest block at {', '.join(stale)} is older than {evidence.max_block_age_ms} ms: the chain stands "
            "still, and it does not go on by losing another validator",
            "blocks are made again",
            numbers,
        )
    if case.last_step is None:
        return None
    height = min(reading.height for reading in case.readings)
    last = case.last_step.height
    if last is not None and height >= last + needed:
        return None
    return Deny(
        DenyReason.CHAIN_NOT_ADVANCED,
        f"the last step was taken at {'an unknown height' if last is None else f'height {last}'} and the chain is at "
        f"{height}; {needed} blocks must lie between two steps",
        f"{needed} more blocks are made" if last is None else f"the chain is at height {last + needed}",
        numbers,
    )


def _unbooked(facts: NetworkFacts) -> bool:
    return not facts.shared_ledger and facts.static_quota is None and bool(facts.foreigners())


def _foreign(facts: NetworkFacts) -> Deny:
    return Deny(
        DenyReason.FOREIGN_MEMBERS,
        f"other clusters run validators of this network ({', '.join(facts.foreigners())}), and what they plan to take "
        "down is not known here",
        "the operators of the network share one ledger, or a static quota is set for this cluster",
    )


def _quota(case: _Case, sets: list[dict[str, int]]) -> Deny | Impossible | None:
    """The static quota of this cluster, where validators elsewhere are booked in another ledger."""
    quota = case.facts.static_quota
    if quota is None or case.facts.shared_ledger or not case.facts.foreigners():
        return None
    booked = case.planned - {case.address}
    own = max(powers.get(case.address, 0) for powers in sets)
    used = max(sum(power for one, power in powers.items() if one in booked) for powers in sets)
    if own > quota:
        return Impossible(
            ImpossibleReason.QUOTA_TOO_SMALL,
            f"{case.name} has power {own}, and the quota of this cluster is {quota}",
            "agree with the other clusters on a larger quota, or share one ledger with them",
        )
    if used + own > quota:
        return Deny(
            DenyReason.QUOTA_IN_USE,
            f"this cluster holds power {used} away by plan; with {case.name} it would be {used + own}, and its "
            f"quota is {quota}",
            "a planned outage in this cluster ends",
        )
    return None


def _reserve_too_large(case: _Case, numbers: Numbers) -> Impossible:
    lower = "" if case.policy.reserve is None else f"lower the reserve to {numbers.tolerable - numbers.target}, or "
    return Impossible(
        ImpossibleReason.RESERVE_TOO_LARGE,
        f"{case.name} has power {numbers.target}; of {numbers.total} at most {numbers.tolerable} may be missing, and "
        f"{numbers.reserve} of that is kept in reserve",
        f"{lower}move voting power from {case.name} to others until it has at most {numbers.may_be_away}",
        numbers,
    )


def _too_heavy(name: str, facts: NetworkFacts, numbers: Numbers) -> Impossible:
    message = (
        f"without {name} {numbers.total - numbers.target} of {numbers.total} voting power would be left, and "
        f"{numbers.quorum} are needed for a block, even with everybody else up"
    )
    if facts.size() <= SMALL_NETWORK:
        return Impossible(
            ImpossibleReason.CAN_LOSE_NOBODY,
            message,
            f"a network of {facts.size()} stops with this member: add members (of 4 equal ones one may be away), or, "
            "on a devnet that may halt, set disruption.allowHalt: true in the JILNetwork",
            numbers,
        )
    return Impossible(
        ImpossibleReason.TARGET_TOO_HEAVY,
        message,
        f"move voting power from {name} to others until it has less than a third of the total",
        numbers,
    )
