"""I2 and I3: what counts as evidence, which acts cost power, and what each kind of not knowing is answered with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jil.plan.acts import VALIDATOR, Act, stops_a_validator
from jil.plan.chain import DEFAULT_READING_POLICY, Commit, ReadingPolicy, silence
from jil.plan.quorum import REPAIRS, LastStep, QuorumPolicy, decide
from jil.plan.verdict import Allow, Basis, Deny, DenyReason, Impossible, ImpossibleReason
from jil.plan.voting import NO_CONSENSUS_KEY, Member, PodState, Subject
from tests.unit.plan.network import CHAIN, HEIGHT, NOW, K, address, ask, commits, equal, network, reading, subject

TEN = equal(10)  # f = 3, reserve 1: two may be away
TARGET = address(0)
COSTLY = [Act.STOP, Act.DRAIN, Act.DELETE_POD, Act.DELETE_WORKLOAD, Act.DISARM]


def deny_reason(answer: object) -> DenyReason:
    assert isinstance(answer, Deny), answer
    assert answer.until, "a Deny says until what"
    return answer.reason


# -- which acts cost power ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("act", list(Act))
@pytest.mark.parametrize("component", [VALIDATOR, "database", "broker", "cache", "health", "transfers"])
def test_i2_only_acts_that_end_a_validators_pod_cost_power(act: Act, component: str) -> None:
    expected = component == VALIDATOR and act in COSTLY
    assert stops_a_validator(act, component) is expected
    blind = network(TEN, readings=(), shared_ledger=False)
    answer = decide(subject(TARGET, act, component), blind, planned=frozenset(), last_step=None, now_ms=NOW)
    assert isinstance(answer, Allow) is not expected
    if not expected:
        assert answer == Allow(Basis.NO_POWER, f"{act} of {component} the target stops no validator")


@pytest.mark.parametrize("act", COSTLY)
def test_i2_a_full_node_costs_nothing_once_two_nodes_say_that_its_key_is_not_in_the_set(act: Act) -> None:
    outsider = address(77)
    gone = [address(1), address(2), address(3)]
    answer = ask(outsider, network(TEN, silent=gone), act=act)
    assert isinstance(answer, Allow)
    assert answer.basis is Basis.NO_POWER


@pytest.mark.parametrize(
    "changes",
    [
        {"readings": ()},
        {"readings": (reading(TEN, "reader-a"),)},
        {"readings": (reading(TEN, "reader-a"), reading(TEN, "reader-a"))},
        {"joining": {address(77): 5}},
        {"readings": tuple(reading(TEN, source, block_time_ms=NOW - 60_000) for source in ("reader-a", "reader-b"))},
        {
            "readings": (
                reading(TEN, "reader-a"),
                reading(TEN, "reader-b"),
                reading({**TEN, address(77): 1}, "reader-c"),
            )
        },
    ],
)
def test_i2_a_key_outside_the_set_needs_everybodys_word(changes: dict[str, Any]) -> None:
    facts = network(TEN, silent=[address(1), address(2)], **changes)
    answer = ask(address(77), facts, planned=[address(1), address(2)])
    assert not isinstance(answer, Allow)


def test_i2_a_spec_that_calls_a_member_a_later_one_proves_nothing_about_its_power() -> None:
    facts = network(TEN, readings=())
    assert deny_reason(ask(address(9), facts)) is DenyReason.CHAIN_UNKNOWN


@pytest.mark.parametrize("act", COSTLY)
def test_i2_no_key_was_ever_made_is_not_the_same_as_the_key_is_not_known(act: Act) -> None:
    facts = network(TEN, readings=())
    never = ask(NO_CONSENSUS_KEY, facts, act=act)
    assert isinstance(never, Allow)
    assert never.basis is Basis.NO_POWER
    assert deny_reason(ask(None, facts, act=act)) is DenyReason.ADDRESS_UNKNOWN
    assert deny_reason(ask(None, network(TEN), act=act)) is DenyReason.ADDRESS_UNKNOWN


def test_i2_a_member_whose_key_is_not_known_yet_still_counts_for_the_size_of_the_network() -> None:
    three = tuple(Member(f"N{i}", None, 10, local=True) for i in range(3))
    small = network({}, members=three, readings=(), allow_halt=True)
    assert isinstance(ask(None, small), Allow)
    four = replace(small, members=(*three, Member("N3", None, 10, local=True)))
    assert deny_reason(ask(None, four)) is DenyReason.ADDRESS_UNKNOWN


def test_i2_a_network_about_which_nothing_is_known_is_not_a_small_one() -> None:
    nothing = network({}, readings=(), allow_halt=True)
    assert not isinstance(ask(TARGET, nothing), Allow)


# -- readings ----------------------------------------------------------------------------------------------------------
BROKEN = {
    "another chain": {"chain_id": "other"},
    "catching up": {"catching_up": True},
    "read long ago": {"read_at_ms": NOW - 15_001},
    "read in the future": {"read_at_ms": NOW + 1},
    "an empty set": {"powers": {}},
    "a power of zero": {"powers": {**TEN, address(3): 0}},
    "too few commits": {"commits": commits(TEN, count=K - 1)},
    "no commits": {"commits": ()},
    "a gap in the commits": {"commits": commits(TEN, count=K + 1)[:4] + commits(TEN, count=K + 1)[5:]},
    "commits in another order": {"commits": commits(TEN)[-2::-1] + commits(TEN)[-1:]},
    "old commits": {"commits": commits(TEN, top=HEIGHT - 2)},
    "commits from the future": {"commits": commits(TEN, top=HEIGHT + 1)},
}


@pytest.mark.parametrize("fault", BROKEN)
def test_i2_a_reading_that_is_no_evidence_leaves_one_node_heard_and_one_is_not_enough(fault: str) -> None:
    facts = network(TEN, readings=(reading(TEN, "reader-a"), replace(reading(TEN, "reader-b"), **BROKEN[fault])))
    assert isinstance(ask(TARGET, network(TEN)), Allow)
    answer = ask(TARGET, facts)
    assert deny_reason(answer) is DenyReason.CHAIN_UNKNOWN
    assert isinstance(answer, Deny)
    assert "reader-b" in answer.message
    assert "from 1 nodes and 2 are needed" in answer.message


def test_i2_the_commit_of_the_newest_block_may_be_one_below_the_height() -> None:
    behind = [reading(TEN, source, commits=commits(TEN, top=HEIGHT - 1)) for source in ("a", "b")]
    assert isinstance(ask(TARGET, network(TEN, readings=tuple(behind))), Allow)


def test_i2_two_readings_of_one_node_are_one_opinion() -> None:
    facts = network(TEN, readings=(reading(TEN, "reader-a"), reading(TEN, "reader-a")))
    assert deny_reason(ask(TARGET, facts)) is DenyReason.CHAIN_UNKNOWN


def test_i2_the_worse_answer_counts() -> None:
    gone = [address(1), address(2)]
    facts = network(TEN, readings=(reading(TEN, "a"), reading(TEN, "b", silent=gone), reading(TEN, "c")))
    assert deny_reason(ask(TARGET, facts)) is DenyReason.QUORUM


def test_i2_each_node_may_have_missed_another_validator_and_all_of_them_are_away() -> None:
    facts = network(TEN, readings=(reading(TEN, "a", silent=[address(1)]), reading(TEN, "b", silent=[address(2)])))
    answer = ask(TARGET, facts)
    assert isinstance(answer, Deny)
    assert answer.numbers is not None
    assert answer.numbers.away == 2


def test_i2_one_missed_commit_of_the_last_k_is_away() -> None:
    def with_miss(position: int) -> Any:
        window = list(commits(TEN, count=K + 1))
        window[position] = replace(window[position], signed=window[position].signed - {address(1), address(2)})
        return network(TEN, readings=(reading(TEN, "a", commits=tuple(window)), reading(TEN, "b")))

    assert deny_reason(ask(TARGET, with_miss(-1))) is DenyReason.QUORUM
    assert deny_reason(ask(TARGET, with_miss(1))) is DenyReason.QUORUM
    assert isinstance(ask(TARGET, with_miss(0)), Allow), "older than the window"


def test_i2_a_nil_vote_carries_no_block() -> None:
    nil = commits(TEN, nil=[address(1), address(2)])
    facts = network(TEN, readings=(reading(TEN, "a", commits=nil), reading(TEN, "b")))
    assert deny_reason(ask(TARGET, facts)) is DenyReason.QUORUM


def test_i2_nodes_that_give_different_sets_for_one_height_are_not_believed() -> None:
    other = {**TEN, address(3): 2}
    facts = network(TEN, readings=(reading(TEN, "a"), reading(other, "b")))
    answer = ask(TARGET, facts)
    assert deny_reason(answer) is DenyReason.READINGS_DISAGREE


@pytest.mark.parametrize("changes", [{"window": 0}, {"sources": 1}, {"max_reading_age_ms": 0}, {"max_block_age_ms": 0}])
def test_i2_evidence_cannot_be_declared_away_by_a_setting(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="sources at least 2"):
        ReadingPolicy(**changes)


# -- the chain must live -----------------------------------------------------------------------------------------------
def test_i2_a_chain_that_stands_still_is_no_time_for_a_step() -> None:
    young, old = reading(TEN, "a"), reading(TEN, "b", block_time_ms=NOW - 30_001)
    assert deny_reason(ask(TARGET, network(TEN, readings=(young, old)))) is DenyReason.CHAIN_STALLED
    edge = reading(TEN, "b", block_time_ms=NOW - 30_000)
    assert isinstance(ask(TARGET, network(TEN, readings=(young, edge))), Allow)


@pytest.mark.parametrize(
    ("last", "allowed"), [(None, True), (HEIGHT - 10, True), (HEIGHT - 9, False), (HEIGHT + 5, False)]
)
def test_i2_the_chain_must_have_advanced_by_m_blocks_since_the_last_step(last: int | None, allowed: bool) -> None:
    answer = ask(TARGET, network(TEN), last_step=None if last is None else LastStep(last))
    if allowed:
        assert isinstance(answer, Allow)
    else:
        assert deny_reason(answer) is DenyReason.CHAIN_NOT_ADVANCED
        assert isinstance(answer, Deny)
        assert last is not None
        assert answer.until == f"the chain is at height {last + 10}"


def test_i2_the_lower_height_counts_for_the_advance() -> None:
    ahead, behind = reading(TEN, "a", height=HEIGHT + 3), reading(TEN, "b")
    facts = network(TEN, readings=(ahead, behind))
    assert deny_reason(ask(TARGET, facts, last_step=LastStep(HEIGHT - 8))) is DenyReason.CHAIN_NOT_ADVANCED


def test_i2_a_step_taken_at_an_unknown_height_is_not_long_ago() -> None:
    answer = ask(TARGET, network(TEN), last_step=LastStep(None))
    assert deny_reason(answer) is DenyReason.CHAIN_NOT_ADVANCED
    assert isinstance(answer, Deny)
    assert "unknown height" in answer.message


def test_i2_at_least_one_block_must_lie_between_two_steps() -> None:
    with pytest.raises(ValueError, match="at least one block"):
        QuorumPolicy(advance=0)


# -- members elsewhere -------------------------------------------------------------------------------------------------
def elsewhere(*indices: int, **changes: Any) -> Any:
    facts = network(TEN, shared_ledger=False, **changes)
    members = tuple(replace(one, local=index not in indices) for index, one in enumerate(facts.members))
    return replace(facts, members=members)


def test_i2_members_of_another_cluster_without_a_shared_ledger_are_a_no() -> None:
    answer = ask(TARGET, elsewhere(8, 9))
    assert deny_reason(answer) is DenyReason.FOREIGN_MEMBERS
    assert isinstance(answer, Deny)
    assert "N08, N09" in answer.message
    assert isinstance(ask(TARGET, replace(elsewhere(8, 9), shared_ledger=True)), Allow)
    assert isinstance(ask(TARGET, elsewhere()), Allow), "nobody is elsewhere"


def test_i2_an_undeclared_key_in_the_set_is_run_elsewhere() -> None:
    facts = network(TEN, shared_ledger=False)
    facts = replace(facts, members=facts.members[:9])
    assert deny_reason(ask(TARGET, facts)) is DenyReason.FOREIGN_MEMBERS


def test_i2_a_static_quota_bounds_what_this_cluster_holds_away_by_plan() -> None:
    facts = elsewhere(8, 9, static_quota=1)
    assert isinstance(ask(TARGET, facts), Allow)
    assert deny_reason(ask(TARGET, facts, planned=[address(1)])) is DenyReason.QUOTA_IN_USE
    assert isinstance(ask(TARGET, facts, planned=[TARGET]), Allow), "the target's own grant is not counted twice"
    none = ask(TARGET, elsewhere(8, 9, static_quota=0))
    assert isinstance(none, Impossible)
    assert none.reason is ImpossibleReason.QUOTA_TOO_SMALL


def test_i2_a_static_quota_does_not_replace_the_arithmetic() -> None:
    facts = elsewhere(8, 9, static_quota=9, silent=[address(8), address(9)])
    assert deny_reason(ask(TARGET, facts)) is DenyReason.QUORUM


def test_i2_members_elsewhere_and_no_reading_is_a_no_for_the_reason_that_lasts() -> None:
    assert deny_reason(ask(TARGET, elsewhere(8, 9, readings=()))) is DenyReason.FOREIGN_MEMBERS


# -- repair ------------------------------------------------------------------------------------------------------------
BROKEN_NETWORK = [address(i) for i in range(7)]  # seven of ten gone: no quorum, no blocks


@pytest.mark.parametrize("act", COSTLY)
@pytest.mark.parametrize("pod", list(PodState))
def test_i3_the_repair_of_a_validator_whose_pod_is_down_is_never_held_back(act: Act, pod: PodState) -> None:
    halted = network(TEN, silent=BROKEN_NETWORK, readings=())
    answer = ask(TARGET, halted, act=act, pod=pod, planned=BROKEN_NETWORK)
    free = act in REPAIRS and pod in (PodState.DOWN, PodState.ABSENT)
    assert isinstance(answer, Allow) is free
    if isinstance(answer, Allow):
        assert answer.basis is Basis.REPAIR


@pytest.mark.parametrize("act", COSTLY)
def test_i3_a_silent_key_may_be_repaired_but_not_stopped_outside_the_budget(act: Act) -> None:
    facts = network(TEN, silent=BROKEN_NETWORK)
    answer = ask(TARGET, facts, act=act)
    assert isinstance(answer, Allow) is (act in REPAIRS)
    if act not in REPAIRS:
        assert deny_reason(answer) is DenyReason.QUORUM, "stopping it would make a passing outage a lasting one"


def test_i3_a_silent_key_may_be_repaired_on_a_chain_that_has_halted() -> None:
    old = tuple(reading(TEN, source, silent=BROKEN_NETWORK, block_time_ms=NOW - 3_600_000) for source in "ab")
    assert isinstance(ask(TARGET, network(TEN, readings=old), act=Act.DELETE_POD), Allow)


@pytest.mark.parametrize(
    "readings",
    [
        pytest.param((), id="nobody heard"),
        pytest.param((reading(TEN, "a", silent=BROKEN_NETWORK),), id="one peer"),
        pytest.param(
            (reading(TEN, "a", silent=BROKEN_NETWORK), reading(TEN, TARGET, silent=BROKEN_NETWORK)), id="one is itself"
        ),
        pytest.param((reading(TEN, "a", silent=BROKEN_NETWORK), reading(TEN, "b")), id="one peer saw it sign"),
        pytest.param(
            (
                reading(TEN, "a", silent=BROKEN_NETWORK),
                reading(TEN, "b", commits=commits(TEN, silent=BROKEN_NETWORK[1:], nil=[TARGET])),
            ),
            id="it voted nil, so its process is there",
        ),
        pytest.param(
            (
                reading(TEN, "a", silent=BROKEN_NETWORK),
                reading(
                    TEN,
                    "b",
                    commits=(
                        Commit(HEIGHT - K + 1, frozenset(TEN)),
                        *commits(TEN, silent=BROKEN_NETWORK, count=K - 1),
                    ),
                ),
            ),
            id="it signed one of the last K",
        ),
        pytest.param(
            (
                reading(TEN, "a", silent=BROKEN_NETWORK),
                reading(TEN, "b", silent=BROKEN_NETWORK, catching_up=True),
            ),
            id="one is still reading old blocks",
        ),
        pytest.param(
            (
                reading(TEN, "a", silent=BROKEN_NETWORK),
                reading(TEN, "b", silent=BROKEN_NETWORK, height=HEIGHT - K - 1),
            ),
            id="one is far behind",
        ),
    ],
)
def test_i2_a_key_is_not_silent_on_less_than_the_word_of_two_peers_about_k_blocks(readings: Any) -> None:
    facts = network(TEN, readings=readings)
    assert not isinstance(ask(TARGET, facts, act=Act.DELETE_POD, planned=BROKEN_NETWORK[1:]), Allow)


@pytest.mark.parametrize("stale", [(), ("a",), ("b",), ("a", "b")])
def test_i1_silence_is_that_of_an_advancing_chain_only_when_every_peer_sees_young_blocks(
    stale: tuple[str, ...],
) -> None:
    readings = [
        reading(TEN, source, silent=[TARGET], block_time_ms=NOW - (60_000 if source in stale else 1_000))
        for source in "ab"
    ]
    proof = silence(TARGET, readings, chain_id=CHAIN, policy=DEFAULT_READING_POLICY, now_ms=NOW)
    assert proof is not None
    assert proof.advancing is (stale == ())
    assert (proof.sources, proof.blocks) == (frozenset("ab"), K)


def test_i2_silence_in_blocks_older_than_what_was_seen_before_is_no_proof() -> None:
    silent = network(TEN, silent=BROKEN_NETWORK)
    assert isinstance(ask(TARGET, replace(silent, known_height=HEIGHT), act=Act.DELETE_POD), Allow)
    stale = replace(silent, known_height=HEIGHT + 1)
    assert not isinstance(ask(TARGET, stale, act=Act.DELETE_POD), Allow)


def test_i3_repair_needs_neither_an_advancing_chain_nor_a_shared_ledger_nor_a_known_address() -> None:
    facts = network(TEN, readings=(), shared_ledger=False)
    facts = replace(facts, members=tuple(replace(one, local=False) for one in facts.members))
    answer = ask(None, facts, act=Act.DISARM, pod=PodState.DOWN, last_step=LastStep(None))
    assert isinstance(answer, Allow)


def test_i3_every_answer_says_what_to_wait_for_or_what_to_change() -> None:
    for answer in (
        ask(TARGET, network(TEN, readings=())),
        ask(TARGET, network(TEN, silent=BROKEN_NETWORK)),
        ask(TARGET, network(equal(2))),
        ask(None, network(TEN)),
    ):
        assert isinstance(answer, Deny | Impossible)
        text = str(answer)
        assert answer.message in text
        assert (answer.until if isinstance(answer, Deny) else answer.remedy) in text


def test_i2_a_subject_says_nothing_about_its_pod_unless_it_was_looked_at() -> None:
    assert Subject("n", Act.DISARM, VALIDATOR, TARGET).pod is PodState.UNKNOWN
