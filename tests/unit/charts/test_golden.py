"""What the charts render, compared with reviewed files, and helm's own lint."""

from __future__ import annotations

import difflib

import pytest

from tests.unit.charts.rendering import CASES, CHARTS, GOLDEN, KUBERNETES, Case, helm


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rendered_objects_are_the_golden_ones(case: Case) -> None:
    wanted, rendered = case.golden.read_text(), case.render()
    difference = "\n".join(difflib.unified_diff(wanted.splitlines(), rendered.splitlines(), "golden", "rendered", lineterm=""))
    assert wanted == rendered, f"{difference}\n\nMeant? python -m tests.unit.charts.rendering --write, then read the diff."


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rendering_twice_gives_the_same_bytes(case: Case) -> None:
    assert case.render() == case.render()


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
    assert {path.name for path in GOLDEN.glob("*.yaml")} == {case.golden.name for case in CASES}
