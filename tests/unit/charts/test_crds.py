"""The chart installs the very CRDs of crds/, and an uninstall leaves them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.unit.charts.rendering import CHARTS, Manifest, of_kind, operator

SOURCE = CHARTS.parent / "crds"
COPIES = CHARTS / "jil-operator" / "files" / "crds"
FILES = sorted(path.name for path in SOURCE.glob("*.yaml"))


@pytest.fixture(scope="module")
def rendered() -> dict[str, Manifest]:
    return {crd["metadata"]["name"]: crd for crd in of_kind(operator(), "CustomResourceDefinition")}


def test_the_chart_carries_every_crd_and_no_other() -> None:
    assert FILES
    assert sorted(path.name for path in COPIES.iterdir()) == FILES, "run make generate"


@pytest.mark.parametrize("name", FILES)
def test_the_charts_copy_of_a_crd_is_the_generated_file(name: str) -> None:
    assert (COPIES / name).read_text() == (SOURCE / name).read_text(), f"files/crds/{name} is stale: run make generate"


@pytest.mark.parametrize("name", FILES)
def test_helm_renders_a_crd_without_changing_a_character_of_its_spec(name: str, rendered: dict[str, Manifest]) -> None:
    source = yaml.safe_load((COPIES / name).read_text())
    crd = rendered[source["metadata"]["name"]]
    assert _typed(crd["spec"]) == _typed(source["spec"])
    assert (crd["apiVersion"], crd["kind"]) == (source["apiVersion"], source["kind"])
    for field in ("labels", "annotations"):
        assert (source["metadata"].get(field) or {}).items() <= crd["metadata"][field].items()


def test_i4_every_crd_is_kept_by_an_uninstall(rendered: dict[str, Manifest]) -> None:
    kept = {
        name for name, crd in rendered.items() if crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    }
    assert kept == set(rendered)
    assert len(rendered) == len(FILES)


def test_crds_can_be_left_to_somebody_else() -> None:
    assert list(of_kind(operator("--set", "crds.install=false"), "CustomResourceDefinition")) == []


def _typed(value: Any) -> Any:
    """1, 1.0 and True are equal in Python; here a number that helm turned into a float is a difference."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return type(value).__name__, value
