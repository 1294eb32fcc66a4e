"""What the charts render, compared with reviewed files, and helm's own lint."""

from __future__ import annotations

import difflib

import pytest

from tests.unit.charts.goldens import CASES, FOLDER, RIGHTS, Case, rights_table
from tests.unit.charts.rendering import CHARTS, KUBERNETES, helm, jurisdiction, operator


def assert_golden(name: str, rendered: str) -> None:
    wanted = (FOLDER / name).read_text()
    difference = difflib.unified_diff(wanted.splitlines(), rendered.splitlines(), "golden", "rendered", lineterm="")
    remedy = "Meant? python -m tests.unit.charts.goldens --write, then read the diff."
    assert wanted == rendered, "\n".join([*difference, "", remedy])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rendered_objects_are_the_golden_ones(case: Case) -> None:
    assert_golden(f"{case.name}.yaml", case.render())


def test_the_rights_of_operator_and_people_are_those_of_the_reviewed_table() -> None:
    assert_golden(RIGHTS, rights_table([*operator(), *jurisdiction()]))


def test_rendering_twice_gives_the_same_bytes() -> None:
    case = CASES[1]
    command = ("template", "jil", str(CHARTS / case.chart), "--values", str(case.values), "--kube-version", KUBERNETES)
    assert helm(*command).stdout == helm(*command).stdout != ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_helm_lint_is_clean(case: Case) -> None:
    result = helm(
        "lint", "--strict", str(CHARTS / case.chart), "--values", str(case.values), "--kube-version", KUBERNETES
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "[WARNING]" not in result.stdout
    assert "[ERROR]" not in result.stdout


def test_helm_lint_accepts_the_operator_chart_with_its_default_values() -> None:
    result = helm("lint", "--strict", str(CHARTS / "jil-operator"), "--kube-version", KUBERNETES)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_golden_file_is_left_of_a_case_that_is_gone() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{case.name}.yaml" for case in CASES} | {RIGHTS}
