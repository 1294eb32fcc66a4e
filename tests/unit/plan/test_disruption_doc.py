"""docs/disruption.md says what the code does: its tables are computed again, its reasons are all of them."""

from __future__ import annotations

import re
from pathlib import Path

from jil.plan.acts import VALIDATOR, Act, stops_a_validator
from jil.plan.chain import FURTHEST_BEHIND
from jil.plan.quorum import DEFAULT_POLICY, default_reserve, tolerable
from jil.plan.verdict import Basis, DenyReason, ImpossibleReason

TEXT = (Path(__file__).parents[3] / "docs" / "disruption.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("|")]


def test_the_table_of_equal_validators_is_what_the_gate_computes() -> None:
    rows = [[int(cell) for cell in row] for row in ROWS if all(cell.isdigit() for cell in row)]
    assert [row[0] for row in rows] == list(range(1, 51))
    for count, needed, f, reserve, away in rows:
        powers = {str(index): 1 for index in range(count)}
        assert (needed, f, reserve) == (count - tolerable(count), tolerable(count), default_reserve(powers))
        assert away == f - reserve


def test_the_table_of_unequal_powers_is_what_the_gate_computes() -> None:
    rows = [row for row in ROWS if re.fullmatch(r"\d+( \d+)+", row[0])]
    assert len(rows) == 5
    for listed, *numbers in rows:
        powers = dict(enumerate(map(int, listed.split())))
        total = sum(powers.values())
        f, reserve = tolerable(total), default_reserve({str(key): value for key, value in powers.items()})
        assert [int(number) for number in numbers] == [total, f, reserve, f - reserve]


def test_every_reason_and_act_is_explained_and_no_other() -> None:
    named = {row[0].strip("`") for row in ROWS if row[0].startswith("`")}
    assert named == {*DenyReason, *ImpossibleReason, *Act}
    assert all(f"`{basis}`" in TEXT for basis in Basis)


def test_what_costs_power_is_what_the_gate_counts() -> None:
    for row in ROWS:
        if row[0].strip("`") in set(Act):
            assert (row[2] == "for the validator") is stops_a_validator(Act(row[0].strip("`")), VALIDATOR)


def test_the_numbers_in_the_text_are_the_defaults() -> None:
    readings = DEFAULT_POLICY.readings
    assert f"any of the last {readings.window} commits" in TEXT
    assert f"advanced by {DEFAULT_POLICY.advance} blocks" in TEXT
    assert f"more than {FURTHEST_BEHIND} blocks above" in TEXT
    assert f"younger than {readings.max_block_age_ms // 1000} seconds" in TEXT
    assert f"at most {readings.max_reading_age_ms // 1000} seconds old" in TEXT
