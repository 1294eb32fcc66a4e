"""One request to a registry: credentials, redirects, time and size limits. Knows nothing of manifests.

What keeps secrets in: a credential goes to the host it was made for and, when that host names it, to its token server;
it never survives a redirect to another host. URLs are shown without their query (storage back-ends sign there), bodies
and headers of answers never, since a hostile server can echo what it was sent.
"""

from __future__ import annotations

import asyncio
import http.cookiejar
import logging
import ssl
from collections import defaultdict
from typing import Self

import httpx2

from jil.observe.registry.access import Access
from jil.observe.registry.challenge import parse as parse_challenges
from jil.observe.registry.errors import RegistryLied, RegistryUnknown
from jil.observe.registry.exchange import ERROR_BODY, Call, Reply, acceptable, shown
from jil.observe.registry.limits import Limits
from jil.observe.registry.tokens import Tokens
from jil.trust.verdict import RefusalReason

# The library logs every URL at INFO, queries and all, and headers at DEBUG.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Wire:
    """HTTP with limits. ``async with`` closes its connections. Safe to use from many tasks of one loop."""

    def __init__(self, access: Access, limits: Limits, *, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self.access, self.limits = access, limits
        self.requests = 0
        """Requests sent so far, redirects and tokens included."""
        timeout = httpx2.Timeout(
            limits.read_seconds, connect=limits.connect_seconds, pool=limits.request_seconds + limits.evidence_seconds
        )

        def client(with_certificate: bool) -> httpx2.AsyncClient:
            return httpx2.AsyncClient(
                verify=access.tls(with_certificate=with_certificate),
                timeout=timeout,
                limits=httpx2.Limits(max_connections=100, max_keepalive_connections=limits.per_host * 2),
                # The environment's proxies and ~/.netrc are somebody else's; cookies would be one more credential.
                trust_env=False,
                cookies=http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[])),
                headers={"User-Agent": "jil", "Accept-Encoding": "identity"},
                transport=transport,
            )

        self._plain = client(False)
        self._certified = client(True) if access.certificate else self._plain
        self._slots: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(limits.per_host))
        self._tokens = Tokens(access, self._ask_for_token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._plain.aclose()
        await self._certified.aclose()

    async def send(self, call: Call) -> Reply:
        """The answer to a request, whatever its status but 401, 403, 429 and 5xx.

        RegistryUnknown: those, a network error, a time-out, a redirect that is not followed. RegistryLied: over a limit.
        """
        async with self._slots[call.registry]:
            try:
                async with asyncio.timeout(self.limits.request_seconds):
                    reply = await self._authorised(call)
            except TimeoutError:
                raise RegistryUnknown(
                    f"{call.what}: {shown(call.url)} did not finish its answer in {self.limits.request_seconds:g} s"
                ) from None
        return acceptable(call, reply)

    async def _authorised(self, call: Call) -> Reply:
        known = await self._tokens.header(call.registry, call.path, call.push)
        reply = await self._exchange(call, known)
        if reply.status != 401:
            return reply
        challenges = parse_challenges(reply.headers.get_list("www-authenticate"))
        fresh = await self._tokens.answer(challenges, call.registry, call.path, call.push, refused=known)
        return await self._exchange(call, fresh)

    async def _ask_for_token(self, call: Call, authorization: str | None) -> Reply:
        return await self._exchange(call, authorization)

    async def _exchange(self, call: Call, authorization: str | None) -> Reply:
        """One request and its redirects."""
        url, origin = _url(call.url, call), httpx2.URL(call.url)
        for _ in range(self.limits.redirects + 1):
            home = _same_server(url, origin)
            if not home:
                authorization = None  # and it does not come back, should a further redirect lead home
            client = self._certified if home and self._shows_certificate(call) else self._plain
            reply = await self._once(client, call, url, authorization)
            if reply.status not in _REDIRECTS or "location" not in reply.headers:
                return reply
            url = self._follow(call, url, reply.headers["location"])
        raise RegistryUnknown(f"{call.what}: {shown(call.url)} redirects more than {self.limits.redirects} times")

    def _shows_certificate(self, call: Call) -> bool:
        certificate = self.access.certificate
        return certificate is not None and call.registry in certificate.hosts and not call.bare

    def _follow(self, call: Call, url: httpx2.URL, location: str) -> httpx2.URL:
        if call.method not in ("GET", "HEAD") or call.bare:
            raise RegistryUnknown(f"{call.what}: {shown(url)} redirects a {call.method}, which is not followed")
        try:
            target = url.join(location)
        except (httpx2.InvalidURL, ValueError):
            raise RegistryUnknown(f"{call.what}: {shown(url)} redirects to what is no URL") from None
        _url(target, call)
        if url.scheme == "https" and target.scheme != "https":
            raise RegistryUnknown(f"{call.what}: {shown(url)} redirects from https to {shown(target)}: not followed")
        if not call.anywhere and not _same_server(target, httpx2.URL(call.url)):
            raise RegistryUnknown(
                f"{call.what}: {shown(url)} redirects to another server, {shown(target)}; without a digest to check "
                "the answer against that is not followed"
            )
        return target

    async def _once(self, client: httpx2.AsyncClient, call: Call, url: httpx2.URL, authorization: str | None) -> Reply:
        headers = {**call.headers, **({"Authorization": authorization} if authorization else {})}
        self.requests += 1
        try:
            async with client.stream(call.method, url, headers=headers, content=call.content) as response:
                body = await self._read(call, url, response)
                return Reply(response.status_code, response.headers, body, str(response.url))
        except httpx2.TimeoutException:
            raise RegistryUnknown(f"{call.what}: {shown(url)} fell silent: time-out") from None
        except httpx2.ConnectError as error:
            # Its text is from before anything was sent; that of later errors may quote what was.
            raise RegistryUnknown(f"{call.what}: cannot connect to {shown(url)}: {str(error)[:200]}") from None
        except ssl.SSLError as error:
            # What the other side says after the handshake, such as "certificate required" in TLS 1.3, comes bare.
            raise RegistryUnknown(f"{call.what}: {shown(url)}: TLS: {error.reason or 'broken'}") from None
        except (httpx2.HTTPError, OSError) as error:
            raise RegistryUnknown(f"{call.what}: {shown(url)}: broken HTTP ({type(error).__name__})") from None

    async def _read(self, call: Call, url: httpx2.URL, response: httpx2.Response) -> bytes:
        if call.method == "HEAD":
            return b""
        good = 200 <= response.status_code < 300
        limit = call.limit if good else ERROR_BODY
        too_large = f"{call.what}: {shown(url)} answers with more than the {limit} bytes that are allowed"
        announced = response.headers.get("content-length", "")
        if good and announced.isascii() and announced.isdigit() and int(announced[:19]) > limit:
            raise RegistryLied(too_large, RefusalReason.TOO_LARGE)
        chunks, size = [], 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > limit:
                if good:
                    raise RegistryLied(too_large, RefusalReason.TOO_LARGE)
                break  # the status says enough
            if good and call.budget:
                call.budget.spend(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)


def _url(url: str | httpx2.URL, call: Call) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise RegistryUnknown(f"{call.what}: the registry's address is no URL") from None
    if parsed.scheme not in ("https", "http") or not parsed.host or parsed.userinfo:
        raise RegistryUnknown(
            f"{call.what}: {shown(parsed)} is not asked: wanted are http(s) URLs without user information"
        )
    return parsed


def _same_server(one: httpx2.URL, other: httpx2.URL) -> bool:
    def port(url: httpx2.URL) -> int:
        return url.port or (443 if url.scheme == "https" else 80)

    return (one.scheme, one.host, port(one)) == (other.scheme, other.host, port(other))
