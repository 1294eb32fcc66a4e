"""A cache of the test's own, and a stand-in for the docker program: the decisions are real, the engine is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

StandIn = Callable[..., Path]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that no engine and no cluster belongs to."""
    monkeypatch.setenv("JIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """``docker(*cases)`` puts a program ``docker`` first on PATH and returns the file with the calls it got.

    A case is the shell's: ``"version*) exit 0"`` answers every command that begins so; anything else fails.
    """

    def make(*cases: str) -> Path:
        folder, calls = tmp_path / "bin", tmp_path / "calls"
        folder.mkdir(exist_ok=True)
        calls.touch()
        body = "\n".join(f"  {case} ;;" for case in cases)
        program = folder / "docker"
        program.write_text(
            f'#!/bin/sh\necho "$DOCKER_HOST|$*" >> {calls}\ncase "$*" in\n{body}\n'
            '  *) echo "cannot connect to the engine" >&2; exit 1 ;;\nesac\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return calls

    return make
