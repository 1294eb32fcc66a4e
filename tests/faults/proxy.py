"""A proxy of ours between operator and API server, in a thread of its own: what a network and a busy server can do.

It speaks plain HTTP to the operator and TLS with a client certificate to the server, and streams watches. Its ``user``
is what the audit log knows the operator by. A ``Script`` looks at every request and at every watch event and decides
what becomes of it; ``fault``, ``mute``, ``cut`` and ``say_once`` are short ways to the commonest troubles.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from testbed.controlplane import ControlPlane

#: Method and path with query -> an HTTP status to answer with (0: break the connection), or None to let it through.
Fault = Callable[[str, str], int | None]

WRITES = ("POST", "PUT", "PATCH", "DELETE")
_ADMIN = "admin"


@dataclass(frozen=True)
class Exchange:
    """One request of the operator. ``number`` counts from 0 in the order of arrival; ``path`` is with its query."""

    number: int
    method: str
    path: str
    body: bytes

    @property
    def watch(self) -> bool:
        """Whether it opens a watch stream."""
        return "watch=true" in self.path

    @property
    def by_the_clock(self) -> bool:
        """Leases, Events, samples and dry runs: they come when they come, and are no steps of a reconcile."""
        return any(word in self.path for word in ("/leases", "/events", "dryRun=", "jil-operator-samples"))

    @property
    def step(self) -> bool:
        """Whether it is a write that takes the cluster a step further."""
        return self.method in WRITES and not self.by_the_clock

    @property
    def plural(self) -> str:
        """The resource of a collection's path."""
        return self.path.partition("?")[0].rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Answer:
    """What the operator is told."""

    status: int
    headers: dict[str, str]
    body: bytes


#: Carries the request out, once, and gives the server's answer.
Forward = Callable[[], Awaitable[Answer]]


class Script:
    """What becomes of the traffic. This one lets everything through; the methods run in the proxy's thread."""

    async def exchange(self, exchange: Exchange, forward: Forward) -> Answer | None:
        """The answer to give; None breaks the connection. Whether the server ever sees the request is up to you."""
        return await forward()

    async def event(self, watch: Exchange, line: bytes) -> Sequence[bytes] | None:
        """The lines to deliver in place of ``line``; None ends the stream."""
        return (line,)


class Proxy:
    """``with Proxy(control_plane) as proxy:``; ``proxy.url`` is where the operator connects."""

    def __init__(self, upstream: ControlPlane, user: str = _ADMIN) -> None:
        self._upstream = upstream
        self._pair = upstream._pair_of(user, () if user == _ADMIN else ("system:masters",))
        self.fault: Fault = lambda method, path: None
        self.script = Script()
        self.mute = False
        self.requests: list[tuple[str, str]] = []
        self.steps = 0
        """Writes that were forwarded and are steps of a reconcile."""
        self.renewals = 0
        """Writes to Leases that the server accepted."""
        self.url = ""
        self._streams: set[web.StreamResponse] = set()
        self._inject: dict[str, bytes] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(60), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(60)

    def cut(self) -> None:
        """Break every watch stream that is open."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self._cut)

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
        self.loop = asyncio.get_running_loop()
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
        exchange = Exchange(len(self.requests) - 1, request.method, path, await request.read())
        code = self.fault(request.method, path)
        if code == 0:
            return _broken(request)
        if code is not None:
            return _response(status(code))
        try:
            if exchange.watch:
                return await self._watch(request, exchange)
            answer = await self.script.exchange(exchange, lambda: self._forward(request, exchange))
        except (aiohttp.ClientError, TimeoutError):
            return _broken(request)
        return _broken(request) if answer is None else _response(answer)

    def _send(self, request: web.Request, exchange: Exchange) -> Any:
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in ("host", "authorization")
        }
        return self._session.request(
            exchange.method,
            self._upstream.url + exchange.path,
            data=exchange.body or None,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def _forward(self, request: web.Request, exchange: Exchange) -> Answer:
        if exchange.step:
            self.steps += 1
        async with self._send(request, exchange) as answer:
            if exchange.method in WRITES and "/leases" in exchange.path and answer.status < 300:
                self.renewals += 1
            return Answer(answer.status, _plain(answer.headers), await answer.read())

    async def _watch(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        """A watch is a request like any other to a script, except that what it forwards is a stream."""
        async with self._send(request, exchange) as answer:
            if answer.status != 200:
                return _response(Answer(answer.status, _plain(answer.headers), await answer.read()))
            response = web.StreamResponse(status=answer.status, headers=_plain(answer.headers))
            await response.prepare(request)
            self._streams.add(response)
            try:
                if line := self._inject.pop(exchange.plural, None):
                    await response.write(line + b"\n")
                    return response
                await self._pump(exchange, answer, response)
            finally:
                self._streams.discard(response)
            return response

    async def _pump(self, exchange: Exchange, answer: Any, response: web.StreamResponse) -> None:
        rest = b""
        async for chunk in answer.content.iter_any():
            while self.mute:
                await asyncio.sleep(0.05)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                delivered = await self.script.event(exchange, line)
                if delivered is None:
                    return
                if delivered:
                    await response.write(b"".join(one + b"\n" for one in delivered))


def status(code: int) -> Answer:
    """The API server's own form of an error."""
    reason = _REASONS.get(code, "")
    body = (
        f'{{"kind":"Status","apiVersion":"v1","status":"Failure","code":{code},"reason":"{reason}",'
        f'"message":"said by the fault proxy"}}'
    )
    headers = {"Content-Type": "application/json"}
    if code == 429:
        headers["Retry-After"] = "1"
    return Answer(code, headers, body.encode())


_REASONS = {
    403: "Forbidden",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def error_line(code: int) -> bytes:
    """An ERROR event as a watch stream carries it."""
    reason = {410: "Expired"}.get(code, "InternalError")
    document = (
        f'{{"kind":"Status","apiVersion":"v1","status":"Failure","code":{code},"reason":"{reason}","message":"test"}}'
    )
    return f'{{"type":"ERROR","object":{document}}}'.encode()


def _plain(headers: Any) -> dict[str, str]:
    return {n: v for n, v in headers.items() if n.lower() not in ("content-length", "transfer-encoding")}


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def _broken(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


def _request_of(stream: web.StreamResponse) -> web.Request | None:
    """What a stream answers; private of aiohttp, and enough here."""
    return getattr(stream, "_req", None)


def _plural_of(stream: web.StreamResponse) -> str:
    request = _request_of(stream)
    return request.path.rsplit("/", 1)[-1] if request is not None else ""
