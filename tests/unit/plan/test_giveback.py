"""An open grant is given back on evidence, and pods are told apart by UID."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jil.plan.acts import Act
from jil.plan.giveback import GiveBack, follows_the_chain, has_left, plan_give_back
from jil.plan.health import ChainHealth, HealthReading
from jil.plan.podview import PodView
from jil.plan.voting import Member, NetworkFacts
from tests.unit.plan.network import NOW, address, equal, network, reading

SECOND = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
POD = PodView(
    name="ch-zug-01-validator-0",
    uid="uid-before",
    resource_version="1",
    component="validator",
    kube_node="worker-1",
    phase="Running",
    ready=True,
    deleting=False,
    serving=False,
    permit=None,
    created=SECOND,
    ready_since=SECOND,
)
NEW = replace(POD, uid="uid-after")


def _decide(pod: PodView, act: Act = Act.STOP, *, follows: bool = True, wanted: bool = False) -> GiveBack:
    return plan_give_back(act, "uid-before", pod, follows=follows, wanted=wanted)


def test_i2_the_same_pod_in_the_same_second_as_the_grant_is_not_back() -> None:
    assert _decide(POD, Act.DELETE_POD) is GiveBack.KEEP
    assert _decide(POD, Act.DISARM) is GiveBack.KEEP


def test_i2_another_pod_in_the_same_second_is_back_once_it_is_ready_and_follows() -> None:
    assert _decide(NEW) is GiveBack.RELEASE
    assert _decide(replace(NEW, ready=False)) is GiveBack.KEEP
    assert _decide(NEW, follows=False) is GiveBack.KEEP


def test_i2_a_pod_that_is_ending_proves_nothing() -> None:
    assert _decide(replace(NEW, deleting=True)) is GiveBack.KEEP
    assert _decide(replace(POD, deleting=True)) is GiveBack.KEEP


@pytest.mark.parametrize("act", [Act.STOP, Act.DRAIN])
def test_a_grant_whose_act_is_not_wanted_any_more_is_taken_back_and_one_that_is_stays(act: Act) -> None:
    assert _decide(POD, act, wanted=False) is GiveBack.TAKE_BACK
    assert _decide(POD, act, wanted=True) is GiveBack.KEEP


def test_a_grant_from_when_there_was_no_pod_is_given_back_with_the_first_one() -> None:
    assert plan_give_back(Act.STOP, None, POD, follows=True, wanted=False) is GiveBack.RELEASE


def _reading(at: datetime, *, ok: bool = True, catching_up: bool = False) -> HealthReading:
    return HealthReading(at=at, chain=ChainHealth(ok=ok, catching_up=catching_up))


def test_i2_a_reading_from_the_second_in_which_the_pod_became_ready_may_be_of_the_pod_before() -> None:
    now = SECOND + timedelta(seconds=5)
    assert not follows_the_chain(_reading(SECOND + timedelta(milliseconds=900)), POD, now)
    assert follows_the_chain(_reading(SECOND + timedelta(seconds=1)), POD, now)


def test_no_reading_an_old_one_or_a_bad_one_says_nothing() -> None:
    at, now = SECOND + timedelta(seconds=2), SECOND + timedelta(seconds=3)
    assert not follows_the_chain(None, POD, now)
    assert not follows_the_chain(_reading(at), POD, now + timedelta(minutes=5))
    assert not follows_the_chain(_reading(at, ok=False), POD, now)
    assert not follows_the_chain(_reading(at, catching_up=True), POD, now)
    assert not follows_the_chain(_reading(at), replace(POD, ready_since=None), now)
    assert not follows_the_chain(HealthReading(at=at, error="refused"), POD, now)


# -- a validator that left ---------------------------------------------------------------------------------------------
GONE = address(9)
REST = equal(4)


@pytest.mark.parametrize(
    ("facts", "left"),
    [
        (network(REST), True),
        (network(equal(10)), False),
        (network(REST, readings=()), False),
        (network(REST, readings=(reading(REST, "a"),)), False),
        # Cut off, two nodes agree on an old set.
        (network(REST, readings=tuple(reading(REST, one, block_time_ms=NOW - 3_600_000) for one in "ab")), False),
        (network(REST, readings=(*network(REST).readings, reading({**REST, GONE: 1}, "c"))), False),
        (network(REST, joining={GONE: 1}), False),
        (network(REST, members=(*network(REST).members, Member("N09", GONE, 1, local=True))), False),
        # Declared, and nobody knows by which key: it may be this one.
        (network(REST, members=(*network(REST).members, Member("N09", None, 1, local=True))), False),
        (network(REST, members=(*network(REST).members, Member("X01", None, 1, local=False))), True),
    ],
)
def test_i2_a_validator_has_left_when_nobody_declares_it_and_an_advancing_chain_does_not_have_it(
    facts: NetworkFacts, left: bool
) -> None:
    assert has_left(GONE, facts, now_ms=NOW) is left
