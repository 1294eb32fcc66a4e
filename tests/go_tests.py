"""Tests of the programs written in Go: the validator's, with four real processes on loopback, and the registry's.

Prints the number that passed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from testbed import toolchain

IMAGES = Path(__file__).resolve().parents[1] / "images"
MODULES = (IMAGES / "validator", IMAGES / "registry")


def main() -> int:
    code = 0
    for module in MODULES:
        print(f"--- {module.name}", flush=True)
        code = max(code, _run(module))
    return code


def _run(module: Path) -> int:
    process = subprocess.Popen(
        [str(toolchain.go()), "test", "-json", "-count=1", "-timeout=600s", "./..."],
        cwd=module,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CGO_ENABLED": "0"},
    )
    counts = {"pass": 0, "fail": 0, "skip": 0}
    assert process.stdout is not None
    for line in process.stdout:
        try:
            event = json.loads(line)
        except ValueError:
            print(line, end="")
            continue
        if event.get("Action") in counts and event.get("Test"):
            counts[event["Action"]] += 1
        if event.get("Action") == "output":
            print(event["Output"], end="")
    code = process.wait()
    print(f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped", flush=True)
    if counts["pass"] == 0 or counts["skip"]:
        print("no Go test may be missing or skipped")
        return 1
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
