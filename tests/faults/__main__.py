"""``python -m tests.faults``: the whole matrix of faults, or a part of it, or one point; resumable. docs/faults.md.

Points are run in an order in which each begins where the one before ended. Every outcome is a line in the state file,
which belongs to one state of the operator's code; what passed is not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from testbed import paths
from tests.faults import points, report
from tests.faults.lives import ROOT, Lives
from tests.faults.points import FAMILIES, Outcome, Point
from tests.faults.rig import Rig
from tests.faults.scene import TURNS

#: Families of which every point is run, whatever is sampled of the others.
WHOLE = ("crash", "two-leaders")
#: In this order each turn begins where the one before ended.
CIRCLE = ("stop", "start", "delete", "re-apply", "bring-up")
#: A family has no more places in a turn than this; a run ends where a place is not reached.
MOST = 400
#: How often a point is tried again that an undisturbed run has and this one did not reach.
TRIES = 3
#: Seconds between two lines that say where a run is.
EACH = 60.0


def main() -> int:
    """0 when nothing was found and every family of which all was asked for was run whole."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that worlds, and who runs in them, end too
    state = Path(arguments.state) if arguments.state else _state_file()
    if arguments.shard is None and arguments.again:
        state.unlink(missing_ok=True)
    if arguments.shard is None and not arguments.point:
        return _side_by_side(arguments, state)
    return Session(arguments, state).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--point", action="append", default=[], help="run only this point (repeatable), whatever passed"
    )
    parser.add_argument("--family", action="append", default=[], choices=sorted(FAMILIES), help="only these families")
    parser.add_argument("--turn", action="append", default=[], choices=sorted(TURNS), help="only these turns")
    parser.add_argument("--full", action="store_true", default=bool(os.environ.get("FULL")), help="every point")
    parser.add_argument("--minutes", type=float, default=20.0, help="time for the sample of the other families")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "1")), help="of the sample's order")
    parser.add_argument("--worlds", type=_some, default=2, help="worlds side by side, a process each")
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--state", help="state file (default: in the cache, one per state of the operator's code)")
    parser.add_argument("--again", action="store_true", help="forget what passed before")
    parser.add_argument("--plant", default="", help="put this bug into the operator (tests/faults/plants.py)")
    return parser.parse_args()


def _some(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: how many worlds must be a number from 1 on")
    return int(text)


def _state_file() -> Path:
    """Outcomes hold for the code they were found with."""
    digest = hashlib.sha256()
    for file in sorted((ROOT / "operator" / "jil").rglob("*.py")):
        digest.update(file.read_bytes())
    return paths.state() / f"faults-{digest.hexdigest()[:12]}.jsonl"


def _side_by_side(arguments: argparse.Namespace, state: Path) -> int:
    """One process per world; a circle of points is divided by index, so that each world goes round it."""
    print(f"state file {state}", flush=True)
    begun, before = time.monotonic(), len(list(report.read(state)))
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults", *sys.argv[1:], "--state", str(state), "--shard", str(shard)],
            cwd=ROOT,
        )
        for shard in range(arguments.worlds)
    ]
    try:
        while not _ended(children, EACH):
            print(report.progress(report.read(state), before, time.monotonic() - begun), flush=True)
    finally:
        for child in children:
            child.terminate()
    print("\n" + report.table(report.read(state), time.monotonic() - begun))
    return _verdict(child.returncode for child in children)


def _verdict(codes: Iterable[int]) -> int:
    """0 only when every world ended with 0: one that a signal ended (a negative code) has left points out."""
    return max((abs(code) for code in codes), default=1)


def _ended(children: Sequence[subprocess.Popen[bytes]], within: float) -> bool:
    """Whether all of them have ended, after at most so many seconds."""
    deadline = time.monotonic() + within
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
    return True


class Session:
    """One world's part of a run."""

    def __init__(self, arguments: argparse.Namespace, state: Path) -> None:
        self._arguments = arguments
        self._state = state
        self._shards = arguments.worlds
        self._shard = arguments.shard or 0
        self._outcomes: list[Outcome] = []
        self._known = {outcome.point: outcome for outcome in report.read(state)}

    def run(self) -> int:
        begun = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="jil-faults-"))
        with Lives() as lives, Rig(lives, folder, plant=self._arguments.plant) as rig:
            steps = rig.learn()
            if self._shard == 0:
                print(f"steps of an undisturbed run: {steps}; logs in {folder}", flush=True)
            if self._arguments.point:
                for text in self._arguments.point:
                    self._one(rig, Point.parse(text))
            else:
                self._whole(rig, steps)
                self._sample(rig)
        if self._arguments.shard is None:
            print("\n" + report.table(self._outcomes, time.monotonic() - begun))
        return 1 if any(outcome.found for outcome in self._outcomes) else 0

    # -- what is run -------------------------------------------------------------------------------------------------
    def _whole(self, rig: Rig, steps: dict[str, int]) -> None:
        """Every point of the families that are run whole; a turn of more steps than were kill points is a failure."""
        for family in self._families(WHOLE):
            self._round(rig, family, self._turns(), steps if FAMILIES[family].counts == "steps" else {})

    def _round(self, rig: Rig, family: str, turns: Sequence[str], least: Mapping[str, int]) -> None:
        """All indexes of a family, in circles through the turns.

        ``least``: indexes that an undisturbed run had, by turn. Two writes of a status may become one, so a run may end
        a step earlier: one of them that is not reached is tried again. That such a run was really shorter, the point
        itself proves.
        """
        open_turns = set(turns)
        for index in range(1, MOST):
            if not open_turns:
                break
            if index % self._shards != self._shard:
                continue
            for turn in [turn for turn in turns if turn in open_turns]:
                outcome = self._one(rig, Point(family, turn, index))
                for _ in range(TRIES):
                    if outcome.struck or outcome.found or index > least.get(turn, 0):
                        break
                    outcome = self._one(rig, Point(family, turn, index), again=True)
                if not outcome.struck and not outcome.found:
                    open_turns.discard(turn)

    def _sample(self, rig: Rig) -> None:
        """The other families: all of them, or as many of their points as fit into the time, by a seed."""
        rest = [family for family in self._families(tuple(FAMILIES)) if family not in WHOLE]
        if self._arguments.full:
            for family in rest:
                self._round(rig, family, self._turns(), {})
            return
        deadline = time.monotonic() + 60 * self._arguments.minutes
        for point in self._drawn(rest):
            if time.monotonic() > deadline:
                return
            self._one(rig, point)

    def _drawn(self, families: Sequence[str]) -> Iterator[Point]:
        """Points in an order that a seed gives, each world its own; turn after turn, so that little is walked in vain."""
        chance = random.Random(f"{self._arguments.seed}/{self._shard}")
        turns = self._turns()
        if not families:
            return
        while True:
            for turn in turns:
                yield Point(chance.choice(list(families)), turn, 1 + int(chance.triangular(0, 90, 12)))

    def _families(self, among: Sequence[str]) -> list[str]:
        return [family for family in among if not self._arguments.family or family in self._arguments.family]

    def _turns(self) -> list[str]:
        return [turn for turn in CIRCLE if not self._arguments.turn or turn in self._arguments.turn]

    def _one(self, rig: Rig, point: Point, *, again: bool = False) -> Outcome:
        known = self._known.get(point)
        if known is not None and not known.found and not self._arguments.point and not again:
            self._outcomes.append(known)
            return known
        outcome = points.run(rig, point)
        self._write(outcome)
        return outcome

    def _write(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._known[outcome.point] = outcome
        with self._state.open("a") as file:
            file.write(report.line(outcome) + "\n")
        if outcome.found:
            print(f"FOUND {outcome.point}\n{outcome.found}\nagain: {outcome.point.again}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
