"""Rows of figures: told as soon as they are known (JSON lines), and as one table at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One figure. ``limit`` is the most that it may be, where a target exists."""

    part: str
    name: str
    value: float
    unit: str
    note: str = ""
    limit: float | None = None

    @property
    def verdict(self) -> str:
        """Whether a target is met; nothing where there is none."""
        return "" if self.limit is None else ("ok" if self.value <= self.limit else "MISSED")


class Reporter:
    """Hands rows out as they come, so that a part that is ended at its deadline has told what it knew."""

    def __init__(self, part: str) -> None:
        self.part = part

    def tell(self, name: str, value: float, unit: str, note: str = "", limit: float | None = None) -> None:
        """One figure, as a JSON line on standard output."""
        row = Row(self.part, name, round(value, 4), unit, note, limit)
        say(json.dumps(asdict(row)))


def say(line: str) -> None:
    """To standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def table(rows: Sequence[Row]) -> str:
    """For people."""
    head = ("part", "figure", "value", "unit", "target", "", "note")
    lines = [
        (
            row.part,
            row.name,
            f"{row.value:,.2f}" if row.value < 1000 else f"{row.value:,.0f}",
            row.unit,
            "" if row.limit is None else f"<= {row.limit:g}",
            row.verdict,
            row.note,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head) - 1)]

    def shown(line: tuple[str, ...]) -> str:
        cells = [
            cell.rjust(width) if number == 2 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=False))
        ]
        return "  ".join([*cells, line[-1]]).rstrip()

    return "\n".join(shown(line) for line in [head, *lines])
