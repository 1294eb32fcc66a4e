"""Advisory file locks: one cache serves several checkouts and test runs at the same time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from testbed import paths
from testbed.errors import BedError
from testbed.progress import say


@contextmanager
def exclusive(name: str, deadline_s: float = 3600.0) -> Iterator[None]:
    """Hold the lock ``name`` of this cache; wait at most ``deadline_s`` seconds for another holder.

    The kernel drops the lock when the holder ends, however it ends.
    Raises BedError, naming the holder's pid, when the deadline passes.
    """
    path = paths.locks() / f"{name}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(handle, name, deadline_s)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, name: str, deadline_s: float) -> None:
    started, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            if time.monotonic() - started > deadline_s:
                raise BedError(
                    f"another run (pid {holder}) has held the lock '{name}' for {deadline_s:.0f} s; "
                    f"wait for it to end or stop it, then try again"
                ) from None
            if not told:
                say(f"waiting for another run (pid {holder}) that holds '{name}'")
                told = True
            time.sleep(0.2)
