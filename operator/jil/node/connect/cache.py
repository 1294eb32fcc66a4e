"""Redis or Valkey, through redis-py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from jil.node.settings import CacheSettings


@dataclass(frozen=True)
class CacheState:
    """What the server says of itself; ``version`` such as ``redis 7.0.15``."""

    version: str


def client(settings: CacheSettings, *, timeout: float, max_connections: int = 10) -> Redis:
    """A client whose every step (connect, each answer) ends within ``timeout`` seconds and that never retries itself:
    whether a repeated command is right is for the caller to know."""
    return Redis(
        host=settings.host,
        port=settings.port,
        username=settings.user,
        password=settings.password.get_secret_value(),
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        max_connections=max_connections,
    )


async def server_version(connection: Redis) -> str:
    """Name and version from HELLO: unlike INFO it is open to every user whom the ACL lets in."""
    answer: Any = await connection.execute_command("HELLO")  # type: ignore[no-untyped-call]
    if isinstance(answer, list):  # RESP2 gives the map as a flat list
        answer = dict(zip(answer[::2], answer[1::2], strict=False))
    return f"{answer.get('server', 'redis')} {answer['version']}"


class CacheCheck:
    """Logs in and sends PING, which a server that still loads its data or has lost its disk refuses."""

    name = "cache"

    def __init__(self, settings: CacheSettings, *, timeout: float = 1.5) -> None:
        self._client = client(settings, timeout=timeout, max_connections=2)

    async def observe(self) -> CacheState:
        await self._client.ping()
        return CacheState(version=await server_version(self._client))

    def abort(self) -> None:
        """Nothing to do: redis-py drops the connection of a cancelled command."""

    async def close(self) -> None:
        await self._client.aclose()
