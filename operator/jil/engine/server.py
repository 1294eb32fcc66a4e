"""HTTP for the kubelet and Prometheus: /livez, /readyz, /metrics. Plain HTTP, inside the cluster only.

/livez fails when a restart would help: the loop hangs, a watch is deaf, Kopf has ended. /readyz fails until the store
is full. Whether this process is the leader concerns neither: a standby is alive and ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

#: Names what is wrong; empty when nothing is.
Check = Callable[[], list[str]]


class HttpServer:
    """``start``, then ``port`` says where; ``stop`` at the end."""

    def __init__(self, *, host: str, port: int, live: Check, ready: Check, registry: CollectorRegistry) -> None:
        self._host = host
        self._wanted = port
        self._live = live
        self._ready = ready
        self._registry = registry
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        app = web.Application()
        app.router.add_get("/livez", self._probe(self._live))
        app.router.add_get("/readyz", self._probe(self._ready))
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._wanted)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @staticmethod
    def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            problems = check()
            return web.Response(text="\n".join(problems) or "ok", status=503 if problems else 200)

        return answer

    async def _metrics(self, _: web.Request) -> web.Response:
        # In a thread: rendering thousands of series takes tenths of a second.
        body = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
