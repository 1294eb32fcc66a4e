"""``make test``: every stage in order, its time, and the number of tests per layer.

The end-to-end layer makes a kind cluster of its own and removes it when everything passed; after a failure it stays for
a look. A stage that cannot run fails with the reason, a layer without a single test fails, and nothing is skipped. Output
of a stage that passes goes to a log file; of one that fails, its end is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
TAIL_LINES = 80


@dataclass
class Stage:
    """One step. ``layer`` is set for those that run tests; ``seconds`` is the limit after which it is ended."""

    name: str
    command: list[str]
    seconds: int
    layer: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT


def _pytest(
    layer: str, seconds: int, *paths: str, extra: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> Stage:
    command = [str(BIN / "pytest"), *paths, "-q", "--no-header", "--durations=8", *extra]
    return Stage(layer, command, seconds, layer, env=env or {})


def stages() -> list[Stage]:
    python = str(BIN / "python")
    source = {"PYTHONPATH": "operator"}
    # A cluster of its own, made anew: its audit log is the evidence of this run alone, and a running demo is left alone.
    own = {"JIL_CLUSTER": "jil-e2e"}
    return [
        Stage("lint", ["make", "--no-print-directory", "lint"], 120),
        Stage("types", [str(BIN / "mypy")], 300),
        Stage("contracts", ["make", "--no-print-directory", "contracts"], 120, env=source),
        Stage("generated", ["make", "--no-print-directory", "generated"], 120),
        _pytest("unit", 600, "tests/unit", extra=("-n", "2")),
        Stage("binaries", [python, "-m", "testbed", "binaries"], 2400),
        Stage("go", [python, "-m", "tests.go_tests"], 900),
        # These tests mostly wait, for elections, back-offs and probes: two at a time fit two cores. What shares a rig
        # stays together (tests/conftest.py).
        _pytest("cluster", 2400, "tests/cluster", extra=("-n", "2", "--dist", "loadscope")),
        _pytest("faults", 900, "tests/faults"),
        Stage("kind", [python, "-m", "tests.fresh_cluster"], 2400, env=own),
        Stage("images", [python, "-m", "testbed", "images"], 2400, env=own),
        _pytest("e2e", 2400, "tests/e2e", env=own),
        Stage("kind-down", [python, "-m", "testbed", "down", "--cluster", own["JIL_CLUSTER"]], 300),
    ]


@dataclass
class Outcome:
    stage: Stage
    code: int
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def _counts(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a JUnit report; (0, 0, 0) when there is none."""
    if not report.exists():
        return 0, 0, 0
    total = failed = skipped = 0
    for suite in ET.parse(report).getroot().iter("testsuite"):
        total += int(suite.get("tests", "0"))
        failed += int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
        skipped += int(suite.get("skipped", "0"))
    return total - failed - skipped, failed, skipped


def run(stage: Stage, logs: Path) -> Outcome:
    log, report = logs / f"{stage.name}.log", logs / f"{stage.name}.xml"
    command = [*stage.command, f"--junitxml={report}"] if stage.layer else stage.command
    print(f"--- {stage.name}: {' '.join(stage.command[:6])}", flush=True)
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=stage.cwd,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **stage.env},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=stage.seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            code = 124
        except BaseException:
            # Ctrl-C, or main() was asked to end: the stage has a session of its own and did not hear it.
            print(f"*** stage {stage.name} is ended; its output is in {log}", flush=True)
            _end(process)
            raise
    outcome = Outcome(stage, code, time.monotonic() - began, *_counts(report))
    if stage.layer and code == 0 and (outcome.passed == 0 or outcome.skipped):
        print(
            f"layer {stage.layer}: {outcome.passed} passed, {outcome.skipped} skipped: a layer must run, and run whole"
        )
        outcome.code = 1
    if outcome.code:
        lines = log.read_text(errors="replace").splitlines()
        print("\n".join(lines[-TAIL_LINES:]))
        why = f"took longer than {stage.seconds} s" if code == 124 else f"exit code {code}"
        print(f"*** stage {stage.name} failed ({why}); its whole output is in {log}", flush=True)
    elif stage.layer:
        print("    " + (log.read_text(errors="replace").splitlines() or [""])[-1], flush=True)
    return outcome


def _end(process: subprocess.Popen[bytes]) -> None:
    """A stage and what it started: as by Ctrl-C first, so that fixtures take their clusters away."""
    for number, patience in ((signal.SIGINT, 30), (signal.SIGTERM, 15), (signal.SIGKILL, 15)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=patience)
            return


def _summary(outcomes: list[Outcome]) -> None:
    print("\nstage          seconds  result")
    for outcome in outcomes:
        print(f"{outcome.stage.name:<14} {outcome.seconds:7.1f}  {'ok' if outcome.code == 0 else 'FAILED'}")
    print("\nlayer          passed  failed  skipped")
    for outcome in outcomes:
        if outcome.stage.layer:
            print(f"{outcome.stage.layer:<14} {outcome.passed:6d}  {outcome.failed:6d}  {outcome.skipped:7d}")
    total = sum(o.seconds for o in outcomes)
    print(f"\n{total:.0f} s in all")
    print(f"{sum(o.passed for o in outcomes)} passed, {sum(o.failed for o in outcomes)} failed")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stages", description=__doc__)
    parser.add_argument("--only", action="append", help="run only this stage (repeatable)")
    parser.add_argument("--keep-going", action="store_true", help="run the later stages after a failure too")
    arguments = parser.parse_args()
    chosen = stages()
    if arguments.only:
        unknown = set(arguments.only) - {s.name for s in chosen}
        if unknown:
            parser.error(f"no stage {', '.join(sorted(unknown))}; there are: {', '.join(s.name for s in chosen)}")
        chosen = [s for s in chosen if s.name in arguments.only]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stage that runs ends too
    logs = Path(tempfile.mkdtemp(prefix="jil-test-"))
    outcomes: list[Outcome] = []
    for stage in chosen:
        outcomes.append(run(stage, logs))
        if outcomes[-1].code and not arguments.keep_going:
            break
    _summary(outcomes)
    if any(o.code for o in outcomes) or len(outcomes) < len(chosen):
        return 1
    shutil.rmtree(logs, ignore_errors=True)  # kept of a run that failed, which names its log
    return 0


if __name__ == "__main__":
    sys.exit(main())
