"""Files generated from the models: write them, or say how the checked-in ones differ."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def stale(expected: Mapping[Path, str], present: Sequence[Path]) -> str:
    """Unified diff from the files on disk to ``expected``; empty when current.

    ``present`` are the files that exist and would have been generated: one that no model wants any more is stale too.
    """
    parts: list[str] = []
    for path in sorted({*expected, *present}):
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        new = expected.get(path, "")
        parts.extend(
            difflib.unified_diff(
                old.splitlines(keepends=True), new.splitlines(keepends=True), f"{path} (on disk)", f"{path} (models)"
            )
        )
    return "".join(parts)


def run(
    argv: Sequence[str], *, module: str, expected: Mapping[Path, str], present: Sequence[Path], description: str
) -> int:
    """``--write`` or ``--check`` for one set of files; 1 from ``--check`` when something is stale."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the files")
    mode.add_argument("--check", action="store_true", help="fail, with a diff, when a file is not what it should be")
    arguments = parser.parse_args(argv)
    if arguments.check:
        difference = stale(expected, present)
        if difference:
            sys.stdout.write(difference)
            sys.stderr.write(f"generated files are stale: run `python -m {module} --write` and commit the result\n")
            return 1
        return 0
    for path, text in expected.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
    for path in set(present) - set(expected):
        path.unlink()
        sys.stdout.write(f"removed {path}\n")
    return 0
