"""A proxy of ours between operator and API server, in a thread of its own: what a network and a busy server can do.

It speaks plain HTTP to the operator and TLS with a client certificate to the server, and streams watches. ``fault`` looks
at every request; ``mute`` keeps watch streams open and delivers nothing; ``cut`` breaks all connections.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web

from testbed.controlplane import ControlPlane

#: Method and path with query -> an HTTP status to answer with (0: break the connection), or None to let it through.
Fault = Callable[[str, str], int | None]


class Proxy:
    """``with Proxy(control_plane) as proxy:``; ``proxy.url`` is where the operator connects."""

    def __init__(self, upstream: ControlPlane, user: str = "admin") -> None:
        self._upstream = upstream
        self._pair = upstream._pair_of(user, () if user == "admin" else ("system:masters",))
        self.fault: Fault = lambda method, path: None
        self.mute = False
        self.requests: list[tuple[str, str]] = []
        self.url = ""
        self._streams: set[web.StreamResponse] = set()
        self._inject: dict[str, bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(20), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)

    def cut(self) -> None:
        """Break every watch stream that is open."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._cut)

    def streams(self, plural: str) -> int:
        """How many watch streams of ``plural`` are open."""
        return sum(_plural_of(stream) == plural for stream in list(self._streams))

    def say_once(self, plural: str, line: bytes) -> None:
        """Put one line into the next watch stream of ``plural`` that is opened, then end that stream."""
        self._inject[plural] = line

    def _cut(self) -> None:
        for stream in list(self._streams):
            request = _request_of(stream)
            if request is not None and request.transport is not None:
                request.transport.abort()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        tls = ssl.create_default_context(cafile=str(self._upstream.ca_file))
        tls.load_cert_chain(self._pair.certificate, self._pair.key)
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=64 * 1024 * 1024)
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._end.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path_qs
        self.requests.append((request.method, path))
        code = self.fault(request.method, path)
        if code == 0:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if code is not None:
            return _status(code)
        try:
            return await self._forward(request, path)
        except aiohttp.ClientError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)

    async def _forward(self, request: web.Request, path: str) -> web.StreamResponse:
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in ("host", "authorization")
        }
        timeout = aiohttp.ClientTimeout(total=None)
        body = await request.read()
        async with self._session.request(
            request.method, self._upstream.url + path, data=body or None, headers=headers, timeout=timeout
        ) as answer:
            plain = {
                n: v for n, v in answer.headers.items() if n.lower() not in ("content-length", "transfer-encoding")
            }
            if "watch=true" not in path:
                return web.Response(status=answer.status, headers=plain, body=await answer.read())
            return await self._stream(request, answer, plain)

    async def _stream(self, request: web.Request, answer: Any, headers: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        self._streams.add(response)
        try:
            plural = request.path.rsplit("/", 1)[-1]
            if line := self._inject.pop(plural, None):
                await response.write(line + b"\n")
                return response
            async for chunk in answer.content.iter_any():
                while self.mute:
                    await asyncio.sleep(0.05)
                await response.write(chunk)
        finally:
            self._streams.discard(response)
        return response


def _request_of(stream: web.StreamResponse) -> web.Request | None:
    """What a stream answers; private of aiohttp, and enough here."""
    return getattr(stream, "_req", None)


def _plural_of(stream: web.StreamResponse) -> str:
    request = _request_of(stream)
    return request.path.rsplit("/", 1)[-1] if request is not None else ""


def _status(code: int) -> web.Response:
    reasons = {
        403: "Forbidden",
        410: "Expired",
        429: "TooManyRequests",
        500: "InternalError",
        503: "ServiceUnavailable",
    }
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reasons.get(code, "")}
    return web.json_response(body, status=code, headers={"Retry-After": "1"} if code == 429 else {})


def error_line(code: int) -> bytes:
    """An ERROR event as a watch stream carries it."""
    reason = {410: "Expired"}.get(code, "InternalError")
    status = (
        f'{{"kind":"Status","apiVersion":"v1","status":"Failure","code":{code},"reason":"{reason}","message":"test"}}'
    )
    return f'{{"type":"ERROR","object":{status}}}'.encode()
