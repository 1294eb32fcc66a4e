"""One HTTP session to the API server, and the last look at the lease before a write leaves the process.

What a deposed leader may still do is the point of this file. A write is checked against the fence when its body is
handed to the socket: no await, so no other task and no connection set-up, lies between the check and the system call.
Beyond that:

- bytes that the kernel could not deliver are dropped, not delivered later: ``SO_LINGER 0`` discards them when the
  request times out, ``TCP_USER_TIMEOUT`` after ``write_timeout`` when the network is cut;
- the server gets the same deadline (``timeout`` parameter), so it does not carry out a write that waited in its queue;
- ``sever()`` shuts every socket at once; the runtime calls it from the SIGCONT handler, so that a process that was
  stopped between check and system call finds its socket closed.

What remains, and what stands behind it:

- A freeze without SIGCONT (cgroup freezer, paused virtual machine) that begins after the check, within the few dozen
  byte codes before the system call, and outlasts the lease. Every disruptive request carries UID and resourceVersion as
  preconditions, and the ledger is written by compare-and-swap.
- A write that etcd had received when etcd hung is carried out when it goes on, although we were told that it timed out
  (measured: about half of them). It is older than any take-over then: the Lease goes through the same etcd.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload

from jil import __version__
from jil.cluster import context
from jil.cluster.access import Credentials
from jil.cluster.errors import ApiError, NotLeader, ServerUnavailable, from_status

Fence = Callable[[], None]
Json = dict[str, Any]

#: Seconds. Reads may be slow (a list of a large cluster); writes are bound by the lease, see the runtime's settings.
READ_TIMEOUT = 30.0
WRITE_TIMEOUT = 5.0


class _FencedBody(BytesPayload):
    """A request body that asks the fence in the moment in which it is written to the socket."""

    def __init__(self, value: bytes, content_type: str, fence: Fence) -> None:
        super().__init__(value, content_type=content_type)
        self._fence = fence
        self.refusal: NotLeader | None = None

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Headers are still buffered here: a refusal means that not one byte of the request was sent."""
        try:
            self._fence()
        except NotLeader as refusal:
            self.refusal = refusal
            raise
        await super().write_with_length(writer, content_length)


class Connection:
    """A connection pool with credentials. Must be made and closed inside the event loop that uses it."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        limit: int = 32,
        write_timeout: float = WRITE_TIMEOUT,
        observe: Callable[[str, int, float], None] = lambda method, status, seconds: None,
    ) -> None:
        """``observe`` is told method, HTTP status (0 without an answer) and seconds of every request."""
        self.credentials = credentials
        self._observe = observe
        self.write_timeout = write_timeout
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, keepalive_timeout=60, socket_factory=self._socket),
            auto_decompress=True,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close all connections; requests in flight fail."""
        await self._session.close()

    def sever(self) -> None:
        """Shut every socket now, synchronously (for a signal handler): nothing unsent leaves the process."""
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, type_, protocol, _, _ = address
        made = socket.socket(family, type_, protocol)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.write_timeout * 1000))
        self._sockets.add(made)
        return made

    async def read(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str = "application/json"
    ) -> Json:
        """GET. Raises ApiError."""
        return await self._send("GET", path, query or {}, {"Accept": accept}, payload=None, seconds=READ_TIMEOUT)

    async def write(
        self,
        method: str,
        path: str,
        body: object,
        *,
        fence: Fence,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        grant: str | None = None,
    ) -> Json:
        """POST, PUT, PATCH or DELETE. Raises NotLeader when the fence refuses (then nothing was sent), or ApiError."""
        fence()  # Cheap early answer; the one that counts is in _FencedBody.
        payload = _FencedBody(json.dumps(body, separators=(",", ":")).encode(), content_type, fence)
        query = {**(query or {}), "timeout": f"{max(1, int(self.write_timeout))}s"}
        headers = {"Accept": "application/json", "User-Agent": user_agent(grant)}
        try:
            return await self._send(method, path, query, headers, payload=payload, seconds=self.write_timeout)
        except ApiError:
            if payload.refusal is not None:
                raise payload.refusal from None
            raise

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        payload: _FencedBody | None,
        seconds: float,
        fresh: bool = False,
    ) -> Json:
        token = self.credentials.token(fresh=fresh)
        # aiohttp means True by "verify as usual"; for a plain http:// server it is not looked at.
        tls: ssl.SSLContext | bool = self.credentials.ssl_context(fresh=fresh) or True
        sent = {"User-Agent": user_agent(None), **headers}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        begun, code = time.monotonic(), 0
        try:
            async with self._session.request(
                method,
                self.credentials.access.server + path,
                params=dict(query),
                headers=sent,
                data=payload,
                ssl=tls,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as response:
                content = await response.read()
                code, retry_after = response.status, _seconds(response.headers.get("Retry-After"))
        except aiohttp.ClientConnectorCertificateError as error:
            if fresh or self.credentials.access.ca_file is None:
                raise ServerUnavailable(method, path, reason="WrongCertificate", message=_told(error)) from error
            # Nothing was sent; the CA file may have been replaced since we read it.
            return await self._send(method, path, query, headers, payload=payload, seconds=seconds, fresh=True)
        except TimeoutError as error:
            raise ServerUnavailable(method, path, reason="Timeout", message=f"no answer in {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServerUnavailable(method, path, reason="NoConnection", message=_told(error)) from error
        finally:
            self._observe(method, code, time.monotonic() - begun)
        if code == 401 and not fresh and self.credentials.access.token_file is not None:
            # Not carried out; the kubelet may have replaced the token since we read it.
            return await self._send(method, path, query, headers, payload=payload, seconds=seconds, fresh=True)
        document = _document(content)
        if code >= 300:
            status = (
                document if document.get("kind") == "Status" else {"message": content[:300].decode(errors="replace")}
            )
            raise from_status(method, path, code, status, retry_after)
        return document


def user_agent(grant: str | None) -> str:
    """``jil-operator/<version> [reconcile/<id>] [grant/<id>]``: how the audit log of the API server knows why."""
    parts = [f"jil-operator/{__version__}"]
    if run := context.reconcile_id.get():
        parts.append(f"reconcile/{run}")
    if grant:
        parts.append(f"grant/{grant}")
    return " ".join(parts)


def _seconds(value: str | None) -> float | None:
    """Retry-After in seconds; the HTTP-date form is not used by the API server and counts as absent."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        return None


def _document(content: bytes) -> Json:
    try:
        document = json.loads(content) if content else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _told(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        raise error
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
