"""The HTTP frame of the programs in a node: middlewares, health paths, metrics, start and graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, ValidationError

from jil.node import VERSION, logs
from jil.node.problem import Problem, from_http, invalid_request, malformed_body, unexpected
from jil.node.settings import Listen

log = logging.getLogger(__name__)
access_log = logging.getLogger("jil.node.access")

#: No operation takes more; a larger body is refused before it is read.
BODY_LIMIT_BYTES = 16 * 1024
#: A body must have arrived by then, or its connection is given back to those who send theirs.
BODY_SECONDS = 5.0
#: Idle connections, also those that send no request or a never-ending header, are closed after this time.
KEEPALIVE_SECONDS = 75.0

CORRELATION_HEADER = "X-Correlation-Id"
_CORRELATION = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
#: A caller may invent methods; each would be a new series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics", "/v1/health"})

Model = TypeVar("Model", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Frame:
    """What the frame asks of a program.

    ``reasons_not_ready``: empty when requests may come. ``health``: whether all is well, and the /healthz document.
    """

    name: str
    reasons_not_ready: Callable[[], Sequence[str]]
    health: Callable[[], tuple[bool, Mapping[str, Any]]]
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    draining: bool = False


def application(frame: Frame) -> web.Application:
    """An aiohttp application with the frame's middlewares and /livez, /readyz, /healthz, /metrics."""
    requests = Counter(
        "jil_service_requests",
        "HTTP requests by route and status.",
        ["route", "method", "status"],
        registry=frame.registry,
    )
    seconds = Histogram(
        "jil_service_request_seconds",
        "Time to answer, by route.",
        ["route"],
        registry=frame.registry,
        buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    )

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        offered = request.headers.get(CORRELATION_HEADER, "")
        correlation = offered if _CORRELATION.fullmatch(offered) else str(uuid.uuid4())
        with logs.correlated(correlation):
            response = await _answer(request, handler, correlation)
            response.headers[CORRELATION_HEADER] = correlation
            response.headers["Server"] = f"jil-{frame.name}/{VERSION}"
            took = time.monotonic() - started
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "unknown"
            method = request.method if request.method in _METHODS else "other"
            requests.labels(route, method, response.status).inc()
            seconds.labels(route).observe(took)
            if route not in _QUIET_PATHS:
                fields = {
                    "method": request.method,
                    "route": route,
                    "status": response.status,
                    "ms": round(took * 1e3, 1),
                }
                access_log.info("%s %s %s", request.method, route, response.status, extra={"fields": fields})
        return response

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reasons = ["shutting down"] if frame.draining else list(frame.reasons_not_ready())
        if reasons:
            return web.Response(status=503, text="".join(f"{reason}\n" for reason in reasons))
        return web.Response(text="ok\n")

    async def healthz(_: web.Request) -> web.Response:
        ok, document = frame.health()
        return web.json_response({"ok": ok, **document}, status=200 if ok else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(frame.registry), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application(middlewares=[handle], client_max_size=BODY_LIMIT_BYTES)
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", metrics)
    return app


async def _answer(request: web.Request, handler: Handler, correlation: str) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response(instance=request.path, correlation_id=correlation)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return from_http(error).response(instance=request.path, correlation_id=correlation)
    except Exception:
        log.exception("unexpected error in %s %s", request.method, request.path)
        return unexpected().response(instance=request.path, correlation_id=correlation)


async def read_body(request: web.Request, kind: type[Model]) -> Model:
    """The request's JSON body as ``kind``. Raises Problem 400, 408, 413, 415 or 422; never repeats what was sent."""
    if request.content_type != "application/json":
        raise Problem(
            415,
            "not-json",
            "The request body is not declared as JSON",
            detail="the Content-Type header is not application/json",
            remedy="send the header `Content-Type: application/json`",
        )
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise Problem(
            408,
            "body-too-slow",
            "The request body did not arrive in time",
            detail=f"not complete after {BODY_SECONDS:g} s",
            remedy="send the request again",
        ) from None
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False, include_context=False)
        if any(item["type"] == "json_invalid" for item in errors):
            raise malformed_body(errors[0]["msg"]) from None
        raise invalid_request(
            [{"field": ".".join(str(p) for p in e["loc"]) or "(body)", "message": e["msg"]} for e in errors[:20]]
        ) from None


def json_answer(document: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A model as JSON, by its aliases."""
    return web.Response(
        status=status,
        body=document.model_dump_json(by_alias=True).encode(),
        content_type="application/json",
        headers=headers,
    )


@contextlib.asynccontextmanager
async def serving(app: web.Application, listen: Listen) -> AsyncIterator[web.AppRunner]:
    """Serve ``app`` for the time of the block; then no new requests, and those under way get ``stop_seconds``."""
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=KEEPALIVE_SECONDS, shutdown_timeout=listen.stop_seconds
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, listen.host, listen.port).start()
        log.info("listening", extra={"fields": {"host": listen.host, "port": listen.port}})
        yield runner
    finally:
        await runner.cleanup()


async def until_stopped(frame: Frame, listen: Listen) -> None:
    """Wait for SIGTERM or SIGINT, then let /readyz refuse for ``drain_seconds`` while requests are still served."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    frame.draining = True
    log.info("asked to stop: draining for %g s, then finishing what is under way", listen.drain_seconds)
    await asyncio.sleep(listen.drain_seconds)


def dependency(result: Any) -> dict[str, Any]:
    """One dependency's part of a /healthz document, from a monitor's Result."""
    part: dict[str, Any] = {"ok": result.ok, "error": result.error}
    if result.age is not None:
        part["checkedSecondsAgo"] = round(result.age, 1)
    version = getattr(result.value, "version", None)
    if version is not None:
        part["version"] = version
    return part
