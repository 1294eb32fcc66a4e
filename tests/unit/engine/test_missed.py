"""What a new leader looks at first."""

from __future__ import annotations

from jil.engine.missed import Missed
from jil.engine.queue import Key


def key(number: int) -> Key:
    return Key("JILNode", "a", f"n{number}")


def test_what_changed_in_the_last_minute_is_told_once_the_longest_ago_first() -> None:
    now = 0.0
    missed = Missed(lambda: now)
    missed.note(key(1))
    now = 50.0
    missed.note(key(2))
    missed.note(key(3))
    now = 70.0
    missed.note(key(2))
    assert missed.take() == [key(3), key(2)]
    assert missed.take() == []


def test_of_very_many_changes_the_newest_are_kept() -> None:
    missed = Missed(lambda: 0.0)
    for number in range(1_500):
        missed.note(key(number))
    assert missed.take() == [key(number) for number in range(500, 1_500)]
