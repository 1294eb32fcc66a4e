"""The ticket: nobody but the gate makes one, and it is for one version of one object."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from jil.api import kinds
from jil.cluster import grant, review
from jil.cluster.grant import Grant, TargetRef
from jil.plan.acts import Act

PACKAGE = Path(grant.__file__).parents[1]
TARGET = TargetRef(kinds.POD, "jil-x", "node-validator-0", "uid", "7")


def test_a_grant_cannot_be_constructed_without_the_gate() -> None:
    with pytest.raises(TypeError, match="ask the gate"):
        Grant("g1", Act.DRAIN, TARGET, object())


def test_a_grant_cannot_be_copied_onto_another_target() -> None:
    real = grant._issue("g1", Act.DRAIN, TARGET)
    with pytest.raises((TypeError, ValueError)):
        replace(real, target=TARGET)  # type: ignore[call-arg]


@pytest.mark.parametrize("missing", ["name", "uid", "resource_version"])
def test_a_target_without_identity_or_version_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        replace(TARGET, **{missing: ""})  # type: ignore[arg-type]


@pytest.mark.parametrize("grant_id", ["", "a b", "a/b", "a\n"])
def test_a_grant_id_is_one_word_because_it_stands_in_the_user_agent(grant_id: str) -> None:
    with pytest.raises(ValueError, match="one word"):
        grant._issue(grant_id, Act.DRAIN, TARGET)


def test_i2_only_the_gate_issues_grants_in_the_whole_package() -> None:
    """Reads every module's syntax tree: the private names of grant.py and review.py reach the gate and nobody else."""
    reached = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        for module in ("grant", "review")
        for name in _private_names_of(f"jil.cluster.{module}", path)
    }
    assert reached <= {("cluster/disruption.py", "_issue")}


def test_i2_reviewed_comes_from_the_review_alone() -> None:
    with pytest.raises(TypeError, match="looks at the live object"):
        review.Reviewed(kinds.POD, "x", "y", "u", "1", object())


def _private_names_of(module: str, path: Path) -> set[str]:
    """Private names of ``module`` that the file imports or reaches through the module."""
    text = path.read_text()
    if module.rpartition(".")[2] not in text:
        return set()  # Most files: no need to parse them.
    nodes = list(ast.walk(ast.parse(text)))
    found: set[str] = set()
    known_as: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == module:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == module.rpartition(".")[0]:
            known_as |= {alias.asname or alias.name for alias in node.names if alias.name == module.rpartition(".")[2]}
        elif isinstance(node, ast.Import):
            known_as |= {alias.asname or alias.name for alias in node.names if alias.name == module}
    for node in nodes:
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in known_as:
            found.add(node.attr)
    return {name for name in found if name.startswith("_")}
