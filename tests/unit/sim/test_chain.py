"""The simulated chain by itself, with a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.sim.chain import Lie, SimChain

NAMES = ("A", "B", "C", "D")


def chain(names: Iterable[str] = NAMES, *, start: Iterable[str] | None = None, power: int = 10) -> SimChain:
    made = SimChain("c", dict.fromkeys(names, power), begun=0.0, interval_s=1.0, catch_up_s=0.0)
    for name in names if start is None else start:
        made.start(name, f"pod-{name}", 0.0, state_height=0)
    return made


def test_blocks_are_made_on_time_and_signed_by_all_who_are_up() -> None:
    made = chain()
    made.advance(5.5)
    assert made.height == 5
    assert made.blocks[5].signed == set(NAMES)
    assert made.blocks[5].time == 5.0


@pytest.mark.parametrize(("up", "height"), [(4, 3), (3, 3), (2, 0), (0, 0)])
def test_the_chain_advances_only_with_more_than_two_thirds_of_the_power(up: int, height: int) -> None:
    made = chain(start=NAMES[:up])
    made.advance(3.0)
    assert made.height == height


def test_exactly_two_thirds_is_not_enough() -> None:
    made = chain(("A", "B", "C"), start=("A", "B"))
    made.advance(10.0)
    assert made.height == 0


def test_power_counts_and_not_heads() -> None:
    made = SimChain("c", {"heavy": 80, "a": 10, "b": 10}, begun=0.0, interval_s=1.0, catch_up_s=0.0)
    made.start("heavy", "p", 0.0, state_height=0)
    made.advance(2.0)
    assert made.height == 2


def test_a_validator_that_goes_is_missing_from_the_next_commits() -> None:
    made = chain()
    made.stop("pod-D", 3.0)
    made.advance(6.0)
    assert "D" in made.blocks[3].signed
    assert "D" not in made.blocks[4].signed
    assert made.height == 6


def test_a_halted_chain_goes_on_when_enough_are_back() -> None:
    made = chain()
    made.stop("pod-C", 2.0)
    made.stop("pod-D", 2.0)
    made.advance(10.0)
    assert made.height == 2
    made.start("C", "pod-C2", 10.0, state_height=2)
    made.advance(12.0)
    assert made.height == 4, "due at 11 and 12; the start came after the block of 10"
    assert made.violations == []


def test_a_partition_without_quorum_stands_still_and_catches_up_when_healed() -> None:
    made = chain()
    made.cut(["D"], 2.0)
    here, there = made.view("A", 6.0), made.view("D", 6.0)
    assert here is not None
    assert there is not None
    assert (here.height, there.height, there.peers) == (6, 2, 0)
    made.heal(6.0)
    healed = made.view("D", 7.0)
    assert healed is not None
    assert healed.height == 7
    assert made.blocks[7].signed == set(NAMES)


def test_a_split_in_two_halves_stops_everybody() -> None:
    made = chain()
    made.cut(["C", "D"], 2.0)
    made.advance(20.0)
    assert made.height == 2


def test_one_key_in_two_processes_is_a_violation() -> None:
    made = chain()
    made.start("A", "another-pod", 1.0, state_height=1)
    assert made.violations == ["A runs twice on c: in pod-A and in another-pod"]


def test_a_sign_state_that_went_back_is_a_violation() -> None:
    made = chain()
    made.stop("pod-A", 5.0)
    made.start("A", "pod-A2", 6.0, state_height=5)
    made.stop("pod-A2", 9.0)
    assert made.violations == []
    made.start("A", "pod-A3", 10.0, state_height=0)
    assert len(made.violations) == 1
    assert "has signed 9" in made.violations[0]


def test_a_process_that_catches_up_does_not_sign_yet() -> None:
    made = SimChain("c", dict.fromkeys(NAMES, 10), begun=0.0, interval_s=1.0, catch_up_s=3.0)
    for name in NAMES:
        made.start(name, f"pod-{name}", 0.0, state_height=0)
    young = made.view("A", 1.0)
    assert young is not None
    assert young.catching_up
    assert made.height == 0
    made.advance(4.0)
    assert made.height == 2


def test_a_view_has_the_commits_below_its_height_in_a_row() -> None:
    made = chain()
    view = made.view("A", 30.0)
    assert view is not None
    assert view.height == 30
    assert [b.height for b in view.commits] == list(range(20, 30))


def test_a_lie_changes_what_one_node_says_and_nothing_else() -> None:
    made = chain()
    made.lie("A", Lie(height_ahead=100, silent=frozenset({"B"}), powers={"A": 1}))
    liar, honest = made.view("A", 20.0), made.view("B", 20.0)
    assert liar is not None
    assert honest is not None
    assert (liar.height, liar.powers) == (120, {"A": 1})
    assert all("B" not in b.signed for b in liar.commits)
    assert (honest.height, dict(honest.powers)) == (20, dict.fromkeys(NAMES, 10))


def test_a_validator_update_takes_effect_two_blocks_later() -> None:
    made = chain()
    made.advance(3.0)
    made.set_power("D", 0, 3.0)
    made.advance(5.0)
    assert set(made.blocks[4].powers) == set(NAMES)
    assert set(made.blocks[5].powers) == {"A", "B", "C"}


def test_a_key_that_is_not_running_says_nothing() -> None:
    assert chain(start=()).view("A", 1.0) is None
