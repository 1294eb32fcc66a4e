"""Wrong values are refused before anything is installed, and the message says which one and what to do."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

import jil
from jil.api.versions import SUPPORTED_MINORS
from tests.unit.charts.rendering import CHARTS, IMAGE, operator, template

DIGEST = IMAGE.partition("@")[2]
JURISDICTION = ("--set", "namespace.name=jil-ch-finma,network=jil-devnet,jurisdiction.name=ch-finma")


@pytest.mark.parametrize(
    ("values", "where", "what"),
    [
        ("image.ref=registry.example/jil/operator:1.0", "/image/ref", "@sha256:"),
        ("image.ref=registry.example/jil/operator", "/image/ref", "@sha256:"),
        ("image.ref=registry.example/jil/operator@sha256:abc", "/image/ref", "[0-9a-f]{64}"),
        ("image.digest=latest", "/image/digest", "sha256:"),
        ("image.repository=registry.example/jil/operator:1.0", "/image/repository", "pattern"),
        ("image.tag=1.0", "/image", "'tag' not allowed"),
        ("replicas=two", "/replicas", "want integer"),
        ("replicas=-1", "/replicas", "minimum"),
        ("guard.deletion=false", "''", "'guard' not allowed"),
        ("guards.deletions=false", "/guards", "'deletions' not allowed"),
        ("guards.deletion=no-thanks", "/guards/deletion", "want boolean"),
        ("settings.workers=0", "/settings/workers", "minimum"),
        ("settings.lease.duraton=20", "/settings/lease", "'duraton' not allowed"),
        ("settings.logLevel=loud", "/settings/logLevel", "'debug', 'info', 'warning', 'error'"),
        ("proxy.https=proxy.example", "/proxy/https", "^https?://"),
        ("resources.requests.memory=lots", "/resources/requests/memory", "pattern"),
        ("extraEnv[0].value=x", "/extraEnv/0", "missing property 'name'"),
        ("imagePullSecrets[0]=registry", "/imagePullSecrets/0", "want object"),
        ("terminationGracePeriodSeconds=0", "/terminationGracePeriodSeconds", "minimum"),
        ("serviceMonitor.interval=often", "/serviceMonitor/interval", "pattern"),
    ],
)
def test_a_wrong_value_of_the_operator_is_named_with_what_it_should_be(values: str, where: str, what: str) -> None:
    with pytest.raises(ValueError, match="values don't meet the specifications") as refusal:
        template("jil-operator", "--set", values)
    assert where in str(refusal.value)
    assert what in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ("", "--set image.ref=<registry>/<repository>@sha256:<64 hex digits>"),
        ("image.repository=registry.example/jil/operator", "--set image.ref="),
        (f"image.ref={IMAGE},image.digest={DIGEST}", "give image.ref or image.repository with image.digest, not both"),
        (
            f"image.ref={IMAGE},privateCA.configMap=a,privateCA.secret=b",
            "privateCA.configMap or privateCA.secret, not both",
        ),
        (
            f"image.ref={IMAGE},registries.ca.configMap=a,registries.ca.secret=b",
            "registries.ca.configMap or registries.ca.secret, not both",
        ),
    ],
)
def test_a_missing_or_double_value_of_the_operator_is_refused_with_the_remedy(values: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=re.escape(remedy)):
        template("jil-operator", "--set", values)


def test_the_image_may_be_given_as_repository_and_digest() -> None:
    repository, digest = IMAGE.split("@")
    values = f"image.repository={repository},image.digest={digest}"
    (deployment,) = [m for m in template("jil-operator", "--set", values) if m["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE


@pytest.mark.parametrize(
    ("values", "where", "what"),
    [
        ("jurisdiction.zone=Switzerland", "/jurisdiction/zone", "[A-Z]{2}/"),
        ("jurisdiction.compliance.limit=5", "/jurisdiction/compliance/limit", "want string"),
        ("namespace.name=JIL", "/namespace/name", "pattern"),
        ("jurisdiction.zones=CH/FINMA", "/jurisdiction", "'zones' not allowed"),
        ("operator.namespace=", "/operator/namespace", "minLength"),
    ],
)
def test_a_wrong_value_of_the_jurisdiction_is_named_with_what_it_should_be(values: str, where: str, what: str) -> None:
    with pytest.raises(ValueError, match="values don't meet the specifications") as refusal:
        template("jil-jurisdiction", *JURISDICTION, "--set", values)
    assert where in str(refusal.value)
    assert what in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ("network=n,jurisdiction.name=j", "--set namespace.name=jil-ch-finma"),
        ("namespace.name=a,jurisdiction.name=j", "--set network=jil-devnet"),
        ("namespace.name=a,network=n", "--set jurisdiction.name=ch-finma"),
        ("namespace.name=a,network=n,jurisdiction.name=j,jurisdiction.create=true", "--set jurisdiction.zone=CH/FINMA"),
        ("namespace.name=jil-system,network=n,jurisdiction.name=j", "set namespace.create=false"),
    ],
)
def test_a_missing_value_of_the_jurisdiction_is_refused_with_the_remedy(values: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=re.escape(remedy)):
        template("jil-jurisdiction", "--set", values)


def _objects(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)] if "properties" in schema else []
    for name, child in schema.get("properties", {}).items():
        found += _objects(child, f"{path}/{name}")
    return found + (_objects(schema["items"], f"{path}[]") if "items" in schema else [])


@pytest.mark.parametrize("chart", ["jil-operator", "jil-jurisdiction"])
def test_the_schema_is_strict_and_knows_exactly_the_values_that_exist(chart: str) -> None:
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    values = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    assert [path for path, part in _objects(schema) if part.get("additionalProperties") is not False] == []
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, part in schema["properties"].items():
        if "properties" in part and name not in {"global", "resources"}:
            assert set(part["properties"]) == set(values[name]), f"schema and values.yaml differ in {name}"


@pytest.mark.parametrize("chart", ["jil-operator", "jil-jurisdiction"])
def test_every_value_stands_in_the_readme_with_its_default(chart: str) -> None:
    values = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    readme = (CHARTS / chart / "README.md").read_text()
    rows = dict(re.findall(r"^\| `([^`]+)` \| `([^`]*)` \|", readme, flags=re.MULTILINE))
    assert rows == {path: json.dumps(value) for path, value in _leaves(values)}


def _leaves(values: dict[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        # resources is one value for its reader; an empty map is a leaf.
        found += _leaves(value, here) if isinstance(value, dict) and value and here != "resources" else [(here, value)]
    return found


def test_a_chart_used_as_a_subchart_accepts_helms_global_values() -> None:
    assert operator("--set", "global.anything=1")


@pytest.mark.parametrize("chart", ["jil-operator", "jil-jurisdiction"])
def test_the_chart_accepts_the_oldest_supported_kubernetes_and_no_older(chart: str) -> None:
    major, minor = SUPPORTED_MINORS[0]
    declared = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())["kubeVersion"]
    assert declared == f">={major}.{minor}.0-0"


@pytest.mark.parametrize("chart", ["jil-operator", "jil-jurisdiction"])
def test_the_chart_has_the_version_of_the_operator(chart: str) -> None:
    declared = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    assert (declared["version"], declared["appVersion"]) == (jil.__version__, jil.__version__)
