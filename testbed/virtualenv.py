"""Python environments: the project's .venv from its lock, and a Python that has pip."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from testbed import fingerprint, paths, provision
from testbed.errors import BedError
from testbed.locking import exclusive
from testbed.processes import run, succeeds
from testbed.progress import stage

LOCK = paths.CHECKOUT / "requirements" / "dev.txt"
FOLDER = paths.CHECKOUT / ".venv"


def project() -> Path:
    """The checkout's .venv with exactly what requirements/dev.txt locks; made or brought up to date when needed.

    Raises BedError when Python cannot make virtual environments and python3-venv cannot be installed.
    """
    stamp = FOLDER / ".jil-lock"
    wanted = fingerprint.of_text(LOCK.read_text(), sys.version)
    if stamp.exists() and stamp.read_text() == wanted:
        return FOLDER
    with exclusive(f"venv-{fingerprint.of_text(str(FOLDER))}"):
        if stamp.exists() and stamp.read_text() == wanted:
            return FOLDER
        _need_venv()
        python = FOLDER / "bin" / "python"
        with stage("making .venv from requirements/dev.txt"):
            if not succeeds([python, "-c", f"import sys; sys.exit(sys.version != {sys.version!r})"]):
                run([sys.executable, "-m", "venv", "--clear", FOLDER], timeout_s=120)
            pip: list[str | Path] = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
            run([*pip, "install", "--require-hashes", "--no-deps", "--requirement", LOCK], timeout_s=1200)
        stamp.write_text(wanted)
    return FOLDER


def python_with_pip() -> Path:
    """A Python with pip: this one, else one in a virtual environment of the cache."""
    if succeeds([sys.executable, "-m", "pip", "--version"]):
        return Path(sys.executable)
    folder = paths.built() / f"pip-{fingerprint.of_text(sys.executable, sys.version)}"
    python = folder / "bin" / "python"
    with exclusive("pip-environment"):
        if not succeeds([python, "-m", "pip", "--version"]):
            _need_venv()
            shutil.rmtree(folder, ignore_errors=True)
            run([sys.executable, "-m", "venv", folder], timeout_s=120)
    return python


def _need_venv() -> None:
    if not provision.has_venv():
        provision.setup_venv()
    if not provision.has_venv():
        raise BedError(f"{sys.executable} cannot make virtual environments: install its venv module (python3-venv)")
