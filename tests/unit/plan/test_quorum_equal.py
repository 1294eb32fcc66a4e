"""I2 for 1 to 50 equal validators, against an oracle that shares nothing with the code: counting heads one by one."""

from __future__ import annotations

import pytest

from jil.plan.quorum import QuorumPolicy, default_reserve, tolerable
from jil.plan.verdict import Allow, Basis, Deny, DenyReason, Impossible, ImpossibleReason
from tests.unit.plan.network import address, ask, equal, network

SIZES = range(1, 51)


def heads_that_may_fail(count: int) -> int:
    """By trying: the most heads that may be missing while three times the rest is more than twice the whole."""
    missing = 0
    while 3 * (count - missing - 1) > 2 * count:
        missing += 1
    return missing


@pytest.mark.parametrize("power", [1, 10, 7, 1_000_000_000])
@pytest.mark.parametrize("count", SIZES)
def test_i2_equal_validators_may_be_away_up_to_f_less_a_third_of_f_whatever_their_unit(count: int, power: int) -> None:
    f = heads_that_may_fail(count)
    powers = equal(count, power)
    assert tolerable(count * power) // power == f
    assert default_reserve(powers) == (f // 3) * power

    allowed = 0
    while isinstance(ask(address(0), network(powers), planned=[address(i) for i in range(1, allowed + 1)]), Allow):
        allowed += 1
    assert allowed == f - f // 3, f"{count} validators of power {power}"


@pytest.mark.parametrize("count", [n for n in SIZES if n >= 4])
def test_i2_every_kind_of_away_counts_the_same_for_equal_validators(count: int) -> None:
    powers = equal(count)
    room = heads_that_may_fail(count) - heads_that_may_fail(count) // 3
    last, one_more = [address(i) for i in range(1, room)], [address(i) for i in range(1, room + 1)]
    for gone, expected in ((last, Allow), (one_more, Deny)):
        assert isinstance(ask(address(0), network(powers), planned=gone), expected)
        assert isinstance(ask(address(0), network(powers, silent=gone)), expected)
        assert isinstance(ask(address(0), network(powers, unknown=frozenset(gone))), expected)
        assert isinstance(ask(address(0), network(powers, joining=dict.fromkeys(gone, 1))), expected)


def test_i2_of_twenty_equal_validators_four_may_be_away_by_plan() -> None:
    powers = equal(20)
    fourth = ask(address(0), network(powers), planned=[address(i) for i in (1, 2, 3)])
    assert isinstance(fourth, Allow)
    assert fourth.basis is Basis.WITHIN_BUDGET
    fifth = ask(address(0), network(powers), planned=[address(i) for i in (1, 2, 3, 4)])
    assert isinstance(fifth, Deny)
    assert fifth.reason is DenyReason.QUORUM
    assert fifth.numbers is not None
    assert (fifth.numbers.quorum, fifth.numbers.tolerable, fifth.numbers.reserve) == (14, 6, 2)


def test_ac_20_the_step_that_would_leave_thirteen_of_twenty_is_refused_with_the_count() -> None:
    answer = ask(
        address(0),
        network(equal(20)),
        planned=[address(i) for i in range(1, 7)],
        policy=QuorumPolicy(reserve=0),
    )
    assert isinstance(answer, Deny)
    assert "13 of 20" in answer.message
    assert "14 are needed" in answer.message
    assert "N01, N02, N03, N04, N05, N06" in answer.message
    assert answer.until == "validators with power 1 are back"


@pytest.mark.parametrize("reserve", [0, 1, 2, 3, 6, 7, 100])
def test_i2_no_reserve_setting_lowers_the_floor_of_fourteen_of_twenty(reserve: int) -> None:
    away = 0
    policy = QuorumPolicy(reserve=reserve)
    while isinstance(
        ask(address(0), network(equal(20)), planned=[address(i) for i in range(1, away + 1)], policy=policy), Allow
    ):
        away += 1
    assert 20 - away >= 14
    assert away == max(0, 6 - reserve)


def test_i2_a_negative_reserve_cannot_even_be_said() -> None:
    with pytest.raises(ValueError, match="hard floor"):
        QuorumPolicy(reserve=-1)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("with_readings", [True, False])
def test_i2_networks_of_one_to_three_can_lose_nobody(count: int, with_readings: bool) -> None:
    facts = network(equal(count)) if with_readings else network(equal(count), readings=())
    answer = ask(address(0), facts)
    assert isinstance(answer, Impossible)
    assert answer.reason is ImpossibleReason.CAN_LOSE_NOBODY
    assert "allowHalt" in answer.remedy
    assert "devnet" in answer.remedy


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("with_readings", [True, False])
def test_i2_allow_halt_opens_networks_of_one_to_three_and_no_other(count: int, with_readings: bool) -> None:
    powers = equal(count)
    everybody_else = [address(i) for i in range(1, count)]
    facts = network(powers, allow_halt=True)
    if not with_readings:
        facts = network(powers, allow_halt=True, readings=())
    answer = ask(address(0), facts, planned=everybody_else)
    if count <= 3:
        assert isinstance(answer, Allow)
        assert answer.basis is Basis.HALT_ALLOWED
    else:
        assert isinstance(answer, Deny)


def test_i2_allow_halt_does_not_open_a_network_in_which_more_keys_vote_than_the_spec_declares() -> None:
    facts = network(equal(5), allow_halt=True)
    facts = network(equal(5), allow_halt=True, members=facts.members[:2])
    assert not isinstance(ask(address(0), facts, planned=[address(1), address(2)]), Allow)


def test_i2_nobody_counts_twice_however_many_lists_name_them() -> None:
    gone = [address(1), address(2), address(3)]
    facts = network(equal(20), silent=gone, unknown=frozenset(gone), joining=dict.fromkeys(gone, 1))
    answer = ask(address(0), facts, planned=gone)
    assert isinstance(answer, Allow)
    assert answer.numbers is not None
    assert (answer.numbers.away, answer.numbers.away_after) == (3, 4)
