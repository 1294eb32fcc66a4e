"""The command line: every command explains itself, and what goes wrong is told in one line with a remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import cluster, commands, paths
from testbed.errors import BedError
from testbed.nodes import resolve
from tests.unit.testbed.conftest import StandIn

_COMMANDS = (
    "doctor", "setup", "binaries", "venv", "up", "down", "images", "push", "status", "env", "kubeconfig", "controlplane",
    "logs", "audit", "stop-node", "start-node", "cut-node", "heal-node",
)  # fmt: skip
_NOBODY = 65534


def test_every_command_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        commands.main(["--help"])
    overview = capsys.readouterr().out
    for name in _COMMANDS:
        with pytest.raises(SystemExit) as ended:
            commands.main([name, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert f"testbed {name}" in text
        assert len(text.splitlines()) > 4, "a help says what the command does"
        assert f"    {name} " in overview or f"    {name}\n" in overview


@pytest.mark.parametrize(
    "name", ["kubeconfig", "env", "logs", "audit", "stop-node", "start-node", "cut-node", "heal-node"]
)
def test_what_needs_a_cluster_says_how_to_make_one(name: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = ["worker"] if name.endswith("-node") else []
    assert commands.main([name, "--cluster", "absent", *node]) == 1
    assert "there is no cluster 'absent'; `python3 -m testbed up` makes it" in capsys.readouterr().err


def test_a_node_is_known_by_its_full_or_its_last_name_and_others_are_listed(cache: Path, docker: StandIn) -> None:
    from testbed.engine import Engine

    docker("ps*) printf 'jil-control-plane\\njil-worker\\njil-worker2\\n'")
    host, ours = Engine("", private=False), cluster.Cluster("jil")
    assert resolve(host, ours, "worker2") == "jil-worker2"
    assert resolve(host, ours, "jil-control-plane") == "jil-control-plane"
    with pytest.raises(BedError, match="has no node 'worker9'; it has jil-control-plane, jil-worker, jil-worker2"):
        resolve(host, ours, "worker9")


@pytest.mark.parametrize("name", ["../jil", "Jil", "", "a" * 41, "-x"])
def test_a_name_that_would_lead_out_of_the_state_folder_names_no_cluster(name: str) -> None:
    with pytest.raises(BedError, match="cannot name a cluster"):
        cluster.Cluster(name)


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BedError, match=r"there is no kind configuration .*absent\.yaml"):
        cluster._recipe("image", tmp_path / "absent.yaml")


def test_without_an_engine_status_says_so(cache: Path, docker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    docker()
    assert commands.main(["status"]) == 0
    assert "none answers" in capsys.readouterr().out


# ---------------------------------------------------------------- as a process of its own, on a host that lacks something


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can reach, with a copy of the test bed: the checkout may be its owner's alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(paths.CHECKOUT / "testbed", folder / "testbed", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(paths.CHECKOUT / "kind-config.yaml", folder)
        yield folder


def _run(prefix: list[str], folder: Path, cache: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The interpreter below the virtual environment, which lives in the checkout.
    python = str(getattr(sys, "_base_executable", sys.executable))
    # No engine answers, also where this user has one.
    (folder / "bin").mkdir()
    (folder / "bin" / "docker").write_text("#!/bin/sh\nexit 1\n")
    (folder / "bin" / "docker").chmod(0o755)
    search = f"{folder / 'bin'}:/usr/bin:/bin"
    environment = {"PATH": search, "JIL_CACHE": cache, "HOME": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*prefix, python, "-m", "testbed", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_an_unprivileged_user_without_docker_is_told_to_start_docker_or_be_root(public_folder: Path) -> None:
    cache = public_folder / "cache"
    cache.mkdir()
    if os.geteuid() == 0:
        os.chown(cache, _NOBODY, _NOBODY)
    done = _run(_as_nobody(), public_folder, str(cache), "up")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "testbed: error: no Docker engine answers and starting a private one needs root: start Docker, or run as root"
    )


def test_a_cache_of_somebody_else_is_told_as_such(public_folder: Path) -> None:
    cache = public_folder / "cache"
    cache.mkdir(mode=0o700 if os.geteuid() == 0 else 0o500)
    done = _run(_as_nobody(), public_folder, str(cache), "status")
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert f"the cache is {cache}: run as its owner, or point JIL_CACHE to a folder of yours" in done.stderr
    assert "Traceback" not in done.stderr


def _as_nobody() -> list[str]:
    """Root lays its rights down; anybody else is unprivileged already."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--"]


def _on_a_tmpfs(size: str, before: str = "true") -> list[str]:
    """A small file system at ./disk, seen by the command alone: nothing is left of it."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = f'mkdir -p disk && mount -t tmpfs -o size={size} tmpfs disk && {before} && exec "$@"'
    return ["unshare", *user, "--mount", "sh", "-ec", script, "sh"]


def test_too_little_space_is_told_before_anything_is_built(public_folder: Path) -> None:
    done = _run(_on_a_tmpfs("1m"), public_folder, str(public_folder / "disk"), "doctor")
    assert done.returncode == 1
    assert "0.0 GiB free under" in done.stderr
    assert "make room, or point JIL_CACHE to another disk" in done.stderr


def test_a_disk_that_is_really_full_is_told_with_its_place(public_folder: Path) -> None:
    fill = "mkdir disk/locks && { cat /dev/zero > disk/filler 2>/dev/null || true; }"
    done = _run(_on_a_tmpfs("1m", fill), public_folder, str(public_folder / "disk"), "images")
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert f"make room under {public_folder / 'disk'}, or point JIL_CACHE to another disk" in done.stderr
    assert "Traceback" not in done.stderr
