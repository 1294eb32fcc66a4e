"""Running other programs: commands with a deadline, children that die with us, waits with a deadline."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from testbed.errors import BedError

_TAIL = 4000
"""Characters of a failed command's output that an error shows."""

_running: set[int] = set()
"""Leaders of the process groups that run() waits for, in any thread."""
_interrupted = threading.Event()


def run(
    command: Sequence[str | Path],
    *,
    timeout_s: float = 120.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    log: Path | None = None,
) -> str:
    """Run a command to its end and return its stdout.

    ``env`` is added to this process's environment. With ``log`` both streams go to that file and "" is returned.
    The command ends when this process does, even by SIGKILL: it cannot go on beside the run that repairs what is left.
    Raises BedError with the end of the output when it fails, is not there, or takes longer than ``timeout_s``.
    """
    words = [str(word) for word in command]
    environment = {**os.environ, **(env or {})}
    program = shutil.which(words[0], path=environment.get("PATH"))
    if program is None:
        raise BedError(f"the program '{words[0]}' is not there; `python3 -m testbed doctor` lists what is missing")
    if _interrupted.is_set():
        raise BedError(f"interrupted before '{_short(words)}'")
    sink = log.open("ab") if log else None
    try:
        # A session of its own, so that a command past its deadline is ended with everything it started.
        with subprocess.Popen(
            [*_bound(), program, *words[1:]],
            env=environment,
            cwd=cwd,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=sink or subprocess.PIPE,
            stderr=subprocess.STDOUT if sink else subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as child:
            _running.add(child.pid)
            try:
                out, err = child.communicate(stdin, timeout=timeout_s)
            except BaseException as problem:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                if isinstance(problem, subprocess.TimeoutExpired):
                    where = f"; its output is in {log}" if log else ""
                    raise BedError(f"'{_short(words)}' did not end within {timeout_s:.0f} s{where}") from None
                raise
            finally:
                _running.discard(child.pid)
    finally:
        if sink:
            sink.close()
    if child.returncode != 0:
        text = tail(log) if log else f"{out or ''}{err or ''}"[-_TAIL:]
        where = f" (whole output: {log})" if log else ""
        raise BedError(f"'{_short(words)}' failed with status {child.returncode}{where}:\n{text.strip()}")
    return out or ""


@functools.cache
def _bound() -> tuple[str, ...]:
    """What makes the kernel kill a command when the thread that started it ends; run() waits for it in that thread."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def interrupt() -> None:
    """End every command that run() is waiting for, with all it started, and let none begin: the process is to end."""
    _interrupted.set()
    for leader in list(_running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGTERM)


def succeeds(command: Sequence[str | Path], *, timeout_s: float = 30.0, env: Mapping[str, str] | None = None) -> bool:
    """Whether the command ends with status 0 in time."""
    try:
        run(command, timeout_s=timeout_s, env=env)
    except BedError:
        return False
    return True


def tail(path: Path, characters: int = _TAIL) -> str:
    """The end of a log file, "" when it is not there."""
    try:
        with path.open("rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - characters))
            return handle.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float, interval_s: float = 0.05) -> None:
    """Poll ``condition`` until it is true. Raises BedError naming ``what`` when ``deadline_s`` seconds have passed."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > deadline_s:
            raise BedError(f"waited {deadline_s:.0f} s for {what}, in vain")
        time.sleep(interval_s)


# The kernel's parent-death signal fires when the THREAD that forked ends, not the process. So every child is forked
# by this one worker thread, which lives as long as the interpreter; a test may then restart a child from any thread.
_forker = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="testbed-forker")


def spawn_bound(
    command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a child that the kernel kills (SIGKILL) when this process ends, however it ends; output goes to ``log``.

    It gets a session of its own, so that Ctrl-C in a terminal reaches only us and the end is orderly.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise BedError("'setpriv' (package util-linux) is not there; it binds children to this process: install it")
    words = [setpriv, "--pdeathsig", "KILL", "--", *(str(word) for word in command)]

    def fork() -> subprocess.Popen[bytes]:
        with log.open("ab") as sink:
            return subprocess.Popen(
                words,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return _forker.submit(fork).result()


def hold(*pids: int) -> None:
    """SIGSTOP; returns when no thread of these processes runs any more.

    The signal alone promises nothing: until the kernel has stopped one thread after the other, those that run still answer.
    """
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(map(_stands_still, pids)), f"processes {pids} to stand still", 10, interval_s=0.001)


def _stands_still(pid: int) -> bool:
    """Whether every thread is stopped or has ended; so is a process that is gone."""
    try:
        stats = [thread.joinpath("stat").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return not Path(f"/proc/{pid}").exists()
    return all(stat.rpartition(")")[2].split()[0] in "TtZX" for stat in stats)


def end(child: subprocess.Popen[bytes], grace_s: float = 10.0) -> None:
    """SIGTERM, and SIGKILL once ``grace_s`` seconds have passed; returns when the child is reaped."""
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGCONT)
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _short(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) <= 160 else text[:157] + "…"
