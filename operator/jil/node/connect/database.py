"""PostgreSQL, through psycopg 3."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from jil.node.settings import DatabaseSettings

#: The kernel drops a connection whose peer has not acknowledged anything for this long.
TCP_USER_TIMEOUT_MS = 10_000


@dataclass(frozen=True)
class DatabaseState:
    """What PostgreSQL says of itself; ``version`` such as ``15.18``."""

    version: str


def connection_arguments(settings: DatabaseSettings, *, application: str, connect_seconds: int = 3) -> dict[str, Any]:
    """Keyword arguments for psycopg; never a connection string, which errors would print with its password."""
    return {
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.name,
        "user": settings.user,
        "password": settings.password.get_secret_value(),
        "application_name": application,
        "connect_timeout": connect_seconds,
        "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }


def hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    """Shut the connection's socket down, so that whoever waits for the server's answer gets an error now.

    Cancelling is not enough: psycopg then asks the server to cancel and waits for it, for ever if the server is frozen.
    The file descriptor stays open (a duplicate is shut down), so nobody can be handed its number meanwhile.
    """
    with contextlib.suppress(OSError, psycopg.Error):
        copy = socket.socket(fileno=os.dup(connection.fileno()))
        with copy:
            copy.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def answered_within(connection: psycopg.AsyncConnection[Any], seconds: float) -> Iterator[None]:
    """Hang up when the block takes longer than ``seconds``: the wait in it then raises psycopg.OperationalError."""
    timer = asyncio.get_running_loop().call_later(seconds, hang_up, connection)
    try:
        yield
    finally:
        timer.cancel()


class DatabaseCheck:
    """Logs in with the given role and runs a query; keeps its one connection."""

    name = "database"

    def __init__(self, settings: DatabaseSettings, *, application: str) -> None:
        self._arguments = connection_arguments(settings, application=application, connect_seconds=2)
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def observe(self) -> DatabaseState:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(autocommit=True, **self._arguments)
        try:
            cursor = await self._connection.execute(
                sql.SQL("SELECT current_setting('server_version'), pg_is_in_recovery()")
            )
            row = await cursor.fetchone()
        except BaseException:
            broken, self._connection = self._connection, None
            hang_up(broken)
            raise
        if row is None or row[1]:
            raise RuntimeError("PostgreSQL is in recovery and takes no writes; wait until it has replayed its log")
        # Debian's build appends its package version in brackets.
        return DatabaseState(version=str(row[0]).split(" ", 1)[0])

    def abort(self) -> None:
        if self._connection is not None:
            hang_up(self._connection)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
