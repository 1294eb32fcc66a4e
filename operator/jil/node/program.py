"""Starting a program: settings with readable errors, logs with redaction, an event loop of the right size."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jil.node.settings import SettingsError

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
