"""What the cluster adds to every pod: a mirror for images, pull secrets, and the order in which pods are given up."""

from __future__ import annotations

import pytest

from jil.render import node
from jil.render.context import Object
from jil.render.platform import Platform
from tests.unit.render import samples

DIGEST = samples.DIGEST


def _templates(platform: Platform) -> dict[str, Object]:
    objects = node.objects(samples.zurich(platform=platform, release=samples.release("redpanda")))
    return {
        o["metadata"]["labels"]["app.kubernetes.io/name"]: o["spec"]["template"]["spec"]
        for o in objects
        if o["kind"] in ("StatefulSet", "Deployment")
    }


def _images(platform: Platform) -> set[str]:
    return {
        c["image"]
        for spec in _templates(platform).values()
        for c in [*spec.get("initContainers", []), *spec["containers"]]
    }


@pytest.mark.parametrize(
    ("reference", "mirrored"),
    [
        (f"registry.example/jil/node@{DIGEST}", f"mirror.local:5000/jil/node@{DIGEST}"),
        (f"registry.example:8443/jil/node@{DIGEST}", f"mirror.local:5000/jil/node@{DIGEST}"),
        (f"localhost/jil/node@{DIGEST}", f"mirror.local:5000/jil/node@{DIGEST}"),
        (f"redpandadata/redpanda@{DIGEST}", f"mirror.local:5000/redpandadata/redpanda@{DIGEST}"),
        (f"redis@{DIGEST}", f"mirror.local:5000/redis@{DIGEST}"),
    ],
)
def test_a_mirror_takes_the_place_of_the_registrys_host_and_path_and_digest_stay(reference: str, mirrored: str) -> None:
    assert Platform(image_mirror="mirror.local:5000").image(reference) == mirrored


def test_a_mirror_may_have_a_path_of_its_own() -> None:
    mirror = Platform(image_mirror="mirror.local/proxy/")
    assert mirror.image(f"registry.example/jil/node@{DIGEST}") == f"mirror.local/proxy/jil/node@{DIGEST}"


def test_without_a_mirror_images_are_pulled_as_the_release_names_them() -> None:
    assert all(image.startswith("registry.example/") for image in _images(Platform()))


def test_with_a_mirror_no_container_of_a_node_is_pulled_from_anywhere_else() -> None:
    images = _images(Platform(image_mirror="mirror.local:5000"))
    assert {image.partition("/")[0] for image in images} == {"mirror.local:5000"}
    assert {image.rpartition("@")[2] for image in images} == {DIGEST}


def test_pull_secrets_are_named_in_every_pod() -> None:
    for component, spec in _templates(Platform(pull_secrets=("registry", "mirror"))).items():
        assert spec["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}], component
    assert all("imagePullSecrets" not in spec for spec in _templates(Platform()).values())


def test_a_node_pulls_with_its_own_login_first_and_the_name_of_its_secret_never_changes() -> None:
    """What is renewed is the Secret's content: no template changes, so no pod moves."""
    for component, spec in _templates(Platform(pull_secrets=("mirror",), node_logins=True)).items():
        assert spec["imagePullSecrets"] == [{"name": "ch-zug-01-pull"}, {"name": "mirror"}], component


def test_the_validator_is_given_up_last_and_services_first() -> None:
    set_on = {
        component: spec["priorityClassName"] for component, spec in _templates(Platform(priority_classes=True)).items()
    }
    assert set_on == {
        "validator": "jil-validator",
        "database": "jil-database",
        "broker": "jil-broker",
        "cache": "jil-broker",
        "health": "jil-service",
        "transfers": "jil-service",
        "rates": "jil-service",
    }
    assert all("priorityClassName" not in spec for spec in _templates(Platform()).values())


def test_a_node_of_the_same_cluster_gets_the_same_platform() -> None:
    platform = Platform("mirror.local", ("registry",), priority_classes=True)
    zurich, singapore = (
        [
            {key: spec.get(key) for key in ("imagePullSecrets", "priorityClassName")}
            for o in node.objects(sample)
            if "template" in (o.get("spec") or {})
            for spec in [o["spec"]["template"]["spec"]]
        ]
        for sample in (samples.zurich(platform=platform), samples.singapore(platform=platform))
    )
    assert zurich == singapore
