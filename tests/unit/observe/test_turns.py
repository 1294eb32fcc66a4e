"""Who is read when, by a clock that only the test moves."""

from __future__ import annotations

from jil.observe.turns import EAGER_FOR_SECONDS, EAGER_SECONDS, Turns

A, B = ("ns", "a"), ("ns", "b")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _readings(turns: Turns, clock: Clock, seconds: float, *, well: bool) -> int:
    """How often A is read in so many seconds, each reading taking no time."""
    count, end = 0, clock.now + seconds
    while clock.now < end:
        for key in turns.due([A]):
            count += 1
            turns.done(key, well=well)
        clock.now += turns.pause
    return count


def test_a_node_is_read_at_once_and_then_at_its_interval() -> None:
    clock = Clock()
    turns = Turns(5.0, clock)
    assert turns.due([A, B]) == [A, B]
    turns.done(A, well=True)
    turns.done(B, well=True)
    clock.now += 4.9
    assert turns.due([A, B]) == []
    clock.now += 0.1
    assert turns.due([A, B]) == [A, B]


def test_a_node_that_is_not_well_is_read_every_second_for_two_minutes_and_then_like_the_others() -> None:
    clock = Clock()
    turns = Turns(5.0, clock)
    assert _readings(turns, clock, EAGER_FOR_SECONDS, well=False) == EAGER_FOR_SECONDS / EAGER_SECONDS
    assert 99 <= _readings(turns, clock, 500.0, well=False) <= 101


def test_whoever_falls_ill_again_is_read_every_second_again() -> None:
    clock = Clock()
    turns = Turns(5.0, clock)
    _readings(turns, clock, 2 * EAGER_FOR_SECONDS, well=False)
    assert _readings(turns, clock, 10.0, well=True) <= 3
    assert _readings(turns, clock, 60.0, well=False) >= 50


def test_a_reading_that_takes_long_is_not_begun_twice_and_delays_nobody_else() -> None:
    clock = Clock()
    turns = Turns(5.0, clock)
    assert turns.due([A, B]) == [A, B]
    turns.done(B, well=True)
    clock.now += 6.0
    assert turns.due([A, B]) == [B], "A has not ended yet"
    turns.done(A, well=True)
    assert turns.due([A]) == [A], "its next turn counts from when it was begun"


def test_a_short_interval_is_no_longer_for_a_node_that_is_not_well() -> None:
    clock = Clock()
    turns = Turns(0.25, clock)
    assert turns.pause == 0.25
    assert _readings(turns, clock, 1.0, well=False) == 4


def test_a_node_that_is_forgotten_while_it_is_read_begins_anew() -> None:
    clock = Clock()
    turns = Turns(5.0, clock)
    assert turns.due([A]) == [A]
    turns.forget(A)
    turns.done(A, well=True)
    assert turns.due([A]) == [A]
