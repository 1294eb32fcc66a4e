"""The validator's own tests (Go): unit tests, and four real processes on loopback. Prints the number that passed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from testbed import toolchain

MODULE = Path(__file__).resolve().parents[1] / "images" / "validator"


def main() -> int:
    process = subprocess.Popen(
        [str(toolchain.go()), "test", "-json", "-count=1", "-timeout=600s", "./..."],
        cwd=MODULE,
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
    print(f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped")
    if counts["pass"] == 0 or counts["skip"]:
        print("no Go test may be missing or skipped")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
