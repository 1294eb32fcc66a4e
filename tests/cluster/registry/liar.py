"""An HTTP server on loopback that does what a hostile or broken registry would; every test scripts its own."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from jil.observe.registry import Access, media

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Liar:
    """``routes``: exact path -> handler; everything else is 404. ``seen``: all requests, in order."""

    host: str = ""
    routes: dict[str, Handler] = field(default_factory=dict)
    seen: list[web.BaseRequest] = field(default_factory=list)

    @property
    def repository(self) -> str:
        return f"{self.host}/victim/app"

    def access(self, **more: object) -> Access:
        """Plain HTTP to this server, everything else as given."""
        return Access(endpoints={self.host: f"http://{self.host}"}, **more)  # type: ignore[arg-type]

    def serve(self, path: str, body: bytes, content_type: str = "application/octet-stream", **headers: str) -> None:
        """An honest answer."""
        self.at(path, lambda _: _answer(web.Response(body=body, headers={"Content-Type": content_type, **headers})))

    def at(self, path: str, handler: Handler) -> None:
        """``path`` comes after ``/v2/victim/app/`` when it does not begin with a slash."""
        self.routes[path if path.startswith("/") else f"/v2/victim/app/{path}"] = handler

    def image(self, content: bytes | None = None, content_type: str = media.OCI_MANIFEST) -> str:
        """Serve a manifest, by default a small honest one, under its digest; returns the reference by digest."""
        body = MANIFEST if content is None else content
        self.serve(f"manifests/{media.digest_of(body)}", body, content_type)
        return f"{self.repository}@{media.digest_of(body)}"

    def authorizations(self) -> list[str | None]:
        """The Authorization header of every request."""
        return [request.headers.get("Authorization") for request in self.seen]


MANIFEST = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
    b'"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:'
    + hashlib.sha256(b"{}").hexdigest().encode()
    + b'","size":2},"layers":[]}'
)


async def _answer(response: web.StreamResponse) -> web.StreamResponse:
    return response


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Liar]:
    """A server of the test's own."""
    liar = Liar()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        liar.seen.append(request)
        handler = liar.routes.get(request.path)
        return await handler(request) if handler else web.Response(status=404)  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    liar.host = "127.0.0.1:" + str(runner.addresses[0][1])
    try:
        yield liar
    finally:
        await runner.cleanup()
