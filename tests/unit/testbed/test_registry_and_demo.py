"""How the local registry is entered, and what the demo remembers of the clusters that it was put on."""

from __future__ import annotations

import json
import os
import ssl
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from jil.cluster.login_key import base64url, key_id
from testbed import binaries, cluster, demo, demo_down, demo_state, quickstart, registry, registry_access
from testbed.demo_state import DemoState
from testbed.errors import BedError
from testbed.quickstart import Target
from testbed.registry_access import NodeLogins
from tests.unit.testbed.conftest import StandIn


@pytest.fixture
def cheap_htpasswd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bcrypt is Go's business; here any line does."""
    program = tmp_path / "htpasswd"
    program.write_text('#!/bin/sh\necho "$1:$(cat | tr a-z b-za)"\n')
    program.chmod(0o755)
    monkeypatch.setattr(binaries, "htpasswd", lambda: program)


@pytest.mark.usefixtures("cache", "cheap_htpasswd")
def test_the_registrys_password_is_made_by_chance_kept_and_for_its_owner_alone() -> None:
    first = registry_access.current("registry.example")
    password = first.password
    assert len(password) >= 32
    assert registry_access.current("registry.example").password == password
    for name in ("password", "htpasswd", "tls.key"):
        assert stat.S_IMODE((first.folder / name).stat().st_mode) == 0o600, name
    assert not (first.folder / "pki").exists(), "the CA's key is thrown away: nobody gets a second certificate"
    assert isinstance(first.trust(), ssl.SSLContext)


@pytest.mark.usefixtures("cache", "cheap_htpasswd")
def test_the_key_for_nodes_logins_is_known_to_the_registry_by_its_public_half_only() -> None:
    access = registry_access.current("registry.example")
    key = load_pem_private_key(access.issuer_key.encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    (public,) = json.loads((access.folder / "issuers.json").read_text())["keys"]
    assert public["kid"] == key_id(key), "the registry finds the key by the name that the operator gives it"
    assert public["x"] == base64url(key.public_key().public_bytes_raw())
    assert "d" not in public
    assert stat.S_IMODE((access.issuer / "issuer.pem").stat().st_mode) == 0o600
    assert not [
        f
        for f in access.folder.rglob("*")
        if f.is_file() and b"BEGIN PRIVATE" in f.read_bytes() and f.name != "tls.key"
    ]


@pytest.mark.usefixtures("cache", "cheap_htpasswd")
def test_denied_nodes_are_a_list_that_is_written_as_a_whole() -> None:
    access = registry_access.current("registry.example")
    assert (access.folder / "denied").read_text() == ""
    access.deny("CH-ZUG-01", "SG-MAS-01")
    assert (access.folder / "denied").read_text() == "CH-ZUG-01\nSG-MAS-01\n"
    access.deny()
    assert (access.folder / "denied").read_text() == ""
    assert not list(access.folder.glob("denied.*"))


@pytest.mark.usefixtures("cache", "cheap_htpasswd")
def test_certificates_near_their_end_are_made_anew_with_another_password() -> None:
    first = registry_access.current("registry.example")
    password, old = first.password, time.time() - 21 * 86400
    os.utime(first.ca, (old, old))
    assert registry_access.current("registry.example").password != password


@pytest.mark.usefixtures("cache", "cheap_htpasswd")
def test_a_docker_client_is_logged_in_beside_the_users_own_configuration() -> None:
    access = registry_access.current("registry.example")
    folder = access.client_folder("127.0.0.1:5001")
    assert json.loads((folder / "config.json").read_text()) == {"auths": {"127.0.0.1:5001": {"auth": access.basic}}}
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600
    assert json.loads(registry.pull_secret())["auths"].keys() == {registry.NAME}


@pytest.mark.usefixtures("cache")
def test_a_users_engine_keeps_a_registry_that_somebody_else_made(docker: StandIn) -> None:
    from testbed.engine import Engine

    calls = docker("*label=*) exit 0", "ps*) echo 0123456789ab")
    with pytest.raises(BedError, match="that this test bed did not make; remove it"):
        registry._remove_old(Engine("", private=False))
    assert "|rm" not in calls.read_text()


@pytest.mark.usefixtures("cache")
def test_an_exported_kubeconfig_is_no_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CONTEXT the demo names its own kubeconfig in every call, whatever the environment says."""
    used: list[Target] = []
    monkeypatch.setenv("KUBECONFIG", "/somebodys/production")
    monkeypatch.setattr(cluster, "up", lambda _: None)
    monkeypatch.setattr(demo.images, "build_and_push", dict)
    monkeypatch.setattr(demo.demo_target, "on_kind", lambda ours: Target(ours.kubeconfig))
    monkeypatch.setattr(demo, "_unchanged", lambda target, *_: used.append(target) or True)
    monkeypatch.setattr(demo, "_farewell", lambda *_: None)
    assert demo.main([]) == 0
    assert used[0]._where() == ["--kubeconfig", str(cluster.Cluster().kubeconfig)]


def test_a_registry_without_a_cluster_of_yours_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--registry", "registry.example"]) == 1
    assert "give CONTEXT" in capsys.readouterr().err


def test_a_cluster_of_yours_needs_a_registry(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--context", "production"]) == 1
    assert "needs REGISTRY=" in capsys.readouterr().err


@pytest.mark.usefixtures("cache")
def test_demos_on_several_clusters_are_remembered_apart() -> None:
    kind, theirs = DemoState(None, "/state/jil"), DemoState("gke_a/b:c", "/home/me", "https://192.0.2.1", "f")
    kind.save()
    theirs.save()
    assert demo_state.load(None) == kind
    assert demo_state.load("gke_a/b:c") == theirs
    assert demo_state.load("another") is None
    assert demo_state.on_clusters_of_others() == [theirs]
    theirs.forget()
    assert demo_state.on_clusters_of_others() == []


@pytest.mark.usefixtures("cache")
def test_down_touches_nothing_where_a_context_means_another_cluster_now(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    DemoState("mine", None, "https://192.0.2.1").save()
    monkeypatch.setattr(quickstart, "server_of", lambda _: "https://192.0.2.99")
    assert demo_down.main(["--context", "mine"]) == 1
    said = capsys.readouterr().err
    assert "means https://192.0.2.99 now, and the demo was made on https://192.0.2.1: nothing was done" in said
    assert demo_state.load("mine") is not None


@pytest.mark.usefixtures("cache")
def test_down_leaves_an_operator_that_others_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    DemoState("mine", None, "https://192.0.2.1").save()
    monkeypatch.setattr(quickstart, "server_of", lambda _: "https://192.0.2.1")
    monkeypatch.setattr(quickstart, "kinds", lambda _: ["jilnodes.jil.io"])
    monkeypatch.setattr(demo_down.demo_refusal, "clear", lambda _: None)
    nodes = f"{quickstart.FIRST.namespace}/{quickstart.FIRST.name}\njil-de-bafin/de-fra-01\n"
    monkeypatch.setattr(Target, "kubectl", lambda *_, **__: nodes)
    assert demo_down.main(["--context", "mine"]) == 1
    assert "JIL nodes that the demo did not make: jil-de-bafin/de-fra-01. Nothing was done" in capsys.readouterr().err


def test_the_login_is_given_to_pods_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(Target, "kubectl", lambda *_, stdin="", **__: sent.append(stdin) or "")
    quickstart.give_login(Target(None), "jil-system")
    assert sent == []
    quickstart.give_login(Target(None, login='{"auths": {}}'), "jil-system")
    secret = json.loads(sent[0])
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert secret["metadata"] == {"name": quickstart.LOGIN, "namespace": "jil-system"}


def test_where_nodes_have_logins_of_their_own_the_shared_one_is_the_operators_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    applied: list[dict[str, Any]] = []
    helm: list[str] = []

    def kubectl(*_: object, stdin: str = "", **__: object) -> str:
        applied.append(json.loads(stdin))
        return ""

    monkeypatch.setattr(Target, "kubectl", kubectl)
    monkeypatch.setattr(Target, "helm", lambda _, *words, **__: helm.extend(map(str, words)) or "")
    target = Target(None, login="{}", node_logins=NodeLogins("registry.example:5000", "PEM"))
    quickstart.install_operator(target, {"operator": "x"})
    quickstart.install_jurisdiction(target, quickstart.FIRST)
    secrets = {(o["metadata"]["namespace"], o["metadata"]["name"]): o for o in applied if o["kind"] == "Secret"}
    assert secrets.keys() == {(quickstart.SYSTEM, quickstart.LOGIN), (quickstart.SYSTEM, quickstart.ISSUER)}
    assert secrets[quickstart.SYSTEM, quickstart.ISSUER]["stringData"] == {"issuer.pem": "PEM"}
    assert f"imagePullSecrets[0].name={quickstart.LOGIN}" in helm
    assert not [word for word in helm if word.startswith("nodes.imagePullSecrets")]
    value = "registries.nodeLogins"
    assert f"{value}.registry=registry.example:5000,{value}.keySecret={quickstart.ISSUER}" in helm
    assert "PEM" not in " ".join(helm), "keys are not for command lines"
    assert quickstart.login_of(target, quickstart.FIRST) == "ch-zug-01-pull"
    assert quickstart.login_of(Target(None, login="{}"), quickstart.FIRST) == quickstart.LOGIN
