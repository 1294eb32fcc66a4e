"""Reading a node's health endpoint: bounded, and an unreadable answer is an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from jil.observe.health import MAX_BODY, HealthPoller, parse_health, read_health
from tests.sim.health import healthy

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_healthy_body_is_read() -> None:
    reading = parse_health(healthy(7), NOW)
    assert reading.error is None
    assert reading.chain is not None
    assert (reading.chain.height, reading.chain.voting_power) == (7, 10)
    assert all(c.ok for c in reading.components.values())


@pytest.mark.parametrize(
    "body",
    [
        {"database": "up"},
        {"database": {}},
        {"database": {"ok": True, "version": ["15"]}},
        {"chain": {"ok": True, "height": "high"}},
        {"chain": {"ok": True, "height": float("inf")}},
        {"chain": {"ok": True, "height": 2**64}},
        {"chain": {"ok": True, "height": -1}},
        {"chain": {"ok": True, "height": True}},
        {"chain": 3},
    ],
)
def test_a_malformed_body_is_a_reading_with_an_error(body: dict[str, Any]) -> None:
    assert parse_health(body, NOW).error is not None


def test_a_node_without_a_validator_has_no_chain() -> None:
    assert parse_health({**healthy(), "chain": None}, NOW).chain is None


class Endpoint:
    """A real HTTP server whose answer a test sets."""

    def __init__(self) -> None:
        self.answer = web.json_response(healthy())
        self.calls = 0
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._handle)
        self.server = TestServer(app)

    async def _handle(self, _: web.Request) -> web.Response:
        self.calls += 1
        return web.Response(
            body=self.answer.body,
            status=self.answer.status,
            headers={"Location": self.answer.headers.get("Location", "")},
        )

    @property
    def url(self) -> str:
        return str(self.server.make_url("/v1/health"))


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    await made.server.start_server()
    yield made
    await made.server.close()


async def test_a_good_answer_is_a_reading(endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession() as session:
        assert (await read_health(session, endpoint.url, lambda: NOW)).error is None


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=503),
        web.Response(status=302, headers={"Location": "http://elsewhere.invalid/"}),
        web.Response(text="not json"),
        web.Response(text="[1, 2]"),
        web.Response(text='"' + "x" * (MAX_BODY + 1) + '"'),
        web.Response(text="[" * (MAX_BODY - 1)),
    ],
    ids=["error", "redirect", "garbage", "list", "huge", "deep"],
)
async def test_any_other_answer_is_a_reading_with_an_error(endpoint: Endpoint, answer: web.Response) -> None:
    endpoint.answer = answer
    async with aiohttp.ClientSession() as session:
        assert (await read_health(session, endpoint.url, lambda: NOW)).error is not None


async def test_nobody_listening_is_a_reading_with_an_error(endpoint: Endpoint) -> None:
    url = endpoint.url
    await endpoint.server.close()
    async with aiohttp.ClientSession() as session:
        assert (await read_health(session, url, lambda: NOW)).error is not None


async def test_the_poller_tells_changes_and_not_heights(endpoint: Endpoint) -> None:
    changes: list[tuple[str, str]] = []
    async with aiohttp.ClientSession() as session:
        poller = HealthPoller(
            session=session, now=lambda: NOW, on_change=changes.append, url=lambda namespace, name: endpoint.url
        )
        poller.watch(("ns", "n"))
        await poller._poll(("ns", "n"))
        endpoint.answer = web.json_response(healthy(43))
        await poller._poll(("ns", "n"))
        assert changes == [("ns", "n")], "the first reading; a new height alone is a sample"
        assert poller.highest({("ns", "n")}) == 43
        endpoint.answer = web.Response(status=503)
        await poller._poll(("ns", "n"))
        assert len(changes) == 2
        assert poller.highest({("ns", "n")}) is None, "what cannot be read has no height"
        poller.forget(("ns", "n"))
        assert poller.reading(("ns", "n")) is None


async def test_one_node_that_lies_about_its_height_makes_no_other_look_late(endpoint: Endpoint) -> None:
    heights = {"a": 100, "b": 101, "liar": 10**12}
    async with aiohttp.ClientSession() as session:
        poller = HealthPoller(
            session=session, now=lambda: NOW, on_change=lambda key: None, url=lambda namespace, name: endpoint.url
        )
        for name, height in heights.items():
            endpoint.answer = web.json_response(healthy(height))
            poller.watch(("ns", name))
            await poller._poll(("ns", name))
        assert poller.highest({("ns", name) for name in heights}) == 101


async def test_an_answer_that_arrives_in_pieces_is_read_whole() -> None:
    async def in_pieces(request: web.Request) -> web.StreamResponse:
        text = web.json_response({**healthy(7), "padding": "x" * 10_000}).body
        assert isinstance(text, bytes)
        response = web.StreamResponse()
        response.content_length = len(text)
        await response.prepare(request)
        for start in range(0, len(text), 4000):
            await response.write(text[start : start + 4000])
            await asyncio.sleep(0.01)
        return response

    app = web.Application()
    app.router.add_get("/", in_pieces)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        reading = await read_health(session, str(server.make_url("/")), lambda: NOW)
    assert reading.error is None


async def test_i2_the_answer_of_another_node_is_none(endpoint: Endpoint) -> None:
    """Two Services that lead to one pod would count as two nodes that agree about who signs."""
    endpoint.answer = web.json_response({**healthy(), "nodeId": "CH-ZUG-01"})
    wanted = {("ns", "a"): "CH-ZUG-01", ("ns", "b"): "CH-ZUG-02"}
    async with aiohttp.ClientSession() as session:
        poller = HealthPoller(
            session=session,
            now=lambda: NOW,
            on_change=lambda key: None,
            url=lambda namespace, name: endpoint.url,
            expects=wanted.get,
        )
        for key in wanted:
            poller.watch(key)
            await poller._poll(key)
        own, strange = poller.reading(("ns", "a")), poller.reading(("ns", "b"))
    assert own is not None
    assert own.error is None
    assert strange is not None
    assert strange.chain is None
    assert strange.components == {}
    assert "answered for node 'CH-ZUG-01', not for CH-ZUG-02" in (strange.error or "")
    assert poller.highest({("ns", "b")}) is None


async def test_a_reading_that_the_end_of_a_leadership_broke_off_is_made_by_the_next_one() -> None:
    asked, arrived = 0, asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        arrived.set()
        await asyncio.Event().wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/", never)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("/"))
        poller = HealthPoller(
            session=session,
            now=lambda: NOW,
            on_change=lambda key: None,
            url=lambda namespace, name: url,
            interval=0.01,
        )
        poller.watch(("ns", "n"))
        for leadership in (1, 2):
            arrived.clear()
            polling = asyncio.create_task(poller.run())
            async with asyncio.timeout(10):
                await arrived.wait()
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
            assert asked == leadership


async def test_a_node_that_does_not_answer_delays_no_other_ones_turn(endpoint: Endpoint) -> None:
    now = 0.0

    async def tick(seconds: float) -> None:
        nonlocal now
        now += seconds
        await asyncio.sleep(0.01)

    release, asked = asyncio.Event(), 0

    async def never(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        await release.wait()
        return web.Response(status=503)

    app = web.Application()
    app.router.add_get("/", never)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        urls = {"a": endpoint.url, "stuck": str(server.make_url("/"))}
        poller = HealthPoller(
            session=session,
            now=lambda: NOW,
            on_change=lambda key: None,
            url=lambda namespace, name: urls[name],
            clock=lambda: now,
            sleep=tick,
        )
        for name in urls:
            poller.watch(("ns", name))
        polling = asyncio.create_task(poller.run())
        async with asyncio.timeout(2.5):  # less than the deadline of a reading
            while endpoint.calls < 4:
                await asyncio.sleep(0.01)
        assert asked == 1, "it is not asked twice at a time"
        release.set()
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
