"""What is asked of a registry and what it answered, as values, and which answers are none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from jil.observe.registry.errors import NotInRegistry, OverLimit, RegistryUnknown
from jil.trust.verdict import RefusalReason

ERROR_BODY = 16 * 1024
"""Bytes that are read of an answer that is an error."""

_RETRY_AFTER_MAX = 3600.0
_ERROR_CODE = re.compile(rb'"code"\s*:\s*"([A-Z_]{1,40})"')


class Budget:
    """Bytes that may still be read for one purpose, over several requests."""

    def __init__(self, total: int, what: str) -> None:
        self._left = total
        self._message = f"{what}: more than {total} bytes in all"

    def spend(self, count: int) -> None:
        """Raises OverLimit when it is used up."""
        self._left -= count
        if self._left < 0:
            raise OverLimit(self._message, RefusalReason.TOO_LARGE)


@dataclass(frozen=True)
class Call:
    """One request. ``what`` says in messages what was wanted."""

    method: str
    url: str
    registry: str
    path: str
    what: str
    limit: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    push: bool = False
    #: The answer is checked against a digest, so it may come from another host that the registry names.
    anywhere: bool = False
    budget: Budget | None = None
    #: Asked for a token: no credentials of ours are added, no redirect is followed.
    bare: bool = False


@dataclass(frozen=True)
class Reply:
    """An answer, read whole."""

    status: int
    headers: httpx2.Headers
    body: bytes
    url: str


def shown(url: str | httpx2.URL) -> str:
    """A URL for messages: no query, no user information."""
    parsed = httpx2.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii', 'replace')}{parsed.path}"[:300]


def acceptable(call: Call, reply: Reply) -> Reply:
    """The reply, unless its status says that it is none: RegistryUnknown for 401, 403, 429 and 5xx."""
    status, where = reply.status, f"{call.what}: {shown(call.url)}"
    match = _ERROR_CODE.search(reply.body[:ERROR_BODY]) if status >= 400 else None
    code = f" {match[1].decode()}" if match else ""
    if status == 401:
        raise RegistryUnknown(f"{where} does not accept the credentials (401{code}): give others")
    if status == 403:
        raise RegistryUnknown(f"{where} forbids it (403{code}): these credentials may not do this here")
    if status == 429:
        raise RegistryUnknown(f"{where} is asked too often (429)", retry_after(reply.headers))
    if status >= 500:
        raise RegistryUnknown(f"{where} has a fault of its own ({status}{code})", retry_after(reply.headers))
    return reply


def expect(call: Call, reply: Reply, *statuses: int) -> Reply:
    """The reply when its status is one of these. NotInRegistry for 404, RegistryUnknown for any other."""
    if reply.status in statuses:
        return reply
    if reply.status == 404:
        raise NotInRegistry(f"{call.what}: not there ({shown(call.url)} answers 404)")
    raise RegistryUnknown(f"{call.what}: {shown(call.url)} answers {reply.status}, which makes no sense here")


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait as Retry-After says (a number or a date), at most an hour; None without a usable one."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _RETRY_AFTER_MAX)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: a year of eleven digits
        return None
    if when.tzinfo is None:
        return None
    return min(max((when - (now or datetime.now(UTC))).total_seconds(), 0.0), _RETRY_AFTER_MAX)
