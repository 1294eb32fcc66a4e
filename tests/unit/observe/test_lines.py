"""A connection to a health endpoint stays open, but never longer than it leads to whom it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from jil.observe import health
from jil.observe.health import HealthPoller
from jil.observe.lines import AGE_SECONDS, Lines
from jil.plan.health import HealthReading

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KEY = ("ns", "n")


class Peer:
    """A health endpoint that remembers from which ports it was asked, and as whom."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.hosts: list[str] = []
        self.hang: asyncio.Event | None = None
        self.server = TestServer(web.Application())
        self.server.app.router.add_get("/v1/health", self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        self.ports.append(request.transport.get_extra_info("peername")[1])
        self.hosts.append(request.headers["Host"])
        if self.hang is not None:
            await self.hang.wait()
        return web.json_response({"nodeId": "CH-ZUG-01"})


class Rig:
    """One node's endpoint and the poller that reads it; ``who``, ``clock`` and ``url`` are the test's to change."""

    def __init__(self, peer: Peer, session: aiohttp.ClientSession, limit: int) -> None:
        self.peer, self.who, self.clock = peer, "pod-1", 1000.0
        self.url = f"http://127.0.0.1:{peer.server.port}/v1/health"
        self.lines = Lines(who=lambda key: self.who, clock=lambda: self.clock, limit=limit)
        self.kept = self.lines.session()
        self.poller = HealthPoller(
            session=session,
            now=lambda: NOW,
            on_change=lambda key: None,
            url=lambda namespace, name: self.url,
            lines=(self.lines, self.kept),
        )
        self.poller.watch(KEY)

    async def read(self, times: int = 1, key: tuple[str, str] = KEY) -> HealthReading:
        self.poller.watch(key)
        for _ in range(times):
            await self.poller._poll(key)
        found = self.poller.reading(key)
        assert found is not None
        return found


@asynccontextmanager
async def rig(limit: int = 10) -> AsyncIterator[Rig]:
    peer = Peer()
    await peer.server.start_server()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        made = Rig(peer, session, limit)
        async with made.kept:
            yield made
    if peer.hang is not None:
        peer.hang.set()
    await peer.server.close()


async def test_polls_of_a_node_share_a_connection_and_are_sent_to_its_address() -> None:
    async with rig() as made:
        assert (await made.read(3)).error is None
        assert len(set(made.peer.ports)) == 1
        assert set(made.peer.hosts) == {f"127.0.0.1:{made.peer.server.port}"}


async def test_another_pod_behind_the_address_is_reached_by_another_connection() -> None:
    async with rig() as made:
        await made.read(2)
        made.who = "pod-2"
        await made.read(2)
        assert len(set(made.peer.ports)) == 2


async def test_no_connection_is_used_for_more_than_a_minute() -> None:
    async with rig() as made:
        await made.read()
        made.clock += AGE_SECONDS
        await made.read()
        assert len(set(made.peer.ports)) == 2


async def test_another_address_is_another_connection() -> None:
    async with rig() as made:
        await made.read()
        made.url = made.url.replace("127.0.0.1", "127.0.0.2")
        error = (await made.read()).error or ""
        assert "127.0.0.2" in error, "nobody listens there, and the old connection was not taken"
        assert ".line" not in error, "a name that changes every minute would be written into the status every minute"


async def test_i2_who_decides_on_an_answer_reads_it_over_a_connection_of_its_own() -> None:
    async with rig() as made:
        await made.read(2)
        await made.poller.refresh([KEY])
        await made.poller.refresh([KEY])
        assert len(set(made.peer.ports)) == 3


async def test_a_peer_that_hangs_on_an_open_connection_costs_the_deadline_and_the_next_read_is_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with rig() as made:
        assert (await made.read()).error is None
        made.peer.hang = asyncio.Event()
        with monkeypatch.context() as short:  # for the read that hangs alone: the others must not feel a busy machine
            short.setattr(health, "TIMEOUT_SECONDS", 0.05)
            assert "TimeoutError" in ((await made.read()).error or "")
        made.peer.hang.set()
        assert (await made.read()).error is None
        assert made.peer.ports[-1] != made.peer.ports[0]


async def test_a_connection_that_the_peer_closed_between_two_polls_is_no_news() -> None:
    async with rig() as made:
        await made.read()
        handlers: Any = made.peer.server.handler
        for protocol in list(handlers.connections):
            protocol.force_close()
            protocol.force_close()
        assert (await made.read()).error is None


async def test_no_more_nodes_keep_a_connection_than_there_are_files_for() -> None:
    async with rig(limit=1) as made:
        await made.read(2)
        other = ("ns", "other")
        await made.read(2, other)
        assert len(set(made.peer.ports)) == 3, "one for the first node, two for the other"
        made.poller.forget(KEY)
        await made.read(2, other)
        assert len(set(made.peer.ports)) == 4, "the place of a node that is gone is free"


@pytest.mark.parametrize("url", ["https://127.0.0.1/v1/health", "http://n-health.ns:8081/v1/health"])
def test_only_plain_http_to_an_address_is_kept_open(url: str) -> None:
    assert Lines(who=lambda key: "", clock=lambda: 0.0, limit=5).line(KEY, url) is None


def test_an_address_of_either_family_leads_back_to_itself() -> None:
    lines = Lines(who=lambda key: "", clock=lambda: 0.0, limit=5)
    for url in ("http://10.96.0.7:8081/v1/health", "http://[fd00::7]:8081/v1/health"):
        line = lines.line(KEY, url)
        assert line is not None
        assert line.headers["Host"] == url.split("/")[2]
        assert line.url.path == "/v1/health"
