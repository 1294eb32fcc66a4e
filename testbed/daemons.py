"""Programs that outlive the command that started them: started, found again, and ended by pid and start time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.processes import wait_until


@dataclass(frozen=True)
class Daemon:
    """A process by pid and start time (clock ticks since boot): a reused pid is not taken for it."""

    pid: int
    started: int

    def running(self) -> bool:
        """Whether this very process is alive (a zombie is not)."""
        return _start_of(self.pid) == self.started

    def end(self, grace_s: float) -> None:
        """SIGTERM, SIGKILL after ``grace_s`` seconds; returns when it is gone."""
        for number, deadline in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            if not self.running():
                return
            os.kill(self.pid, number)
            try:
                wait_until(lambda: not self.running(), f"pid {self.pid} to end", deadline)
            except Exception:
                if number == signal.SIGKILL:
                    raise


def start(command: Sequence[str | Path], log: Path, record: Path, env: Mapping[str, str] | None = None) -> Daemon:
    """Start a program in a session of its own, output to ``log``; ``record`` gets its identity for find()."""
    with log.open("ab") as sink:
        child = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    daemon = Daemon(child.pid, _start_of(child.pid) or 0)
    record.write_text(json.dumps({"pid": daemon.pid, "started": daemon.started}))
    return daemon


def find(record: Path) -> Daemon | None:
    """The process that ``record`` names, when it still runs."""
    try:
        daemon = Daemon(**json.loads(record.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return daemon if daemon.running() else None


def mentioning(text: str) -> list[int]:
    """Pids of processes (not this one) whose command line contains ``text``: a path that only our programs carry."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if pid != os.getpid() and text.encode() in line:
            found.append(pid)
    return found


def name_of(pid: int) -> str:
    """The kernel's short name of a process (at most 15 characters), "" when it is gone."""
    try:
        return Path("/proc", str(pid), "comm").read_text().strip()
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    """Pids of the direct children of a process."""
    try:
        tasks = list(Path("/proc", str(pid), "task").iterdir())
        return [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        return []


def _start_of(pid: int) -> int | None:
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    # After the closing parenthesis: state is field 3 of proc(5), starttime field 22.
    return None if fields[0] in "ZX" else int(fields[19])
