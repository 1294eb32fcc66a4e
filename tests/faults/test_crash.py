"""I8: killed, paused, lied to at fixed points of every turn of a node's life; the end is that of a run without it.

The gate runs these; `make faults` runs every point there is (`docs/faults.md`).
"""

from __future__ import annotations

import pytest

from tests.faults import points
from tests.faults.points import Point
from tests.faults.rig import Rig
from tests.faults.scene import TURNS

#: In this order each turn begins where the one before ended.
CRASHES = [
    *("stop/2", "start/3", "stop/9", "start/11", "stop/20"),
    *("start/1", "delete/3", "re-apply/5", "delete/24", "re-apply/17"),
    *("bring-up/13", "bring-up/34", "bring-up/55"),
]
LEADERS = ["two-leaders/stop/9", "overtaken/start/4"]
VIEWS = [
    *("lost-reply/stop/8", "answer-409/start/5", "cut/stop/11", "lost-504/start/7"),
    *("frozen/stop/6", "event-dropped/start/4", "watch-410/delete/9", "answer-429/re-apply/3"),
]


def _hurt(rig: Rig, text: str) -> None:
    point = Point.parse(text)
    outcome = points.run(rig, point)
    assert not outcome.found, f"{outcome.found}\nagain: {point.again}"
    assert outcome.struck, f"{point} does not exist: the turn has fewer steps"


@pytest.mark.parametrize("place", CRASHES)
def test_i8_killed_after_step_k_of_a_turn_it_ends_as_without(rig: Rig, place: str) -> None:
    _hurt(rig, f"crash/{place}")


@pytest.mark.parametrize("point", LEADERS)
def test_i2_paused_at_a_step_and_replaced_the_old_leader_writes_nothing(rig: Rig, point: str) -> None:
    _hurt(rig, point)


@pytest.mark.parametrize("point", VIEWS)
def test_i8_lost_replies_errors_and_stale_views_leave_nothing_behind(rig: Rig, point: str) -> None:
    _hurt(rig, point)


def test_a_point_that_a_turn_does_not_have_strikes_nothing_that_comes_after_it(rig: Rig) -> None:
    """The harness itself: an injury left armed once stopped the leader while its scene was being removed."""
    outcome = points.run(rig, Point("two-leaders", "stop", 50))
    assert (outcome.struck, outcome.found) == (False, "")
    for turn in ("start", "stop"):
        rig.undisturbed(TURNS[turn])
    assert rig.holder() == rig.a.user, "twice as many steps as the point was off by, and the leader leads"
