"""What is generated from the models: current, strict, explained, usable in a Helm chart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from annotated_types import Ge, Le, Len
from pydantic import Field, StringConstraints

from jil.api import crd, generated, reference
from jil.api.conditions import Reason
from jil.api.definitions import DEFINITIONS, Definition, definition
from jil.api.fields import ListAtomic, SpecModel
from jil.api.structural import structural, unbounded, walk
from jil.api.versions import is_supported

CHECKOUT = Path(__file__).parents[3]
each = pytest.mark.parametrize("entry", DEFINITIONS, ids=lambda entry: entry.kind.kind)


def test_checked_in_crds_are_those_of_the_models() -> None:
    directory = CHECKOUT / "crds"
    difference = generated.stale(crd.files(directory), sorted(directory.glob("*.yaml")))
    assert not difference, f"run `python -m jil.api.crd --write`:\n{difference}"


def test_checked_in_reference_is_that_of_the_models() -> None:
    path = CHECKOUT / reference.PATH
    difference = generated.stale({path: reference.render()}, [path])
    assert not difference, f"run `python -m jil.api.reference --write`:\n{difference}"


@each
def test_crd_reads_back_as_it_was_meant(entry: Definition) -> None:
    assert yaml.safe_load(crd.render(entry.manifest())) == entry.manifest()


@each
def test_crd_can_stand_in_a_helm_template_as_it_is(entry: Definition) -> None:
    assert "{{" not in crd.render(entry.manifest())


@each
def test_schema_is_bounded_and_preserves_nothing_unknown(entry: Definition) -> None:
    schema = entry.schema()
    for part in ("spec", "status"):
        if part in schema["properties"]:
            assert list(unbounded(schema["properties"][part])) == []
    assert "preserve-unknown" not in crd.render(entry.manifest())


@each
def test_every_field_is_explained(entry: Definition) -> None:
    for path, node in walk(entry.schema()):
        if path in ("", "metadata") or path.endswith(("[]", "[*]")):
            continue
        assert node["description"].endswith("."), path
        if "default" in node and "properties" not in node:
            assert "Default: " in node["description"], path


@each
def test_every_rule_says_what_to_do_in_a_sentence(entry: Definition) -> None:
    for path, _, rule in entry.rules():
        assert rule["message"].endswith("."), path
        assert len(rule["message"]) > 60 or "must" in rule["message"], (path, rule["message"])


@each
def test_kind_is_in_category_jil_only(entry: Definition) -> None:
    names = entry.manifest()["spec"]["names"]
    assert names["categories"] == ["jil"]
    assert names["shortNames"] == [entry.short_name]
    (version,) = entry.manifest()["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert ("subresources" in version) == entry.has_status


def test_lists_that_are_merged_have_keys() -> None:
    for entry in DEFINITIONS:
        for path, node in walk(entry.schema()):
            if node.get("type") == "array":
                assert node["x-kubernetes-list-type"] in ("map", "set", "atomic"), path
                if path.endswith("conditions"):
                    assert node["x-kubernetes-list-map-keys"] == ["type"]


def _schema_of(annotation: Any, **field: Any) -> dict[str, Any]:
    model = type("Probe", (SpecModel,), {"__annotations__": {"x": annotation}, "x": Field(**field)})
    schema: dict[str, Any] = structural(model)["properties"]["x"]
    return schema


@pytest.mark.parametrize(
    ("annotation", "lacks"),
    [
        (str, "maxLength"),
        (int, "minimum, maximum"),
        (Annotated[int, Ge(0)], "minimum, maximum"),
        (Annotated[tuple[bool, ...], ListAtomic()], "maxItems"),
        (Annotated[tuple[bool, ...], Len(0, 3)], "x-kubernetes-list-type"),
        (dict[str, bool], "maxProperties"),
        (Annotated[dict[str, str], Len(0, 3)], "maxLength"),
    ],
)
def test_field_without_a_bound_cannot_be_generated(annotation: Any, lacks: str) -> None:
    with pytest.raises(ValueError, match=rf"unbounded.*\.x.*\({lacks}\)"):
        _schema_of(annotation)


@pytest.mark.parametrize("annotation", [Any, bool | Annotated[int, Ge(0), Le(1)], dict[str, Any]])
def test_field_without_one_type_cannot_be_generated(annotation: Any) -> None:
    with pytest.raises(ValueError, match=r"Probe\.x"):
        _schema_of(annotation)


def test_optional_field_has_the_schema_of_its_type() -> None:
    text = Annotated[str, StringConstraints(max_length=3)]
    assert _schema_of(text | None, default=None, description="A.") == {
        "description": "A.",
        "type": "string",
        "maxLength": 3,
    }


def test_default_is_told_in_the_description() -> None:
    assert _schema_of(bool, default=False, description="A.")["description"] == "A. Default: false."


class _Part(SpecModel):
    """A part."""

    on: bool = Field(default=True, description="On.")


class _StrictPart(SpecModel):
    """A part that must be filled in."""

    on: bool = Field(description="On.")


def test_nested_object_defaults_to_an_empty_one_so_that_its_own_defaults_apply() -> None:
    assert _schema_of(_Part, default=_Part())["default"] == {}


def test_nested_object_that_must_be_filled_in_has_no_default() -> None:
    assert "default" not in _schema_of(_StrictPart, default=_StrictPart(on=True))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", [crd, reference])
def test_write_then_check_passes(module: Any, elsewhere: Path) -> None:
    assert module.main(["--write"]) == 0
    assert module.main(["--check"]) == 0


def test_check_shows_the_difference_and_what_to_run(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crd.main(["--write"])
    path = elsewhere / "crds" / "jil.io_jilnodes.yaml"
    path.write_text(path.read_text().replace("- jn\n", "- jnode\n"))
    capsys.readouterr()
    assert crd.main(["--check"]) == 1
    shown = capsys.readouterr()
    assert "-      - jnode\n+      - jn\n" in shown.out
    assert "run `python -m jil.api.crd --write`" in shown.err
    assert "jnode" in path.read_text(), "--check changes nothing"


def test_crd_that_no_model_wants_any_more_is_stale_and_removed(elsewhere: Path) -> None:
    crd.main(["--write"])
    gone = elsewhere / "crds" / "jil.io_jilghosts.yaml"
    gone.write_text("kind: Ghost\n")
    assert crd.main(["--check"]) == 1
    crd.main(["--write"])
    assert not gone.exists()


def test_reference_has_every_field_rule_and_reason() -> None:
    text = reference.render()
    for entry in DEFINITIONS:
        for path, node in walk(entry.schema()):
            shared = path.startswith("status.conditions[") or path.endswith(("[]", "[*]"))
            if path.startswith(("spec.", "status.")) and not shared:
                assert f"| `{path}` |" in text
            for rule in node.get("x-kubernetes-validations", []):
                assert rule["message"] in text
    assert all(f"| `{reason}` |" in text for reason in Reason)


def test_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="no kind 'JILNod'; there are JILNetwork"):
        definition("JILNod")


@pytest.mark.parametrize(
    ("major", "minor", "supported"), [("1", "32", False), ("1", "33", True), ("1", "36+", True), ("2", "0", True)]
)
def test_supported_versions(major: str, minor: str, supported: bool) -> None:
    assert is_supported(major, minor) is supported


def test_version_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="expected numbers"):
        is_supported("1", "unknown")
