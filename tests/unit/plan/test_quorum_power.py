"""I2 for unequal voting power: properties that must hold for every network, and the written-down definition."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jil.plan.quorum import QuorumPolicy, default_reserve, tolerable
from jil.plan.verdict import Allow, Basis, Deny, Impossible, ImpossibleReason
from jil.plan.voting import NetworkFacts
from tests.unit.plan.network import address, ask, network, reading

powers_of = st.lists(st.integers(1, 1_000_000_000) | st.integers(1, 12), min_size=1, max_size=30)


@st.composite
def cases(draw: st.DrawFn) -> tuple[NetworkFacts, str, frozenset[str], QuorumPolicy]:
    """A network with all kinds of absence, a target, what is planned, and a policy."""
    powers = {address(i): power for i, power in enumerate(draw(powers_of))}
    somebody = st.frozensets(st.sampled_from(sorted(powers)), max_size=len(powers) // 2)
    newcomers = {address(1000 + i): draw(st.integers(1, 50)) for i in range(draw(st.integers(0, 2)))}
    facts = network(
        powers,
        unknown=draw(somebody),
        joining={**newcomers, **{one: powers[one] for one in draw(somebody)}},
        readings=tuple(reading(powers, f"reader-{i}", silent=draw(somebody)) for i in range(draw(st.integers(2, 4)))),
    )
    target = draw(st.sampled_from(sorted(powers)))
    policy = QuorumPolicy(reserve=draw(st.none() | st.integers(0, sum(powers.values()))))
    return facts, target, draw(somebody), policy


def present_after(facts: NetworkFacts, target: str, planned: frozenset[str]) -> tuple[int, int]:
    """Oracle: the power that certainly signs after the act, and the total; worst over all readings."""
    worst: tuple[int, int] | None = None
    for seen in facts.readings:
        voters = {**facts.joining, **seen.powers}
        signing = {
            one
            for one in voters
            if one != target
            and one not in planned
            and one not in facts.unknown
            and one not in facts.joining
            and all(one in commit.signed for other in facts.readings for commit in other.commits)
        }
        answer = (sum(voters[one] for one in signing), sum(voters.values()))
        if worst is None or Fraction(*answer) < Fraction(*worst):
            worst = answer
    assert worst is not None
    return worst


@settings(max_examples=100, deadline=None)
@given(cases())
def test_i2_nothing_is_ever_allowed_that_leaves_two_thirds_or_less(case) -> None:
    facts, target, planned, policy = case
    if isinstance(ask(target, facts, planned=planned, policy=policy), Allow):
        present, total = present_after(facts, target, planned)
        assert 3 * present > 2 * total
        reserve = (
            policy.reserve
            if policy.reserve is not None
            else default_reserve({**facts.joining, **facts.readings[0].powers})
        )
        assert 3 * (present - reserve) > 2 * total, "the reserve must be on top of quorum"


@settings(max_examples=100, deadline=None)
@given(cases())
def test_i2_what_fits_is_not_refused(case) -> None:
    facts, target, planned, policy = case
    if not isinstance(ask(target, facts, planned=planned, policy=policy), Allow):
        present, total = present_after(facts, target, planned)
        reserve = (
            policy.reserve
            if policy.reserve is not None
            else default_reserve({**facts.joining, **facts.readings[0].powers})
        )
        assert 3 * (present - reserve) <= 2 * total


@settings(max_examples=100, deadline=None)
@given(cases(), st.data())
def test_i2_more_away_never_turns_a_no_into_a_yes(case, data: st.DataObject) -> None:
    facts, target, planned, policy = case
    before = ask(target, facts, planned=planned, policy=policy)
    others = sorted(set(facts.readings[0].powers) - {target})
    if not others:
        return
    one = data.draw(st.sampled_from(others))
    index = data.draw(st.integers(0, len(facts.readings) - 1))
    worse = facts.readings[index]
    mute = replace(worse, commits=tuple(replace(commit, signed=commit.signed - {one}) for commit in worse.commits))
    late = replace(
        worse, commits=(*worse.commits[:-1], replace(worse.commits[-1], signed=worse.commits[-1].signed - {one}))
    )

    def with_reading(changed):
        return replace(facts, readings=(*facts.readings[:index], changed, *facts.readings[index + 1 :]))

    for after in (
        ask(target, facts, planned=planned | {one}, policy=policy),
        ask(target, replace(facts, unknown=facts.unknown | {one}), planned=planned, policy=policy),
        ask(target, replace(facts, joining={**facts.joining, one: 1}), planned=planned, policy=policy),
        ask(target, replace(facts, joining={**facts.joining, address(2000): 5}), planned=planned, policy=policy),
        ask(target, with_reading(mute), planned=planned, policy=policy),
        ask(target, with_reading(late), planned=planned, policy=policy),
    ):
        if not isinstance(before, Allow):
            assert not isinstance(after, Allow)


@settings(max_examples=100, deadline=None)
@given(cases(), st.data())
def test_i2_unknown_is_never_better_than_signing(case, data: st.DataObject) -> None:
    facts, target, planned, policy = case
    if isinstance(ask(target, facts, planned=planned, policy=policy), Allow):
        return
    lost = data.draw(st.frozensets(st.sampled_from(sorted(facts.readings[0].powers))))
    kept = data.draw(st.integers(0, 1))
    for worse in (
        replace(facts, unknown=facts.unknown | lost),
        # The target itself unreachable, and the chain heard from fewer nodes than needed.
        replace(facts, unknown=facts.unknown | {target}),
        replace(facts, readings=facts.readings[:kept]),
        replace(facts, readings=tuple(replace(one, catching_up=True) for one in facts.readings)),
        replace(facts, readings=tuple(replace(one, read_at_ms=0) for one in facts.readings)),
    ):
        assert not isinstance(ask(target, worse, planned=planned, policy=policy), Allow)


@given(st.integers(1, 10**11))
def test_i2_tolerable_power_is_the_most_that_may_be_missing(total: int) -> None:
    f = tolerable(total)
    assert 3 * (total - f) > 2 * total
    assert 3 * (total - f - 1) <= 2 * total


@given(powers_of, st.integers(1, 1000))
def test_i2_the_default_reserve_is_at_most_a_third_of_f_and_leaves_room_for_a_step(
    powers: list[int], unit: int
) -> None:
    voters = {address(i): power for i, power in enumerate(powers)}
    f = tolerable(sum(powers))
    reserve = default_reserve(voters)
    assert 0 <= reserve <= f // 3
    smaller = [power for power in powers if power <= f // 3]
    assert reserve >= max(smaller, default=0), "at least the heaviest validator that fits is kept"


@pytest.mark.parametrize(
    ("powers", "f", "reserve", "may_be_away"),
    [
        ([1] * 20, 6, 2, 4),
        ([10] * 20, 66, 20, 46),  # 4 validators of 10, as with power 1
        ([10] * 7, 23, 0, 23),  # a third of f is 7: no whole validator, so none is kept back; 2 may be away
        ([10, 10, 10, 11], 13, 0, 13),  # a nearly equal network behaves like an equal one
        ([10] * 4 + [1], 13, 1, 12),  # a light validator makes a light reserve, not a blocked network
        ([100] + [10] * 9, 63, 20, 43),  # beside a giant the small ones still keep a reserve
        ([30, 30, 20, 10, 5, 5], 33, 10, 23),
        ([1_000_000_000] * 100, 33_333_333_333, 11_000_000_000, 22_333_333_333),
    ],
)
def test_i2_the_reserve_in_units_of_power_as_written_down(
    powers: list[int], f: int, reserve: int, may_be_away: int
) -> None:
    answer = ask(address(len(powers) - 1), network({address(i): power for i, power in enumerate(powers)}))
    assert isinstance(answer, Allow)
    assert answer.numbers is not None
    assert (answer.numbers.tolerable, answer.numbers.reserve, answer.numbers.may_be_away) == (f, reserve, may_be_away)


def test_i3_a_validator_without_which_there_is_no_quorum_is_impossible_not_later() -> None:
    giant = network({address(0): 100} | {address(i): 10 for i in range(1, 10)})
    answer = ask(address(0), giant)
    assert isinstance(answer, Impossible)
    assert answer.reason is ImpossibleReason.TARGET_TOO_HEAVY
    assert "90 of 190" in answer.message
    assert isinstance(ask(address(1), giant), Allow)


def test_i3_a_validator_that_only_the_reserve_holds_back_is_told_so() -> None:
    powers = {address(i): power for i, power in enumerate([30, 30, 20, 10, 5, 5])}
    answer = ask(address(0), network(powers))
    assert isinstance(answer, Impossible)
    assert answer.reason is ImpossibleReason.RESERVE_TOO_LARGE
    assert "at most 23" in answer.remedy
    assert isinstance(ask(address(0), network(powers), policy=QuorumPolicy(reserve=3)), Allow)
    told = ask(address(0), network(powers), policy=QuorumPolicy(reserve=4))
    assert isinstance(told, Impossible)
    assert "lower the reserve to 3" in told.remedy


def test_i2_three_validators_of_which_one_is_light_can_lose_the_light_one() -> None:
    facts = network({address(0): 10, address(1): 10, address(2): 1})
    light = ask(address(2), facts)
    assert isinstance(light, Allow)
    assert light.basis is Basis.WITHIN_BUDGET
    assert isinstance(ask(address(0), facts), Impossible)
    assert isinstance(ask(address(2), facts, planned=[address(0)]), Deny)


def test_i2_sets_that_differ_between_heights_must_each_carry_the_act() -> None:
    small, large = {address(i): 10 for i in range(4)}, {address(i): 10 for i in range(7)}
    later = reading(large, "reader-b", height=501)
    facts = network(large, readings=(reading(small, "reader-a"), later))
    answer = ask(address(0), facts)
    # In the larger set two may be away, in the smaller one only one: the smaller one decides.
    assert isinstance(answer, Allow)
    assert answer.numbers is not None
    assert answer.numbers.total == 40
    assert isinstance(ask(address(0), facts, planned=[address(1)]), Deny)
