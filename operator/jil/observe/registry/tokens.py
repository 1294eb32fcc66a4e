"""Authorization headers for registries: Basic, and bearer tokens fetched, kept and renewed."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx2

from jil.observe.registry.access import Access, Credential
from jil.observe.registry.challenge import Challenge
from jil.observe.registry.errors import RegistryUnknown
from jil.observe.registry.exchange import Call, Reply, shown

_PRINTABLE = re.compile(r"[!-~]{1,16384}")
_REPLY_BYTES = 64 * 1024
_LIFETIME_DEFAULT, _LIFETIME_MAX = 60.0, 3600.0
"""Seconds. The token specification gives a token without expires_in a minute."""
_MARGIN = 10.0
"""Seconds before its end from which a token is not used any more, or a fifth of its life when that is less."""

_Key = tuple[str, str, bool]


@dataclass(frozen=True)
class _Kept:
    header: str
    until: float | None


class Tokens:
    """The headers in use, by (registry, repository, push). Many tasks that need the same token fetch it once."""

    def __init__(
        self,
        access: Access,
        ask: Callable[[Call, str | None], Awaitable[Reply]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access, self._ask, self._clock = access, ask, clock
        self._kept: dict[_Key, _Kept] = {}
        self._challenges: dict[str, Sequence[Challenge]] = {}
        self._locks: dict[_Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def header(self, registry: str, path: str, push: bool) -> str | None:
        """What to send at once, or None: what answered the last 401 of this registry, for this repository."""
        known = self._known((registry, path, push))
        challenges = self._challenges.get(registry)
        if known is not None or challenges is None:
            return known
        try:
            return await self.answer(challenges, registry, path, push, refused=None)
        except RegistryUnknown:
            return None  # this repository may be open to everybody; the registry will say

    async def answer(
        self, challenges: Sequence[Challenge], registry: str, path: str, push: bool, *, refused: str | None
    ) -> str:
        """The header that answers a 401; ``refused`` is the one that got it. RegistryUnknown: there is none."""
        key = (registry, path, push)
        async with self._locks[key]:
            known = self._known(key)
            if known is not None and known != refused:
                return known  # another task was quicker
            credential = self._access.credentials.find(registry, path)
            for challenge in challenges:
                if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                    kept = await self._bearer(challenge, key, credential)
                    break
                if challenge.scheme == "basic":
                    kept = self._basic(registry, credential, refused)
                    break
            else:
                raise RegistryUnknown(f"{registry} answers 401 without naming a way to log in that is known here")
            self._kept[key], self._challenges[registry] = kept, challenges
            return kept.header

    def _known(self, key: _Key) -> str | None:
        kept = self._kept.get(key)
        if kept is None or (kept.until is not None and self._clock() >= kept.until):
            return None
        return kept.header

    def _basic(self, registry: str, credential: Credential | None, refused: str | None) -> _Kept:
        if credential is None:
            raise RegistryUnknown(f"{registry} wants user and password, and none are known for it: add a pull secret")
        if credential.basic == refused:
            raise RegistryUnknown(f"{registry} does not accept user and password of {credential.user!r:.80}")
        return _Kept(credential.basic, None)

    async def _bearer(self, challenge: Challenge, key: _Key, credential: Credential | None) -> _Kept:
        registry, path, push = key
        if credential and credential.registry_token:
            return _Kept(f"Bearer {credential.registry_token}", None)
        realm = self._realm(challenge.parameters["realm"], registry, credential)
        # Our own scope, not the one that the registry names: no more rights than the task needs.
        query = {"scope": f"repository:{path}:{'pull,push' if push else 'pull'}"}
        if service := challenge.parameters.get("service"):
            query["service"] = service
        what = f"token for {registry}/{path}"
        call = Call("GET", str(realm.copy_merge_params(query)), registry, path, what, _REPLY_BYTES, bare=True)
        authorization = credential.basic if credential else None
        if credential and credential.identity_token:
            form = {
                **query,
                "grant_type": "refresh_token",
                "client_id": "jil",
                "refresh_token": credential.identity_token,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            body = urlencode(form).encode()
            call = Call("POST", str(realm), registry, path, what, _REPLY_BYTES, headers, body, bare=True)
            authorization = None
        asked = self._clock()
        reply = await self._ask(call, authorization)
        if reply.status in (400, 401, 403):
            who = "the credentials" if credential else "us without credentials"
            raise RegistryUnknown(f"{what}: {shown(realm)} refuses {who} ({reply.status})")
        if reply.status != 200:
            raise RegistryUnknown(f"{what}: {shown(realm)} answers {reply.status}")
        token, lifetime = _token(reply.body, f"{what}: {shown(realm)}")
        return _Kept(f"Bearer {token}", asked + lifetime - min(_MARGIN, lifetime / 5))

    def _realm(self, text: str, registry: str, credential: Credential | None) -> httpx2.URL:
        base = httpx2.URL(self._access.base_url(registry))
        try:
            realm = httpx2.URL(text)
            host = realm.netloc.decode("ascii")
        except (httpx2.InvalidURL, UnicodeDecodeError):
            raise RegistryUnknown(f"{registry} names a token server that is no URL") from None
        # Without TLS only beside a registry that itself is reached without it.
        if realm.scheme not in ("https", base.scheme) or not realm.host or realm.userinfo:
            raise RegistryUnknown(
                f"{registry} names the token server {realm.scheme}://{host[-200:]}, which is not asked: "
                "wanted is an https URL without user information"
            )
        ours = host == base.netloc.decode("ascii") or self._access.may_see_credentials(registry, host)
        if credential and not ours:
            raise RegistryUnknown(
                f"{registry} names {host:.200} as its token server, and that host is not allowed to see the "
                f"credentials of {registry}: if it is right, allow it as a token host"
            )
        return realm


def _token(body: bytes, where: str) -> tuple[str, float]:
    """Token and its life in seconds."""
    try:
        answer = json.loads(body)
        token = answer.get("token") or answer.get("access_token")
        lifetime = answer.get("expires_in", _LIFETIME_DEFAULT)
    except (ValueError, AttributeError, RecursionError):
        token, lifetime = None, 0
    if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
        raise RegistryUnknown(f"{where} gives no usable token")
    if type(lifetime) not in (int, float) or not lifetime > 0:
        lifetime = _LIFETIME_DEFAULT
    return token, min(float(lifetime), _LIFETIME_MAX)
