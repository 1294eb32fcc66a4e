"""Which Docker engine is used, and which images are pulled, loaded or built. The docker program is a stand-in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from testbed import cluster, daemons, engine, images, nodeimage, provision, registry
from testbed.binaries import KUBERNETES
from testbed.engine import Engine
from testbed.errors import BedError
from testbed.processes import wait_until
from tests.unit.testbed.conftest import StandIn

pytestmark = pytest.mark.usefixtures("cache")

_OFFICIAL = f"kindest/node:{KUBERNETES}"
_OURS = f"kindest/node:{KUBERNETES}-jil-test"
_USERS = Engine("", private=False)


@pytest.fixture
def no_private_engine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The private engine is not to be started here; what would have been done to it."""
    done: list[str] = []
    monkeypatch.setattr(engine._Private, "up", lambda _: done.append("up"))
    monkeypatch.setattr(engine._Private, "down", lambda _: done.append("down"))
    return done


@pytest.fixture
def node_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The node image that is built here, made cheap; says how often it was asked for."""
    asked: list[str] = []

    def tar() -> Path:
        asked.append("tar")
        return tmp_path / "image.tar"

    monkeypatch.setattr(nodeimage, "reference", lambda: _OURS)
    monkeypatch.setattr(nodeimage, "tar", tar)
    return asked


def test_the_engine_at_dockers_default_socket_is_used_as_it_is(docker: StandIn, no_private_engine: list[str]) -> None:
    docker("version*) exit 0")
    assert engine.find() == _USERS
    assert engine.up() == _USERS
    assert _USERS.environment == {}
    assert no_private_engine == []


def test_the_engine_that_docker_host_names_is_asked_and_used(
    docker: StandIn, no_private_engine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = docker("version*) exit 0")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1000/docker.sock")
    found = engine.up()
    assert found == Engine("unix:///run/user/1000/docker.sock", private=False)
    assert found.environment == {"DOCKER_HOST": "unix:///run/user/1000/docker.sock"}
    assert calls.read_text().startswith("unix:///run/user/1000/docker.sock|version")
    assert no_private_engine == []


def test_a_named_engine_that_does_not_answer_is_an_error_and_not_replaced_by_another(
    docker: StandIn, no_private_engine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    docker()
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.7:2376")
    with pytest.raises(BedError, match=r"DOCKER_HOST=tcp://192\.0\.2\.7:2376 names does not answer; start it or unset"):
        engine.up()
    assert no_private_engine == []


def test_without_an_engine_root_gets_a_private_one_after_the_traces_of_an_earlier_one_are_gone(
    docker: StandIn, no_private_engine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    docker()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = engine.up()
    assert found.private
    assert found.host.startswith("unix:///run/jil-testbed-")
    assert no_private_engine == ["down", "up"]


def test_a_private_engine_that_fails_to_start_is_taken_down_again(
    docker: StandIn, no_private_engine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise BedError("dockerd did not start")

    docker()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine._Private, "up", fail)
    with pytest.raises(BedError, match="did not start"):
        engine.up()
    assert no_private_engine == ["down", "down"]


def test_without_an_engine_and_without_root_the_error_names_both_ways_out(
    docker: StandIn, no_private_engine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    docker()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BedError, match="start Docker, or run as root"):
        engine.up()
    assert no_private_engine == []


def test_a_missing_package_of_the_private_engine_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = provision.find
    monkeypatch.setattr(provision, "find", lambda program: None if program == "mmdebstrap" else there(program) or "x")
    with pytest.raises(BedError, match=r"'mmdebstrap' is missing; .*testbed setup.* \(package mmdebstrap\)"):
        engine._Private().up()


def test_a_users_engine_pulls_kinds_node_image(docker: StandIn, node_image: list[str]) -> None:
    calls = docker(f"'pull --quiet {_OFFICIAL}') exit 0")
    assert cluster._node_image(_USERS) == _OFFICIAL
    assert "|pull" in calls.read_text()
    assert node_image == []


def test_a_node_image_that_a_users_engine_has_is_not_pulled_again(docker: StandIn, node_image: list[str]) -> None:
    calls = docker(f"'image inspect {_OFFICIAL}') exit 0")
    assert cluster._node_image(_USERS) == _OFFICIAL
    assert "pull" not in calls.read_text()
    assert node_image == []


def test_where_the_node_image_cannot_be_pulled_it_is_built_and_loaded(docker: StandIn, node_image: list[str]) -> None:
    calls = docker("load*) exit 0", "images*) exit 0")
    assert cluster._node_image(_USERS) == _OURS
    assert "|pull" in calls.read_text()
    assert "|load --quiet --input" in calls.read_text()
    assert node_image == ["tar"]


def test_a_private_engine_does_not_try_to_pull_the_node_image(docker: StandIn, node_image: list[str]) -> None:
    calls = docker("load*) exit 0", f"images*) echo {_OURS}; echo kindest/node:v1-jil-old", "'image rm'*) exit 0")
    assert cluster._node_image(Engine("unix:///x", private=True)) == _OURS
    text = calls.read_text()
    assert "pull" not in text
    assert "image rm kindest/node:v1-jil-old" in text
    assert f"image rm {_OURS}" not in text


def test_the_public_base_image_is_preferred_and_its_id_decides_what_is_built_again(docker: StandIn) -> None:
    docker(
        f"'image inspect {images.PUBLIC_BASE}') exit 0",
        "'image inspect --format'*) echo sha256:0123",
    )
    assert images._base(_USERS) == images.Base(images.PUBLIC_BASE, "sha256:0123")


def test_an_image_in_a_users_engine_is_pushed_by_its_digest(docker: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = docker(
        "version*) exit 0",
        "port*) echo 127.0.0.1:5011",
        "'image inspect --format'*) echo sha256:00112233445566778899",
        "'image inspect'*) exit 0",
        "tag*|push*) exit 0",
    )
    monkeypatch.setattr(registry, "running", lambda _: True)
    monkeypatch.setattr(images.Destination, "digest", lambda *_: "sha256:abc")
    assert images.push("ghcr.io/team/app:1.2") == f"{registry.NAME}/team/app@sha256:abc"
    assert "tag ghcr.io/team/app:1.2 127.0.0.1:5011/team/app:0011223344556677" in calls.read_text()


def test_pushing_what_is_not_there_is_an_error_that_says_where_to_look(
    docker: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker("version*) exit 0", "port*) echo 127.0.0.1:5011")
    monkeypatch.setattr(registry, "running", lambda _: True)
    with pytest.raises(BedError, match=r"has no image 'nothing:1'; `docker images`"):
        images.push("nothing:1")
    with pytest.raises(BedError, match=r"there is no file .*absent\.tar; `docker save"):
        images.push(str(tmp_path / "absent.tar"))


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("app", "app"),
        ("app:1", "app"),
        ("team/app:1", "team/app"),
        ("registry.example:5000/team/app:1", "team/app"),
        ("localhost/app", "app"),
        ("ghcr.io/a/b@sha256:" + "0" * 64, "a/b"),
    ],
)
def test_an_image_keeps_its_repositorys_name_in_the_local_registry(image: str, repository: str) -> None:
    assert images._repository_of(image) == repository


@pytest.mark.parametrize("image", ["sha256:" + "0" * 64, "0123456789ab"])
def test_an_id_does_not_name_a_repository(image: str) -> None:
    with pytest.raises(BedError, match="--as NAME"):
        images._repository_of(image)


def test_what_only_mentions_a_crashed_engine_is_not_taken_for_a_part_of_it(tmp_path: Path) -> None:
    private = engine._Private()
    client = f'exec -a "docker -H unix://{private.socket} logs" sleep 60'
    person = daemons.start(["bash", "-c", client], tmp_path / "log", tmp_path / "record")
    # A program of an engine by its name, as far as the kernel knows it.
    shutil.copy("/bin/sleep", tmp_path / "containerd")
    other = daemons.start([tmp_path / "containerd", "60"], tmp_path / "log", tmp_path / "other")
    script = f'exec -a "containerd --root {private.run}" {tmp_path / "containerd"} 60'
    part = daemons.start(["bash", "-c", script], tmp_path / "log", tmp_path / "part")
    try:
        wait_until(lambda: daemons.name_of(part.pid) == "containerd", "the stand-in to run", 10)
        assert {part.pid, person.pid} <= set(daemons.mentioning(str(private.run)))
        private._end_leftovers()
        assert not part.running()
        assert person.running()
        assert other.running()
    finally:
        for daemon in (person, other, part):
            daemon.end(5)
