"""A real HTTP server on loopback in the place of the API server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from jil.cluster.access import Access, Credentials
from jil.cluster.connection import Connection
from jil.cluster.errors import NotLeader

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "y"}}


class Server:
    """Answers with ``reply``; keeps what it got."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.bytes_seen = 0
        self.reply: Handler = self.echo

    @staticmethod
    async def echo(request: web.Request) -> web.Response:
        return web.json_response({"kind": "ConfigMap", "metadata": {"name": "x", "resourceVersion": "2"}})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.requests.append(
            {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "agent": request.headers.get("User-Agent", ""),
                "type": request.headers.get("Content-Type", ""),
                "token": request.headers.get("Authorization", ""),
                "body": json.loads(body) if body else None,
            }
        )
        return await self.reply(request)


@asynccontextmanager
async def serving(server: Server, **access: Any) -> AsyncIterator[Connection]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    connection = Connection(Credentials(Access(f"http://127.0.0.1:{port}", **access)), write_timeout=0.3)
    try:
        yield connection
    finally:
        await connection.close()
        await runner.cleanup()


def status(code: int, reason: str, **more: Any) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        headers = {"Retry-After": "4"} if code == 429 else {}
        return web.json_response({"kind": "Status", "reason": reason, **more}, status=code, headers=headers)

    return answer


def closed() -> None:
    raise NotLeader("not sure")
