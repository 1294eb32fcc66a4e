"""A token server as registries have them: basic auth in, a signed token (JWT, ES256) that distribution verifies out."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from jil.observe.registry import Access, Credential, Credentials
from testbed.certificates import Authority
from tests.cluster.registry.rig import Registry


class TokenServer:
    """HTTPS on a port of its own, so a host of its own: ``access`` allows it to see the credential."""

    def __init__(self, folder: Path, user: str, password: str) -> None:
        folder.mkdir()
        self._authority = Authority(folder, "token rig")
        self.ca = self._authority.pair.certificate
        self._key = load_pem_private_key(self._authority.pair.key.read_bytes(), None)
        self._user, self.password = user, password
        self._given = password
        self.lifetime = 300
        self.scopes: list[str] = []
        self.realm = ""

    def access(self, registry: Registry) -> Access:
        """To ``registry`` with the user's credential and these tokens."""
        assert registry.access.ca
        return dataclasses.replace(
            registry.access,
            credentials=Credentials({registry.host: Credential(self._user, self._given)}),
            ca=registry.access.ca + self.ca.read_text(),
            token_hosts=frozenset({self.realm.split("/")[2]}),
        )

    async def __aenter__(self) -> Self:
        self._stack = contextlib.AsyncExitStack()
        await self._stack.enter_async_context(self._serving())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        pair = self._authority.server("tokens", ["IP:127.0.0.1"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.realm = f"https://127.0.0.1:{runner.addresses[0][1]}/token"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        wanted = "Basic " + base64.b64encode(f"{self._user}:{self.password}".encode()).decode()
        if request.headers.get("Authorization") != wanted:
            return web.Response(status=401)
        scope = request.query["scope"]
        self.scopes.append(scope)
        kind, name, actions = scope.split(":")
        now = int(time.time())
        claims = {
            "iss": "rig",
            "sub": self._user,
            "aud": request.query["service"],
            "nbf": now - 5,
            "iat": now,
            "exp": now + max(self.lifetime, 60),
            "jti": str(len(self.scopes)),
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }
        return web.json_response({"token": self._signed(claims), "expires_in": self.lifetime})

    def _signed(self, claims: Mapping[str, Any]) -> str:
        certificate = x509.load_pem_x509_certificate(self.ca.read_bytes()).public_bytes(Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(certificate).decode()]}
        text = ".".join(_url64(json.dumps(part).encode()) for part in (header, claims))
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_url64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _url64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
