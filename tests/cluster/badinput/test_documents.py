"""Malformed YAML, specs of a megabyte, names that only look right: refused with the place, and nothing of it is kept."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from testbed.apiclient import ApiError
from tests.cluster.badinput.conftest import Bad
from tests.sim.home import Home
from tests.sim.world import JIL, image, release

CORE = "/api/v1/namespaces"
NODE = """\
apiVersion: jil.io/v1alpha1
kind: JILNode
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{nodeId: {node_id}, region: ch-zug, country: CH, datacenter: zug-1}}
"""
_BROKEN = {
    "a tab": ("spec: {", "spec:\n\t{", "yaml:"),
    "an open bracket": ("spec: {", "spec: [{", "yaml:"),
    "a misspelt field": ("region:", "regoin:", 'unknown field "spec.regoin"'),
    "a wrong type": ("country: CH", "country: [CH]", "must be of type string"),
}


def _kubectl(bad: Bad, text: str, folder: Path) -> tuple[int, str]:
    file = folder / "objects.yaml"
    file.write_text(text)
    command = [str(bad.world.plane.kubectl), "--kubeconfig", str(bad.world.plane.kubeconfig), "apply", "-f", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("fault", _BROKEN)
def test_malformed_yaml_is_refused_with_its_place_and_changes_nothing(
    bad: Bad, home: Home, tmp_path: Path, fault: str
) -> None:
    good = NODE.format(name=home.name, namespace=home.namespace, node_id=home.node_id)
    old, new, told = _BROKEN[fault]
    assert old in good
    code, said = _kubectl(bad, good.replace(old, new), tmp_path)
    assert code != 0
    assert told in said, said
    assert bad.world.api.get(f"{JIL}/namespaces/{home.namespace}/jilnodes")["items"] == []


def _arguments(total: int) -> list[str]:
    """Arguments of together ``total`` bytes, each as long as the schema allows."""
    return ["x" * 512 for _ in range(total // 512)]


def _large(name: str, services: int) -> dict[str, Any]:
    """A release with 32 KiB per service: as much as the schema lets a service have."""
    return release(
        name,
        [
            {
                "name": f"s{number}",
                "image": image("node"),
                "command": _arguments(16 * 1024),
                "args": _arguments(16 * 1024),
            }
            for number in range(services)
        ],
    )


def test_a_release_of_a_megabyte_brings_up_its_node(bad: Bad, home: Home) -> None:
    body = _large("r-megabyte", 32)
    assert len(json.dumps(body)) > 1024 * 1024
    bad.world.api.create(f"{JIL}/jilreleases", body)
    path = f"{JIL}/namespaces/{home.namespace}/jiljurisdictions/main"
    bad.world.api.merge(path, {"spec": {"release": "r-megabyte"}})
    bad.world.operator()
    bad.world.node(home.namespace, home.name, home.node_id, profile="dev")
    bad.world.until_ready(home.namespace, home.name)
    deployment = f"/apis/apps/v1/namespaces/{home.namespace}/deployments/{home.name}-s31"
    container = bad.world.api.get(deployment)["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == _arguments(16 * 1024)


def test_a_release_larger_than_the_store_takes_is_refused_whole(bad: Bad) -> None:
    with pytest.raises(ApiError) as refused:
        bad.world.api.create(f"{JIL}/jilreleases", _large("r-too-large", 64))
    assert refused.value.code in (413, 422, 500), refused.value
    assert "larger than max" in str(refused.value) or "too large" in str(refused.value)
    assert not bad.world.api.exists(f"{JIL}/jilreleases/r-too-large")


def test_a_node_of_a_megabyte_is_refused_by_the_field_that_is_too_long(bad: Bad, home: Home) -> None:
    selector = {f"k{number}": "v" * 63 for number in range(14_000)}
    with pytest.raises(ApiError, match=r"spec\.placement\.nodeSelector.*at most 16"):
        bad.world.node(home.namespace, home.name, home.node_id, placement={"nodeSelector": selector})
    assert bad.world.api.get(f"{JIL}/namespaces/{home.namespace}/jilnodes")["items"] == []


#: What is meant, and what looks the same: Cyrillic, Greek, full width, a soft hyphen, another hyphen, Arabic digits.
_LOOKALIKES = {
    "nodeId": ("CH-ZUG-01", ["\u0421H-ZUG-01", "CH-\u0396UG-01", "CH\u2010ZUG\u201001", "CH-ZUG-\uff10\uff11"]),
    "region": ("ch-zug", ["\u0441h-zug", "ch\u00ad-zug", "ch-zug\u200b"]),
    "country": ("CH", ["\u0421H", "\uff23\uff28"]),
    "datacenter": ("zug-1", ["zug-\u0661", "zu\u0261-1"]),
}


@pytest.mark.parametrize("field", _LOOKALIKES)
def test_a_value_that_only_looks_right_is_refused_and_named(bad: Bad, home: Home, field: str) -> None:
    meant, lookalikes = _LOOKALIKES[field]
    for value in lookalikes:
        assert value != meant
        with pytest.raises(ApiError, match=rf"spec\.{field}") as refused:
            bad.world.node(home.namespace, home.name, **({"node_id": home.node_id} | {_python(field): value}))
        assert refused.value.code == 422
    assert bad.world.api.get(f"{JIL}/namespaces/{home.namespace}/jilnodes")["items"] == []


def _python(field: str) -> str:
    return "node_id" if field == "nodeId" else field


def test_names_of_zones_services_members_and_objects_are_plain_too(bad: Bad, home: Home) -> None:
    world = bad.world
    with pytest.raises(ApiError, match=r"spec\.zone"):
        world.jurisdiction(f"{home.namespace}-b", home.network, zone="\u0421H/FINMA")
    with pytest.raises(ApiError, match=r"spec\.services\[0\]\.name"):
        world.release("r-lookalike", [{"name": "tr\u0430nsfers", "image": image("node")}])
    member = {"nodeId": "\u0421H-ZUG-01", "zone": "CH/FINMA", "founder": True, "namespace": home.namespace}
    with pytest.raises(ApiError, match=r"spec\.members\[0\]\.nodeId"):
        world.network("lookalike", [member])
    with pytest.raises(ApiError, match=r"metadata\.name"):
        world.node(home.namespace, "\u0441h-zug-01", home.node_id)
