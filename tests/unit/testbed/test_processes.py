"""Children of the test bed, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import BedError
from testbed.processes import hold, wait_until

_THREADS = 16
#: Threads that are never all asleep, and each of which could still answer somebody.
_BUSY = f"""
import threading, time
def work():
    while True:
        sum(range(2000))
        time.sleep(0.0002)
for _ in range({_THREADS}):
    threading.Thread(target=work, daemon=True).start()
print("runs", flush=True)
time.sleep(60)
"""


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"runs\n"
        yield child
    finally:
        child.kill()
        child.communicate(timeout=10)


def _states(pid: int) -> list[str]:
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]


def test_who_is_held_has_no_thread_that_runs_when_hold_returns(busy: subprocess.Popen[bytes]) -> None:
    for _ in range(50):
        hold(busy.pid)
        assert set(_states(busy.pid)) == {"T"}
        assert len(_states(busy.pid)) == _THREADS + 1
        os.kill(busy.pid, signal.SIGCONT)
        wait_until(lambda: "T" not in _states(busy.pid), "the process to go on", 10, interval_s=0.001)


def test_who_has_ended_and_is_not_reaped_yet_is_held_at_once(busy: subprocess.Popen[bytes]) -> None:
    busy.kill()
    hold(busy.pid)


def test_a_wait_in_vain_says_for_what(busy: subprocess.Popen[bytes]) -> None:
    with pytest.raises(BedError, match="waited 0 s for the moon, in vain"):
        wait_until(lambda: False, "the moon", 0.01, interval_s=0.001)
