"""What a run of the matrix says: outcomes as lines of its state file, a line a minute meanwhile, a table at its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from tests.faults.points import FAMILIES, Outcome, Point


def line(outcome: Outcome) -> str:
    """One outcome as a line of the state file, without the line's end."""
    return json.dumps(
        {
            "point": str(outcome.point),
            "struck": outcome.struck,
            "seconds": round(outcome.seconds, 2),
            "found": outcome.found,
        }
    )


def read(state: Path) -> Iterator[Outcome]:
    """Outcomes in the order in which they were found; none where there is no file.

    A line that is being written, or that a run was killed in, is no outcome yet: its point is run again.
    """
    if not state.exists():
        return
    for text in state.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(text)
        except json.JSONDecodeError:
            continue
        yield Outcome(Point.parse(entry["point"]), entry["struck"], entry["seconds"], entry["found"])


def latest(outcomes: Iterable[Outcome]) -> Collection[Outcome]:
    """The last outcome of each point."""
    return {outcome.point: outcome for outcome in outcomes}.values()


def _by_family(outcomes: Collection[Outcome]) -> tuple[Counter[str], Counter[str]]:
    """How many struck, and how many had consequences."""
    return (
        Counter(outcome.point.family for outcome in outcomes if outcome.struck),
        Counter(outcome.point.family for outcome in outcomes if outcome.found),
    )


def progress(outcomes: Iterable[Outcome], before: int, seconds: float) -> str:
    """Where a run is: points struck by family, those of earlier runs among them, and the point that ended last.

    ``before``: outcomes that were in the state file when this run began.
    """
    known = list(outcomes)
    struck, found = _by_family(latest(known))
    counts = ", ".join(f"{family} {struck[family]}" for family in FAMILIES if struck[family]) or "none"
    last = f"; last {known[-1].point}" if len(known) > before else ""
    return f"{seconds / 60:3.0f} min: struck {counts}; {sum(found.values())} with consequences{last}"


def table(outcomes: Iterable[Outcome], seconds: float) -> str:
    """By family how many points struck, how many had consequences and how long they took; then who had consequences."""
    known = latest(outcomes)
    struck, found = _by_family(known)
    spent: Counter[str] = Counter()
    for outcome in known:
        spent[outcome.point.family] += round(outcome.seconds)
    lines = [f"{'family':<16} {'points':>6} {'found':>6} {'seconds':>8}"]
    lines += [
        f"{family:<16} {struck[family]:6d} {found[family]:6d} {spent[family]:8d}"
        for family in FAMILIES
        if spent[family] or struck[family] or found[family]
    ]
    lines.append(
        f"{sum(struck.values())} points struck, {sum(found.values())} with consequences, {seconds:.0f} s of wall time"
    )
    lines += [
        f"  {outcome.point}: {outcome.found.splitlines()[0][:160]}\n    {outcome.point.again}"
        for outcome in known
        if outcome.found
    ]
    return "\n".join(lines)
