"""What the gate is told of a network: readings of nodes that are who they say, everybody else unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jil.plan.acts import VALIDATOR, Act
from jil.plan.chain import DEFAULT_READING_POLICY, ChainReading, signed_height
from jil.plan.health import ChainHealth, HealthReading
from jil.plan.quorum import decide
from jil.plan.sight import Sight, network_facts
from jil.plan.verdict import Allow, Basis, Deny, DenyReason, Verdict
from jil.plan.voting import LastStep, Member, Subject
from tests.unit.plan import network as words
from tests.unit.plan.network import address, commits, equal, reading

NOW = datetime.fromtimestamp(words.NOW / 1000, UTC)
POWERS = equal(4, 10)


def sight(index: int, **changes: object) -> Sight:
    """A member that is well: its pod is ready and its node answers with a fresh reading."""
    one = address(index)
    chain = ChainHealth(ok=True, height=words.HEIGHT, address=one, reading=reading(POWERS, one))
    base = Sight(Member(f"N{index:02d}", one, 10, local=True), HealthReading(at=NOW, chain=chain), pod_ready=True)
    return replace(base, **changes)  # type: ignore[arg-type]


def saying(index: int, **changes: object) -> Sight:
    """A member whose node says something else about the chain."""
    base = sight(index)
    assert base.health is not None
    assert base.health.chain is not None
    told = replace(base.health.chain, reading=replace(reading(POWERS, address(index)), **changes))  # type: ignore[arg-type]
    return replace(base, health=replace(base.health, chain=told))


def stop(index: int, sights: list[Sight], *, planned: frozenset[str] = frozenset(), last: int | None = None) -> Verdict:
    facts = network_facts(words.CHAIN, sights, now=NOW, allow_halt=False)
    return decide(
        Subject("target", Act.STOP, VALIDATOR, address(index)),
        facts,
        planned=planned,
        last_step=LastStep(last) if last is not None else None,
        now_ms=words.NOW,
    )


def well() -> list[Sight]:
    return [sight(index) for index in range(4)]


def test_i2_of_four_that_are_well_one_may_go() -> None:
    answer = stop(0, well())
    assert isinstance(answer, Allow)
    assert answer.basis is Basis.WITHIN_BUDGET
    assert "30 of 40" in answer.message


def test_i2_the_second_is_refused_with_the_arithmetic() -> None:
    sights = [sight(0, pod_ready=False, health=None), *well()[1:]]
    answer = stop(1, sights, planned=frozenset({address(0)}))
    assert isinstance(answer, Deny)
    assert answer.reason is DenyReason.QUORUM
    assert "20 of 40" in answer.message
    assert "27 are needed" in answer.message
    assert "N00" in answer.message


@pytest.mark.parametrize(
    "gone",
    [
        {"health": None},
        {"health": HealthReading(at=NOW, error="no route")},
        {"pod_ready": False},
    ],
)
def test_i2_unreachable_is_away_and_never_permission(gone: dict[str, object]) -> None:
    sights = [*well()[:3], sight(3, **gone)]
    answer = stop(0, sights)
    assert isinstance(answer, Deny)
    assert answer.reason is DenyReason.QUORUM
    assert "N03" in answer.message


def test_i2_an_old_answer_is_no_answer() -> None:
    late = replace(reading(POWERS, address(3)), read_at_ms=words.NOW - 16_000)
    facts = network_facts(words.CHAIN, [*well()[:3], saying(3, read_at_ms=late.read_at_ms)], now=NOW, allow_halt=False)
    assert facts.unknown == {address(3)}


def test_i2_with_nobody_readable_the_answer_is_no() -> None:
    answer = stop(0, [sight(index, health=None) for index in range(4)])
    assert isinstance(answer, Deny)
    assert answer.reason is DenyReason.CHAIN_UNKNOWN


def test_i2_one_nodes_word_is_no_evidence() -> None:
    answer = stop(0, [sight(0), *(sight(index, health=None) for index in (1, 2, 3))])
    assert isinstance(answer, Deny)
    assert answer.reason is DenyReason.CHAIN_UNKNOWN


def test_i2_a_node_that_says_to_be_another_is_not_heard_and_counts_as_away() -> None:
    facts = network_facts(words.CHAIN, [*well()[:3], saying(3, source=address(0))], now=NOW, allow_halt=False)
    assert [r.source for r in facts.readings] == [address(0), address(1), address(2)]
    assert facts.unknown == {address(3)}


def test_i2_the_worse_answer_counts_when_a_node_lies_about_a_signature() -> None:
    silent = commits(POWERS, silent=[address(2)])
    answer = stop(0, [*well()[:3], saying(3, commits=silent)])
    assert isinstance(answer, Deny)
    assert answer.reason is DenyReason.QUORUM
    assert "N02" in answer.message


def test_i2_a_lie_about_the_set_stops_everything_and_names_the_nodes() -> None:
    answer = stop(0, [*well()[:3], saying(3, powers={**POWERS, address(9): 10})])
    assert isinstance(answer, Deny)
    assert answer.reason in (DenyReason.READINGS_DISAGREE, DenyReason.FOREIGN_MEMBERS)


def test_i2_a_lie_about_the_height_does_not_make_the_chain_look_advanced() -> None:
    ahead = saying(3, height=words.HEIGHT + 1000, commits=commits(POWERS, top=words.HEIGHT + 1000))
    answer = stop(0, [*well()[:3], ahead], last=words.HEIGHT - 5)
    assert isinstance(answer, Deny)
    assert answer.reason is DenyReason.CHAIN_NOT_ADVANCED, "the lowest height counts"


def test_i2_a_node_on_another_chain_is_no_evidence() -> None:
    facts = [sight(0), *(saying(index, chain_id="other") for index in (1, 2, 3))]
    answer = stop(0, facts)
    assert isinstance(answer, Deny)
    assert answer.reason is DenyReason.CHAIN_UNKNOWN
    assert "other" in answer.message


def test_i2_a_node_that_gives_no_evidence_counts_as_away_although_others_saw_it_sign() -> None:
    for spoilt in ({"chain_id": "other"}, {"commits": ()}, {"powers": {}}):
        answer = stop(0, [*well()[:3], saying(3, **spoilt)])
        assert isinstance(answer, Deny)
        assert answer.reason is DenyReason.QUORUM
        assert "N03" in answer.message


def test_i2_a_validator_that_catches_up_is_joining_with_its_power_of_the_chain() -> None:
    base = sight(3)
    assert base.health is not None
    assert base.health.chain is not None
    late = replace(base, health=replace(base.health, chain=replace(base.health.chain, catching_up=True)))
    facts = network_facts(words.CHAIN, [*well()[:3], late], now=NOW, allow_halt=False)
    assert facts.joining == {address(3): 10}


def test_members_elsewhere_are_no_local_ones_and_share_no_ledger() -> None:
    elsewhere = sight(3, member=Member("N03", None, 10, local=False), health=None, pod_ready=False)
    facts = network_facts(words.CHAIN, [*well()[:3], elsewhere], now=NOW, allow_halt=False)
    assert not facts.shared_ledger
    assert facts.unknown == frozenset()


def test_the_known_height_is_the_highest_that_any_record_has() -> None:
    sights = [replace(one, signed_height=height) for one, height in zip(well(), (3, 900, 5, 7), strict=True)]
    assert network_facts(words.CHAIN, sights, now=NOW, allow_halt=False).known_height == 900


def signed(*readings: ChainReading) -> int | None:
    """What would be recorded as the highest height that validator 0 voted at."""
    return signed_height(address(0), readings, DEFAULT_READING_POLICY)


def test_i1_a_signed_height_needs_two_nodes_that_saw_it_and_its_own_is_one_of_them() -> None:
    own, other, third = (reading(POWERS, address(index)) for index in range(3))
    assert signed(own, other) == words.HEIGHT
    assert signed(own) is None
    assert signed(own, own) is None, "two readings of one node are one opinion"
    assert signed(other, third) is None, "of nodes that are not asked about themselves any two may lie"


@pytest.mark.parametrize("honest", [(0,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("height", [words.HEIGHT + 1, 2**60])
def test_i1_two_liars_cannot_have_a_height_recorded_that_the_node_itself_did_not_tell(
    honest: tuple[int, ...], height: int
) -> None:
    """It would never go back, and no sign state would ever be young enough again."""
    liars = [reading(POWERS, address(index), height=height) for index in (3, 4)]
    told = signed(*(reading(POWERS, address(index)) for index in honest), *liars)
    assert told is None or told <= words.HEIGHT
    assert told == words.HEIGHT or len(honest) == 1


def test_i1_two_liars_cannot_make_up_a_vote_at_a_height_that_the_chain_has() -> None:
    last = words.HEIGHT - 5
    early = commits(POWERS, top=last, count=5)
    own, other = (
        reading(POWERS, address(index), commits=(*early, *commits(POWERS, silent=[address(0)], count=5)))
        for index in (0, 1)
    )
    liars = [reading(POWERS, address(index)) for index in (2, 3)]
    assert signed(own, other, *liars) == last


def test_i1_a_node_that_lies_about_itself_needs_more_than_one_that_helps() -> None:
    liars = [reading(POWERS, address(index), height=2**60) for index in (0, 1)]
    honest = [reading(POWERS, address(index)) for index in (2, 3)]
    assert signed(*liars, *honest) is None


def test_i1_nodes_that_are_some_blocks_apart_give_a_height_that_all_of_them_have() -> None:
    near = [reading(POWERS, address(index), height=words.HEIGHT + index) for index in range(4)]
    assert signed(*near) == words.HEIGHT


def test_i1_a_nil_vote_is_a_signature_for_the_sign_state() -> None:
    nil = [reading(POWERS, address(index), commits=commits(POWERS, nil=[address(0)])) for index in (0, 1)]
    assert signed(*nil) == words.HEIGHT


def test_an_answer_from_before_is_fresh_only_for_a_while() -> None:
    facts = network_facts(words.CHAIN, well(), now=NOW + timedelta(seconds=60), allow_halt=False)
    assert facts.unknown == {address(index) for index in range(4)}
