"""What `make faults` says while it runs and at its end, and when it says that all is well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import __main__ as matrix
from tests.faults import report
from tests.faults.lives import ROOT
from tests.faults.points import Outcome, Point

_CRASH = Outcome(Point("crash", "stop", 3), struck=True, seconds=4.25, found="")
_BEYOND = Outcome(Point("crash", "stop", 99), struck=False, seconds=2.0, found="")
_FOUND = Outcome(Point("two-leaders", "delete", 5), struck=True, seconds=12.0, found="a key was made anew\nits name")


def test_an_outcome_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("".join(report.line(outcome) + "\n" for outcome in (_CRASH, _BEYOND, _FOUND)))
    assert list(report.read(state)) == [_CRASH, _BEYOND, _FOUND]


def test_without_a_file_there_is_no_outcome(tmp_path: Path) -> None:
    assert list(report.read(tmp_path / "state")) == []


def test_a_line_that_a_run_was_killed_in_is_no_outcome_and_hides_none(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text(report.line(_CRASH) + "\n" + report.line(_FOUND)[:30] + "\n" + report.line(_BEYOND) + "\n")
    assert list(report.read(state)) == [_CRASH, _BEYOND]


def test_progress_counts_what_struck_and_names_the_last_point() -> None:
    assert (
        report.progress([_CRASH, _BEYOND, _FOUND], before=1, seconds=720)
        == " 12 min: struck crash 1, two-leaders 1; 1 with consequences; last two-leaders/delete/5"
    )


def test_progress_names_no_point_of_an_earlier_run() -> None:
    assert report.progress([_CRASH], before=1, seconds=60) == "  1 min: struck crash 1; 0 with consequences"
    assert report.progress([], before=0, seconds=60) == "  1 min: struck none; 0 with consequences"


def test_a_point_that_was_found_again_counts_as_it_ended_last() -> None:
    mended = Outcome(_FOUND.point, struck=True, seconds=3.0, found="")
    text = report.table([_FOUND, mended], seconds=15)
    assert "1 points struck, 0 with consequences, 15 s of wall time" in text
    assert "a key was made anew" not in text


def test_the_table_names_who_had_consequences_and_how_to_run_it_again() -> None:
    lines = report.table([_CRASH, _FOUND], seconds=15).splitlines()
    assert lines[1].split() == ["crash", "1", "0", "4"]
    assert lines[2].split() == ["two-leaders", "1", "1", "12"]
    assert lines[-2:] == ["  two-leaders/delete/5: a key was made anew", f"    {_FOUND.point.again}"]


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        pytest.param([0, 0], 0, id="every world is done"),
        pytest.param([0, 1], 1, id="one found something"),
        pytest.param([0, -9], 9, id="one was killed, by the kernel for its memory for instance"),
        pytest.param([], 1, id="none ran"),
    ],
)
def test_all_is_well_only_when_every_world_came_to_its_end(codes: list[int], verdict: int) -> None:
    assert matrix._verdict(codes) == verdict


@pytest.mark.parametrize("worlds", ["0", "-1", "two"])
def test_a_number_of_worlds_that_is_none_is_refused(worlds: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.faults", f"--worlds={worlds}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "how many worlds must be a number from 1 on" in run.stderr
