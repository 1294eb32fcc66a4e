"""What `make demo` signs, against a real registry with TLS and a login: the samples, jilctl as a program, no cluster."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest
import yaml

from jil.api.network import JILNetwork
from jil.api.release import JILRelease
from jil.observe.registry import RegistryClient, RegistryPush
from testbed import demo_target, quickstart, registry_access
from testbed import registry as testbed_registry
from testbed.demo_state import DemoState
from testbed.demo_trust import BUILDER, CI, Trust
from testbed.errors import BedError
from testbed.quickstart import FIRST, LABELS, OF_NODES, Target
from testbed.registry_access import RegistryAccess
from tests.cluster.cli.desk import Desk
from tests.cluster.registry import rig

NAME = "registry.example.com:5000"
"""How the images are called: nobody answers there, as nobody does on a host whose registry is for the cluster."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo-trust")


@pytest.fixture(scope="module")
def target(folder: Path, registry: rig.Registry) -> Target:
    """A target that no cluster belongs to: only its keys and its registry are looked at here."""
    (folder / "config.json").write_text(json.dumps({"auths": {NAME: {"username": rig.USER, "password": rig.PASSWORD}}}))
    here = {
        "JIL_REGISTRY_CONFIG": str(folder / "config.json"),
        "JIL_REGISTRY_CA": str(registry.ca),
        "JIL_REGISTRY_ENDPOINTS": json.dumps({NAME: registry.url}),
    }
    return Target(None, trust=Trust(folder / "trust", here))


@pytest.fixture(scope="module")
def images(folder: Path, registry: rig.Registry) -> dict[str, str]:
    """An image for each name, signed by nobody."""
    desk = Desk(folder, registry)
    return {
        name: f"{NAME}/jil/{name}@{desk.build(repository=f'{registry.host}/jil/{name}')[1].partition('@')[2]}"
        for name in LABELS
    }


@pytest.fixture(scope="module")
def signed(target: Target, images: dict[str, str]) -> Target:
    quickstart.sign(target, images)
    return target


def trust_of(target: Target) -> Trust:
    return quickstart.keys_of(target)


def test_the_keys_are_for_their_owner_alone_encrypted_and_kept(signed: Target) -> None:
    trust = trust_of(signed)
    assert stat.S_IMODE(trust.folder.stat().st_mode) == 0o700
    for key_id in (BUILDER, CI):
        assert stat.S_IMODE(trust.key(key_id).stat().st_mode) == 0o600
        assert "ENCRYPTED PRIVATE KEY" in trust.key(key_id).read_text()
    assert stat.S_IMODE((trust.folder / "password").stat().st_mode) == 0o600
    before = trust.public_keys()
    assert trust.make_keys() is False
    assert trust.public_keys() == before


def test_the_sample_of_the_network_is_one_with_the_keys_made_on_the_spot(
    signed: Target, images: dict[str, str]
) -> None:
    documents = [d for d in yaml.safe_load_all(quickstart.manifests(signed, FIRST, images)) if d]
    network = JILNetwork.parse({**documents[0], "metadata": {**documents[0]["metadata"], "uid": "1"}})
    assert network.spec.trust is not None
    assert {key.id: key.public_key for key in network.spec.trust.keys} == trust_of(signed).public_keys()
    assert network.spec.trust.repositories == (f"{NAME}/jil/",)


def test_every_image_of_the_release_and_the_release_itself_are_verified(
    signed: Target, images: dict[str, str], folder: Path
) -> None:
    release = _release(signed, images)
    file = folder / "release.yaml"
    file.write_text(yaml.safe_dump(release))
    policy = ("--policy", str(trust_of(signed).folder / "network.yaml"))
    found = json.loads(trust_of(signed).jilctl("release", "verify", "-f", str(file), *policy, "-o", "json"))
    assert found["good"] is True
    assert found["track"] == "devnet"
    assert set(JILRelease.parse(release).spec.all_images.values()) == {images[name] for name in OF_NODES}
    shown = trust_of(signed).inspect(images["node"])
    assert f"provenance by {BUILDER}" in shown
    assert f"signature by {CI}" in shown


def test_a_second_run_signs_nothing_and_says_the_same(
    signed: Target, images: dict[str, str], registry: rig.Registry
) -> None:
    before = _release(signed, images)
    asked = len(registry.requests())
    quickstart.sign(signed, images)
    assert _release(signed, images) == before
    written = [line for line in registry.requests()[asked:] if not line.startswith(("GET", "HEAD"))]
    assert written == []


def test_an_image_that_is_new_is_signed_beside_those_that_are(
    signed: Target, images: dict[str, str], folder: Path, registry: rig.Registry
) -> None:
    _, pinned = Desk(folder, registry).build(repository=f"{registry.host}/jil/cache")
    changed = {**images, "cache": f"{NAME}/jil/cache@{pinned.partition('@')[2]}"}
    with pytest.raises(BedError, match="no signature is attached"):
        _release(signed, changed)
    quickstart.sign(signed, changed)
    assert _release(signed, changed)["spec"]["envelopes"]


def test_a_copy_with_one_label_more_is_another_image_which_nobody_signed(
    signed: Target, images: dict[str, str]
) -> None:
    copy = trust_of(signed).altered(images["cache"])
    assert copy.partition("@")[0] == images["cache"].partition("@")[0]
    assert copy != images["cache"]
    assert "no signature" in trust_of(signed).inspect(copy)
    with pytest.raises(BedError, match="no signature is attached"):
        _release(signed, {**images, "cache": copy})


def test_a_release_is_sealed_whatever_its_images_are(signed: Target, images: dict[str, str], folder: Path) -> None:
    """The demo's second node is refused for the image alone: the release that names it is signed in order."""
    values = {**quickstart.marks(signed, images), "cache": trust_of(signed).altered(images["cache"])}
    draft = quickstart.rendered(quickstart.MANIFESTS / "quickstart" / "20-release.yaml.in", values)
    file = folder / "sealed.yaml"
    file.write_text(trust_of(signed).sealed_release(draft))
    policy = ("--policy", str(trust_of(signed).folder / "network.yaml"))
    code, said = trust_of(signed)._ended("release", "verify", "-f", str(file), *policy, "-o", "json")
    found = json.loads(said)
    assert code == 1
    assert found["envelopes"]["verdict"] == "Verified"
    refused = {name: one["reason"] for name, one in found["images"].items() if one["verdict"] == "Refused"}
    assert refused == {"cache": "Unsigned"}


@pytest.mark.usefixtures("signed")
def test_what_was_attached_by_keys_that_are_gone_is_taken_away(
    images: dict[str, str], folder: Path, registry: rig.Registry, monkeypatch: pytest.MonkeyPatch, target: Target
) -> None:
    """A registry outlives the demo and its keys: what they signed would be in the way of those who read it."""
    entry = folder / "entry"
    entry.mkdir()
    (entry / "ca.crt").write_text(str(registry.ca and registry.ca.read_text()))
    (entry / "password").write_text(rig.PASSWORD)
    monkeypatch.setattr(registry_access, "USER", rig.USER)
    monkeypatch.setattr(testbed_registry, "access", lambda: RegistryAccess(entry))

    def forget(image: str) -> None:
        repository, _, digest = image.removeprefix(f"{NAME}/").partition("@")
        for _ in range(2):  # the second time nothing is there any more
            testbed_registry.untag(registry.host, repository, digest.replace(":", "-"))

    later = Target(None, trust=Trust(folder / "later", trust_of(target).registry, forget))
    quickstart.sign(later, images)
    policy = ("--policy", str(trust_of(later).folder / "network.yaml"))
    found = json.loads(trust_of(later).jilctl("image", "inspect", images["node"], *policy, "-o", "json"))
    assert [one["kind"] for one in found["statements"]] == ["provenance", "signature"]
    assert not found.get("ignored")
    assert [one["verdict"] for one in found["verdicts"]] == ["Verified"]


def test_on_a_cluster_of_yours_a_registry_on_loopback_may_be_without_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docker takes it: nobody has to say so. Credentials of a shell with `make env` are of another registry."""
    monkeypatch.setenv("JIL_CACHE", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("JIL_REGISTRY_CONFIG", "/of/another/registry.json")
    monkeypatch.setenv("JIL_REGISTRY_ENDPOINTS", '{"127.0.0.1:1": "https://127.0.0.1:1"}')
    with rig.with_referrers(tmp_path) as theirs:

        async def push() -> str:
            async with RegistryClient(theirs.access) as client:
                return await rig.push_image(RegistryPush(client), f"{theirs.host}/theirs/jil/all")

        image = f"{theirs.host}/theirs/jil/all@{asyncio.run(push())}"
        target = demo_target.on_a_cluster_of_yours("theirs", f"{theirs.host}/theirs", "http://registry:5000", None)
        assert target.endpoints == {theirs.host: "http://registry:5000"}
        quickstart.sign(target, dict.fromkeys(LABELS, image))
        assert "→ Verified" in trust_of(target).inspect(image)
        assert trust_of(target).folder == DemoState("theirs", None).trust


def _release(target: Target, images: dict[str, str]) -> dict[str, object]:
    documents = yaml.safe_load_all(quickstart.manifests(target, FIRST, images))
    return next(d for d in documents if d and d["kind"] == "JILRelease")  # type: ignore[no-any-return]
