"""Connections to health endpoints that stay open between two polls, one per node, and none longer than a minute.

Behind a cluster IP an open connection stays with the pod that it reached first. So it has a name of its own, made of the
address, of who answers there (the UIDs of the health pods) and of the minute; another name is another connection, and the
one of the old name is closed after a while without use. Whoever decides on an answer reads over a fresh connection.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

NodeKey = tuple[str, str]
"""(namespace, name) of a JILNode."""

AGE_SECONDS = 60.0
"""No connection is used for longer: whatever changed behind an address is seen after this at the latest."""
IDLE_SECONDS = 15.0
"""A connection that is not used for so long is closed: three polls."""
_SUFFIX = ".line"


@dataclass(frozen=True)
class Line:
    """How a request is sent so that it takes the connection of that name."""

    url: URL
    headers: Mapping[str, str]
    alias: str
    host: str

    def plain(self, text: str) -> str:
        """A message as it would read without the name."""
        return text.replace(self.alias, self.host)


class Lines:
    """``who`` tells who answers for a node, ``clock`` is monotonic seconds, ``limit`` the nodes that keep a connection."""

    def __init__(self, *, who: Callable[[NodeKey], str], clock: Callable[[], float], limit: int) -> None:
        self._who = who
        self._clock = clock
        self._limit = limit
        self._holders: set[NodeKey] = set()

    def session(self) -> aiohttp.ClientSession:
        """A session whose connections are these lines. Inside the loop that uses it."""
        connector = aiohttp.TCPConnector(
            resolver=_Aliases(), use_dns_cache=False, keepalive_timeout=IDLE_SECONDS, limit=0, force_close=False
        )
        return aiohttp.ClientSession(connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar())

    def line(self, key: NodeKey, url: str) -> Line | None:
        """The node's line. None when it has none: too many others do, or ``url`` is not plain HTTP to an address."""
        target = URL(url)
        host = target.host or ""
        try:
            packed = ipaddress.ip_address(host).packed.hex()
        except ValueError:
            return None
        if target.scheme != "http" or not self._holds(key):
            return None
        # Not all at the same time: each node's minute begins elsewhere.
        minute = int((self._clock() + zlib.crc32(repr(key).encode()) % AGE_SECONDS) // AGE_SECONDS)
        name = hashlib.sha256(f"{key} {self._who(key)} {minute}".encode()).hexdigest()[:16]
        alias = f"{packed}.{name}{_SUFFIX}"
        return Line(target.with_host(alias), {"Host": target.raw_authority}, alias, host)

    def forget(self, key: NodeKey) -> None:
        """The node is gone: another one may keep a connection."""
        self._holders.discard(key)

    def _holds(self, key: NodeKey) -> bool:
        if key not in self._holders and len(self._holders) < self._limit:
            self._holders.add(key)
        return key in self._holders


class _Aliases(AbstractResolver):
    """From a line's name back to the address in it; nobody is asked."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = ipaddress.ip_address(bytes.fromhex(host.partition(".")[0]))
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        found = ResolveResult(
            hostname=host, host=str(address), port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
        )
        return [found]

    async def close(self) -> None:
        """Nothing is open."""
