"""``python -m bench``: run the parts, each as a process of its own with a deadline; print a table, write JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.parts import admission, bring_up, fleet, peers, trust
from bench.report import Reporter, Row, say, table

#: In a folder that git ignores.
_DEFAULT_OUT = Path("build/bench.json")


@dataclass(frozen=True)
class Part:
    """``seconds`` is the deadline."""

    run: Callable[[Reporter], None]
    seconds: int


def parts(sizes: list[int], rest: float, patience: float | None) -> dict[str, Part]:
    """Name -> part, in order."""
    found = {"bring-up": Part(lambda report: bring_up.run(report, 10), 900)}
    found["admission"] = Part(admission.run, 600)
    found["peers"] = Part(peers.run, 1800)
    found["trust"] = Part(trust.run, 2400)  # building cosign for the first time takes ten minutes of it
    for size in sizes:
        found[f"fleet-{size}"] = Part(
            lambda report, size=size: fleet.run(report, size, rest=rest, patience=patience),  # type: ignore[misc]
            int(1200 + rest + 8 * size),
        )
    return found


def _measure(name: str, part: Part, arguments: list[str]) -> list[Row]:
    """The rows that a part told before it ended, or before its deadline."""
    command = [sys.executable, "-m", "bench", *arguments, "--inside", name]
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    late = threading.Timer(part.seconds, os.killpg, (child.pid, signal.SIGKILL))
    late.start()
    rows = []
    try:
        for line in child.stdout or ():
            if line.startswith("{"):
                rows.append(Row(**json.loads(line)))
                say(f"  {rows[-1].name}: {rows[-1].value:g} {rows[-1].unit} {rows[-1].verdict}")
        code = child.wait()
    except BaseException:  # Ctrl-C: the part has a session of its own and did not hear it
        os.killpg(child.pid, signal.SIGKILL)
        raise
    finally:
        late.cancel()
    took = time.monotonic() - began
    if code:
        why = f"ended at its deadline of {part.seconds} s" if took >= part.seconds else f"failed with code {code}"
        rows.append(Row(name, "NOT FINISHED", took, "s", f"{why}; what it had measured is above"))
    return rows


def _machine() -> dict[str, object]:
    return {
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": os.getloadavg(),
    }


def main() -> int:
    """0 when every part finished, whatever it measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--nodes", type=int, action="append", help="size of a fleet (repeatable; 200 and 2000)")
    parser.add_argument("--part", action="append", help="only this part (repeatable)")
    parser.add_argument("--rest", type=float, default=fleet.REST_SECONDS, help="seconds of rest that are measured")
    parser.add_argument(
        "--patience", type=float, help="seconds to bring a fleet up in: as many nodes as there is time for"
    )
    parser.add_argument("--json", type=Path, default=_DEFAULT_OUT, help="where the figures go")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args()
    known = parts(given.nodes or [200, 2000], given.rest, given.patience)
    if given.inside:
        known[given.inside].run(Reporter(given.inside))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part that runs ends too
    chosen = given.part or list(known)
    if unknown := set(chosen) - set(known):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    machine, rows = _machine(), []
    through = [f"--nodes={size}" for size in given.nodes or []] + [f"--rest={given.rest}"]
    through += [f"--patience={given.patience}"] if given.patience else []
    for name in chosen:
        say(f"--- {name} (at most {known[name].seconds} s)")
        rows += _measure(name, known[name], through)
        document = {"machine": machine | {"load_after": os.getloadavg()}, "rows": [asdict(row) for row in rows]}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    say("\n" + table(rows))
    return 1 if any(row.name == "NOT FINISHED" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
