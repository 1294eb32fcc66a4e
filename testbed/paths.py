"""Where the test bed keeps things. Nothing outside these folders is written, except by ``setup`` (Debian packages)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
"""Root of the checkout this package was started from."""


def cache_root() -> Path:
    """``$JIL_CACHE``, else ``$XDG_CACHE_HOME/jil-testbed``, else ``~/.cache/jil-testbed``; absolute."""
    explicit = os.environ.get("JIL_CACHE")
    if explicit:
        return Path(explicit).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "jil-testbed"


def built() -> Path:
    """Results of builds, one folder per content hash; safe to delete, costs minutes to make again."""
    return _folder(cache_root() / "built")


def state() -> Path:
    """What is running now and what was resolved last (kubeconfig, pids, images.json)."""
    return _folder(cache_root() / "state")


def runs() -> Path:
    """Data of control planes that live inside one process; swept when that process is gone."""
    return _folder(cache_root() / "runs")


def locks() -> Path:
    """Lock files: one cache may serve several checkouts at the same time."""
    return _folder(cache_root() / "locks")


def forget_older(folder: Path, keep: int) -> None:
    """Delete older results of the same kind (`name-<hash>`), but for ``folder`` and the ``keep`` youngest others."""
    prefix = folder.name.rpartition("-")[0]
    others = [path for path in folder.parent.glob(f"{prefix}-*") if path != folder and not path.name.endswith(".part")]
    for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


class FreshFolder:
    """A folder that takes its final name only when everything in it is complete."""

    def __init__(self, final: Path) -> None:
        self.final = final
        self.part = final.with_name(f"{final.name}.part")

    def __enter__(self) -> Path:
        shutil.rmtree(self.part, ignore_errors=True)
        self.part.mkdir(parents=True)
        return self.part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.part.rename(self.final)
        else:
            shutil.rmtree(self.part, ignore_errors=True)
