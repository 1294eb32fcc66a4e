"""What the chart tells the operator about the pods of all nodes, and the classes that it installs for them."""

from __future__ import annotations

import json

import pytest

from jil.engine.settings import Settings
from jil.render.platform import PRIORITY_CLASSES, SERVICE_PRIORITY_CLASS
from tests.unit.charts.rendering import Manifest, of_kind, only, operator

MIRROR = ("--set", "nodes.mirror=mirror.local:5000/jil,nodes.imagePullSecrets[0].name=registry")


def _settings(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The operator's own reading of the environment that the chart gives it."""
    (container,) = only(manifests, "Deployment", "jil-operator")["spec"]["template"]["spec"]["containers"]
    for entry in container["env"]:
        if "value" in entry:
            monkeypatch.setenv(entry["name"], str(entry["value"]))
    return Settings()


def test_mirror_and_pull_secrets_reach_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(operator(*MIRROR), monkeypatch)
    assert settings.image_mirror == "mirror.local:5000/jil"
    assert settings.image_pull_secrets == ("registry",)


def test_without_them_images_are_pulled_as_the_release_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(operator(), monkeypatch)
    assert settings.image_mirror is None
    assert settings.image_pull_secrets == ()
    assert settings.priority_classes is True


@pytest.mark.parametrize("wrong", ["https://mirror.local", "Mirror.local", "mirror.local/", "mirror@local"])
def test_a_mirror_that_is_no_host_and_path_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="/nodes/mirror"):
        operator("--set", f"nodes.mirror={wrong}")


def test_the_chart_installs_exactly_the_classes_that_pods_are_given() -> None:
    classes = {manifest["metadata"]["name"]: manifest for manifest in of_kind(operator(), "PriorityClass")}
    assert set(classes) == {*PRIORITY_CLASSES.values(), SERVICE_PRIORITY_CLASS}
    order = sorted(classes, key=lambda name: -int(classes[name]["value"]))
    assert order == ["jil-validator", "jil-database", "jil-broker", "jil-service"]


def test_a_class_pushes_nobody_out_and_outlives_the_release() -> None:
    for manifest in of_kind(operator(), "PriorityClass"):
        assert manifest["preemptionPolicy"] == "Never", "a waiting validator must not end another node's database"
        assert "globalDefault" not in manifest, "the API server drops a false one, which shows as drift"
        assert manifest["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_classes_that_are_not_wanted_are_neither_installed_nor_set(monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = operator("--set", "nodes.priorityClasses=false")
    assert list(of_kind(manifests, "PriorityClass")) == []
    assert _settings(manifests, monkeypatch).priority_classes is False


def test_pull_secrets_are_a_json_list() -> None:
    (container,) = only(operator(*MIRROR), "Deployment", "jil-operator")["spec"]["template"]["spec"]["containers"]
    value = next(entry["value"] for entry in container["env"] if entry["name"] == "JIL_IMAGE_PULL_SECRETS")
    assert json.loads(value) == ["registry"]


LOGINS = ("--set", "registries.nodeLogins.registry=registry.local:5000,registries.nodeLogins.keySecret=issuer")


def test_node_logins_reach_the_operator_with_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = operator(*LOGINS)
    settings = _settings(manifests, monkeypatch)
    assert (settings.node_login_registry, settings.node_login_lifetime) == ("registry.local:5000", 3600)
    pod = only(manifests, "Deployment", "jil-operator")["spec"]["template"]["spec"]
    (volume,) = [v["secret"] for v in pod["volumes"] if v["name"] == "node-logins"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "node-logins"]
    assert settings.node_login_key == f"{mount['mountPath']}/{volume['items'][0]['path']}"
    assert "subPath" not in mount, "a kubelet brings no new key into a subPath"
    assert (volume["secretName"], volume["optional"], volume["defaultMode"]) == ("issuer", True, 0o440)


def test_the_right_to_update_secrets_comes_with_node_logins_and_their_guard() -> None:
    def secrets(manifests: list[Manifest]) -> list[str]:
        role = only(manifests, "ClusterRole", "jil-operator-namespace")
        (verbs,) = [rule["verbs"] for rule in role["rules"] if rule["resources"] == ["secrets"]]
        return list(verbs)

    def guards(manifests: list[Manifest]) -> set[str]:
        return {m["metadata"]["name"] for m in of_kind(manifests, "ValidatingAdmissionPolicy")}

    assert secrets(operator()) == ["get", "create"]
    assert "jil-operator-secrets" not in guards(operator())
    assert secrets(operator(*LOGINS)) == ["get", "create", "update"]
    assert "jil-operator-secrets" in guards(operator(*LOGINS))
    assert "jil-operator-secrets" not in guards(operator(*LOGINS, "--set", "guards.secrets=false"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("registries.nodeLogins.registry=r.local", "registry and keySecret"),
        ("registries.nodeLogins.keySecret=k", "registry and keySecret"),
        (
            "registries.nodeLogins.registry=r.local/path,registries.nodeLogins.keySecret=k",
            "/registries/nodeLogins/registry",
        ),
        ("registries.nodeLogins.lifetime=30", "/registries/nodeLogins/lifetime"),
        (
            "registries.nodeLogins.registry=r.local,registries.nodeLogins.keySecret=k,nodes.mirror=m.local/x",
            "mirror's host",
        ),
    ],
)
def test_node_logins_that_would_open_nothing_are_refused(values: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        operator("--set", values)
