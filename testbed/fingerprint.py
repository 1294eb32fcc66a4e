"""Content hashes: the name under which a build result is kept is the hash of everything it was made from."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

LENGTH = 16
"""Hex digits kept: 64 bits, plenty for the handful of builds that one cache holds."""


def of_text(*parts: str) -> str:
    """Hash of a sequence of strings; the boundaries between them count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()[:LENGTH]


def of_file(path: Path) -> str:
    """Full sha256 of a file's bytes, hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def of_tree(root: Path, skip: Iterable[str] = ("__pycache__",)) -> str:
    """Hash of a folder: relative names, executable bits, link targets and bytes; not times, not owners."""
    skipped = frozenset(skip)
    parts: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in skipped)
        for name in sorted(files):
            path = Path(folder) / name
            relative = str(path.relative_to(root))
            if path.is_symlink():
                parts += [relative, "link", os.readlink(path)]
            else:
                executable = "x" if path.stat().st_mode & stat.S_IXUSR else "-"
                parts += [relative, executable, of_file(path)]
    return of_text(*parts)
