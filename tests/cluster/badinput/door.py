"""A TCP door on loopback between an operator and an API server: shut as if nothing were there, opened, or slammed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from testbed.ports import LOOPBACK, free_ports


class Door:
    """Listens on ``port`` while it is open and passes bytes on to ``target`` (a port); TLS goes through untouched."""

    def __init__(self, target: int) -> None:
        (self.port,) = free_ports(1)
        # Bound as long as the door stands, and never listened on: while it is shut nobody else may have the port.
        self._frame = socket.socket()
        self._frame.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._frame.bind((LOOPBACK, self.port))
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="door", daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Door:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._frame.close()

    def open(self) -> None:
        """Connections are accepted from now on."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(60)

    def shut(self) -> None:
        """Nobody listens any more, and every connection is broken."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(60)

    def slam(self) -> None:
        """Every connection is broken; new ones are accepted."""
        self.shut()
        self.open()

    async def _open(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._pass, LOOPBACK, self.port)

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()
        await asyncio.sleep(0)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            upstream_reader, upstream_writer = await asyncio.open_connection(LOOPBACK, self._target)
            self._writers |= {writer, upstream_writer}
            await asyncio.gather(_pump(reader, upstream_writer), _pump(upstream_reader, writer))
            self._writers -= {writer, upstream_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
