"""Starting a program: settings with readable errors, an event loop of the right size, loops in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jil.node.settings import SettingsError

log = logging.getLogger(__name__)

#: Name look-ups run in asyncio's default threads; a resolver that hangs for one component must not use them all up.
_THREADS = 16


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run ``main`` and return its exit code; 2 with the reason on stderr when the environment is not right."""

    async def start() -> int:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="lookup"))
        return await main()

    try:
        return asyncio.run(start())
    except SettingsError as error:
        print(f"cannot start: {error}", file=sys.stderr)  # noqa: T201  logs may not be configured yet
        return 2


@contextlib.asynccontextmanager
async def in_background(*loops: asyncio.Task[None]) -> AsyncIterator[None]:
    """Let the tasks run for the time of the block. One that fails is logged at once: nobody else would notice."""
    for task in loops:
        task.add_done_callback(_report)
    try:
        yield
    finally:
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background task %s has failed and does not run any more", task.get_name(), exc_info=error)
