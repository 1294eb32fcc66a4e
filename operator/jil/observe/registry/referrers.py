"""The list of what is attached to an image, over its pages."""

from __future__ import annotations

import re
from collections.abc import Iterable

import httpx2

from jil.observe.registry.errors import OverLimit, RegistryLied
from jil.observe.registry.exchange import Reply
from jil.observe.registry.limits import Limits
from jil.observe.registry.media import Descriptor
from jil.trust.verdict import RefusalReason

_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;[^,]*\brel\s*=\s*"?next"?', re.IGNORECASE)


class Listing:
    """Descriptors without repetition, bounded in number and in pages."""

    def __init__(self, image: str, limits: Limits) -> None:
        self._image, self._limits = image, limits
        self._found: dict[str, Descriptor] = {}
        self.pages = 0

    def add(self, descriptors: Iterable[Descriptor]) -> None:
        """Take in one page. OverLimit: too many entries, too many pages."""
        self.pages += 1
        for entry in descriptors:
            self._found.setdefault(entry.digest, entry)
        if len(self._found) > self._limits.referrers:
            raise OverLimit(
                f"{self._image} has more than {self._limits.referrers} attachments (signatures, SBOMs, ...): "
                "nobody reads that many; delete what is not needed",
                RefusalReason.TOO_MANY_SIGNATURES,
            )
        if self.pages > self._limits.referrer_pages:
            raise OverLimit(
                f"{self._image}: the list of attachments has more than {self._limits.referrer_pages} pages",
                RefusalReason.TOO_MANY_SIGNATURES,
            )

    @property
    def found(self) -> tuple[Descriptor, ...]:
        """What was listed, in the order of the list."""
        return tuple(self._found.values())


def next_page(reply: Reply, prefix: str, digest: str) -> str | None:
    """URL of the page after this one (header Link, RFC 8288), or None. RegistryLied: it leads to another list."""
    match = _NEXT.search(reply.headers.get("link", "")[:8192])
    if not match:
        return None
    wanted = httpx2.URL(f"{prefix}referrers/{digest}")
    try:
        target = wanted.join(match[1])
    except (httpx2.InvalidURL, ValueError):
        target = httpx2.URL("")
    # Only the query is taken over: behind proxies the rest is often wrong, and it could lead anywhere.
    if target.path != wanted.path:
        raise RegistryLied(f"{prefix}referrers/{digest}: the next page is said to be elsewhere")
    return str(wanted.copy_with(query=target.query))
