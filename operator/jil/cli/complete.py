"""``kubectl_complete-jil``: what kubectl asks for the completion of ``kubectl jil``.

kubectl calls it with the words after ``kubectl jil``, the last one unfinished or empty, and reads candidates, one per
line, and a line with ``:`` and a number: 4 says that files are no candidates (cobra's ShellCompDirectiveNoFileComp).
"""

from __future__ import annotations

import os
import shlex
import sys

from jil.cli.main import app

_NO_FILES, _DEFAULT = 4, 0


def main() -> None:
    """Entry point."""
    words = sys.argv[1:] or [""]
    os.environ["_JILCTL_COMPLETE"] = "complete_bash"
    os.environ["COMP_WORDS"] = shlex.join(["jilctl", *words])
    os.environ["COMP_CWORD"] = str(len(words))
    try:
        app(args=[], prog_name="jilctl")
    except SystemExit:
        # Where a value may be a file, let the shell offer files.
        takes_file = len(words) > 1 and words[-2] in (
            "--policy",
            "--provenance",
            "--file",
            "-f",
            "--from",
            "--ca",
            "--key",
        )
        sys.stdout.write(f":{_DEFAULT if takes_file else _NO_FILES}\n")
