"""Progress lines for people, on stderr: stdout belongs to what a command prints for machines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STILL_S = 30.0
"""A stage that takes longer says so at this interval: silence looks like a hang."""


def say(text: str) -> None:
    """One line of progress."""
    print(f"testbed: {text}", file=sys.stderr, flush=True)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Announce a stage before it starts, say every half minute that it goes on, and print how long it took."""
    say(f"{name} …")
    started, over = time.monotonic(), threading.Event()

    def go_on() -> None:
        while not over.wait(_STILL_S):
            say(f"{name}: {time.monotonic() - started:.0f} s so far")

    teller = threading.Thread(target=go_on, name=f"stage {name}", daemon=True)
    teller.start()
    try:
        yield
    except BaseException:
        say(f"{name}: failed after {time.monotonic() - started:.1f} s")
        raise
    finally:
        over.set()
        teller.join()
    say(f"{name}: {time.monotonic() - started:.1f} s")
