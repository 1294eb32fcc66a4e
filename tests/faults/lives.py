"""Lives of the real operator's process, cheap to begin: a parent that has everything imported forks them.

A life is the operator's own ``main()`` in a process of its own with an environment and a log of its own; only the two
seconds of importing are shared. It dies with its parent, the parent with the test. ``plant`` names a bug that is put
into the life before ``main()`` begins (``tests/faults/plants.py``).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1


class Life:
    """One process of the operator."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        try:
            self._handle = os.pidfd_open(pid)
        except ProcessLookupError:
            self._handle = -1

    @property
    def alive(self) -> bool:
        """Whether it runs (or is stopped)."""
        return self._handle >= 0 and not select.select([self._handle], [], [], 0)[0]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; to a process that is gone, nothing."""
        if self._handle >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self.signal(signal.SIGKILL)
        if self._handle >= 0 and not select.select([self._handle], [], [], 90)[0]:
            raise AssertionError(f"operator {self.pid} outlived SIGKILL")

    def forget(self) -> None:
        """Close what is held of it, after its end."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def words(self, characters: int = 3000) -> str:
        """The end of its log."""
        return self.log_from()[-characters:]

    def log_from(self, start: int = 0) -> str:
        """Its log from a character on."""
        with contextlib.suppress(FileNotFoundError):
            return self.log.read_text(errors="replace")[start:]
        return ""


class Lives:
    """``with Lives() as lives``: the parent of operators."""

    def __enter__(self) -> Lives:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.lives"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}{os.pathsep}{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        self._parent.wait(60)

    def begin(self, log: Path, env: Mapping[str, str], plant: str = "") -> Life:
        """Fork one operator."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        order = {"log": str(log), "env": {**os.environ, **env}, "plant": plant}
        self._parent.stdin.write(json.dumps(order).encode() + b"\n")
        self._parent.stdin.flush()
        answer = self._parent.stdout.readline()
        if not answer.strip():
            raise AssertionError(f"the operators' parent has ended with status {self._parent.wait(10)}")
        return Life(int(answer), log)


def _parent() -> None:
    import jil.controller.__main__ as program
    from tests.faults import plants

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: the test looks at their pidfd
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _live(order, program, plants)


def _live(order: dict[str, Any], program: Any, plants: Any) -> None:
    code = 70
    try:
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(order["env"])
        random.seed()
        if order["plant"]:
            plants.PLANTS[order["plant"]].put_in()
        code = program.main()
        sys.stdout.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _parent()
