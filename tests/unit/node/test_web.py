"""The HTTP frame: error bodies, limits, health paths, draining."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import BaseModel, ConfigDict

from jil.node import VERSION, logs
from jil.node import web as frame_module
from jil.node.problem import Problem, unavailable
from jil.node.rates.model import QuoteRequest
from jil.node.web import BODY_LIMIT_BYTES, Frame, application, json_answer, read_body

Client = TestClient[Any, Any]


class Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    number: int


@contextlib.asynccontextmanager
async def serving(*, reasons: tuple[str, ...] = (), ok: bool = True) -> AsyncIterator[tuple[Client, Frame]]:
    frame = Frame(name="test", reasons_not_ready=lambda: reasons, health=lambda: (ok, {"part": {"ok": ok}}))
    app = application(frame)

    async def echo(request: web.Request) -> web.Response:
        return json_answer(await read_body(request, Body))

    async def quote(request: web.Request) -> web.Response:
        return json_answer(await read_body(request, QuoteRequest))

    async def correlation(_: web.Request) -> web.Response:
        return web.Response(text=logs.correlation_id())

    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError("the secret inside")

    async def busy(_: web.Request) -> web.Response:
        raise unavailable("database", "too busy", retry_after=3)

    app.router.add_post("/echo", echo)
    app.router.add_post("/quote", quote)
    app.router.add_get("/correlation", correlation)
    app.router.add_get("/broken", broken)
    app.router.add_get("/busy/{id}", busy)
    async with TestClient(TestServer(app)) as client:
        yield client, frame


async def problem_of(response: Any) -> dict[str, Any]:
    document: dict[str, Any] = await response.json(content_type="application/problem+json")
    assert document["status"] == response.status
    assert document["remedy"]
    return document


async def test_a_good_body_reaches_the_handler() -> None:
    async with serving() as (client, _), client.post("/echo", json={"number": 7}) as response:
        assert (response.status, await response.json()) == (200, {"number": 7})
        assert response.headers["Server"] == f"jil-test/{VERSION}"


async def test_wrong_fields_are_listed_and_what_was_sent_is_not_repeated() -> None:
    async with serving() as (client, _), client.post("/echo", json={"number": "s3cret", "extra": 1}) as response:
        problem = await problem_of(response)
    assert response.status == 422
    assert {error["field"] for error in problem["errors"]} == {"number", "extra"}
    assert problem["detail"] == "wrong or missing: extra, number"
    assert problem["instance"] == "/echo"
    assert "s3cret" not in str(problem)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": "0"},
        {"rate": "0.000"},
        {"rate": "-1"},
        {"rate": 1.5},
        {"rate": "1e3"},
        {"rate": "01.5"},
        {"rate": "1."},
        {"pair": "CHF-CHF"},
        {"pair": "CHFEUR"},
        {"pair": "chf-eur"},
        {"validForSeconds": 0},
        {"validForSeconds": 86_401},
        {"more": 1},
    ],
)
async def test_a_wrong_quote_is_refused_with_the_field_that_is_wrong(wrong: dict[str, object]) -> None:
    body = {"pair": "CHF-EUR", "rate": "1.0423"} | wrong
    async with serving() as (client, _), client.post("/quote", json=body) as response:
        assert response.status == 422
        assert [error["field"] for error in (await problem_of(response))["errors"]] == list(wrong)


async def test_a_body_that_is_too_large_is_refused() -> None:
    data = b'{"number": ' + b" " * BODY_LIMIT_BYTES + b"1}"
    headers = {"Content-Type": "application/json"}
    async with serving() as (client, _), client.post("/echo", data=data, headers=headers) as response:
        assert response.status == 413
        assert (await problem_of(response))["type"] == "urn:jil:problem:body-too-large"


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_module, "BODY_SECONDS", 0.02)
    async with serving() as (client, _):
        server = client.server
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{")
        assert b"408" in await reader.readline()
        writer.close()


async def test_an_unexpected_error_tells_nothing_but_where_to_look(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as (client, _), client.get("/broken") as response:
        problem = await problem_of(response)
    assert response.status == 500
    assert "secret" not in str(problem)
    assert problem["correlationId"] == response.headers["X-Correlation-Id"]
    assert "the secret inside" in caplog.text


async def test_a_refusal_that_may_be_repeated_says_when() -> None:
    async with serving() as (client, _), client.get("/busy/7") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "3")
        assert (await problem_of(response))["type"] == "urn:jil:problem:database-unavailable"


async def test_a_callers_correlation_id_is_taken_over_when_it_is_plain() -> None:
    async with serving() as (client, _):
        for offered, taken in (("order-7", True), ("x" * 65, False), ("a b", False)):
            async with client.get("/correlation", headers={"X-Correlation-Id": offered}) as response:
                assert (await response.text() == offered) is taken
                assert response.headers["X-Correlation-Id"] == await response.text()


async def test_an_unknown_path_and_a_wrong_method_are_problems_too() -> None:
    async with serving() as (client, _):
        async with client.get("/none") as response:
            assert (await problem_of(response))["type"] == "urn:jil:problem:no-such-path"
        async with client.get("/echo") as response:
            problem = await problem_of(response)
            assert (response.status, problem["detail"]) == (405, "allowed: POST")


async def test_the_health_paths_answer_as_kubernetes_and_the_edge_expect_it() -> None:
    async with serving() as (client, _):
        for path in ("/livez", "/readyz", "/healthz"):
            async with client.get(path) as response:
                assert response.status == 200
    async with serving(reasons=("database: away",), ok=False) as (client, _):
        async with client.get("/livez") as response:
            assert response.status == 200, "a dependency that is away must not restart the pod"
        async with client.get("/readyz") as response:
            assert (response.status, await response.text()) == (503, "database: away\n")
        async with client.get("/healthz") as response:
            assert (response.status, await response.json()) == (503, {"ok": False, "part": {"ok": False}})


async def test_a_draining_program_is_alive_and_not_ready() -> None:
    async with serving() as (client, frame):
        frame.draining = True
        async with client.get("/readyz") as response:
            assert (response.status, await response.text()) == (503, "shutting down\n")
        async with client.get("/livez") as response:
            assert response.status == 200


async def test_requests_are_counted_by_route_and_not_by_path() -> None:
    async with serving() as (client, _):
        for path in ("/busy/1", "/busy/2", "/none/1", "/none/2"):
            async with client.get(path):
                pass
        for method in ("PROPFIND", "MKCOL"):
            async with client.request(method, "/none"):
                pass
        async with client.get("/metrics") as response:
            text = await response.text()
    assert 'jil_service_requests_total{method="GET",route="/busy/{id}",status="503"} 2.0' in text
    assert 'jil_service_requests_total{method="GET",route="unknown",status="404"} 2.0' in text
    assert 'jil_service_requests_total{method="other",route="unknown",status="404"} 2.0' in text
    assert "/none/1" not in text


def test_a_problem_has_the_members_of_rfc_9457_and_its_own() -> None:
    problem = Problem(409, "exists", "It exists", detail="alice exists", remedy="choose another", more={"id": "alice"})
    assert problem.body(instance="/x", correlation_id="c") == {
        "type": "urn:jil:problem:exists",
        "title": "It exists",
        "status": 409,
        "detail": "alice exists",
        "remedy": "choose another",
        "instance": "/x",
        "correlationId": "c",
        "id": "alice",
    }
