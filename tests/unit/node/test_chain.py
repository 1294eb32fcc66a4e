"""Reading CometBFT's RPC, and what is said when the answer is not one of CometBFT's."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from jil.node.connect.chain import ChainClient, ChainError
from jil.node.settings import ChainSettings

STATUS: dict[str, Any] = {
    "node_info": {"id": "ab" * 20, "network": "jil-devnet-1", "version": "0.38.26"},
    "sync_info": {
        "latest_block_height": "9007199254740993",
        "latest_block_time": "2026-11-21T10:00:00.123456789Z",
        "catching_up": True,
    },
    "validator_info": {"address": "CD" * 20, "voting_power": "0"},
}
NET_INFO: dict[str, Any] = {"n_peers": "0"}


@contextlib.asynccontextmanager
async def rpc(status: Any = STATUS, net_info: Any = NET_INFO, *, code: int = 200) -> AsyncIterator[ChainClient]:
    def answer(body: Any) -> Any:
        async def handler(_: web.Request) -> web.Response:
            text = body if isinstance(body, str) else json.dumps({"jsonrpc": "2.0", "id": -1, "result": body})
            return web.Response(text=text, status=code)

        return handler

    app = web.Application()
    app.router.add_get("/status", answer(status))
    app.router.add_get("/net_info", answer(net_info))
    async with TestServer(app) as server:
        client = ChainClient(ChainSettings(url=str(server.make_url("")).rstrip("/")), timeout=5)
        try:
            yield client
        finally:
            await client.close()


async def test_heights_are_exact_beyond_what_floating_point_holds() -> None:
    async with rpc() as client:
        state = await client.state()
    assert state.height == 9007199254740993
    assert (state.voting_power, state.peers, state.catching_up) == (0, 0, True)
    assert state.latest_block_time.microsecond == 123456


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("<html>", "status answers something unexpected"),
        ('{"error": {"code": -32603}}', "'result'"),
        ({}, "'node_info'"),
        (STATUS | {"sync_info": {"latest_block_height": "many"}}, "'sync_info.latest_block_height'"),
    ],
)
async def test_an_answer_that_is_not_cometbfts_is_told_with_its_place(status: Any, said: str) -> None:
    async with rpc(status) as client:
        with pytest.raises(ChainError) as caught:
            await client.state()
    assert said in str(caught.value)
    assert "http://" in str(caught.value)


async def test_an_error_status_is_told_with_its_text() -> None:
    async with rpc("database is closed", code=500) as client:
        with pytest.raises(ChainError, match="answers 500: database is closed"):
            await client.state()


async def test_an_answer_that_arrives_in_pieces_is_read_whole() -> None:
    """As CometBFT's do from some four kilobytes on."""

    async def in_pieces(request: web.Request) -> web.StreamResponse:
        text = json.dumps({"jsonrpc": "2.0", "id": -1, "result": {**NET_INFO, "peers": ["x" * 10_000]}}).encode()
        response = web.StreamResponse()
        response.content_length = len(text)
        await response.prepare(request)
        for start in range(0, len(text), 4000):
            await response.write(text[start : start + 4000])
            await asyncio.sleep(0.01)
        return response

    async def status(_: web.Request) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": -1, "result": STATUS})

    app = web.Application()
    app.router.add_get("/status", status)
    app.router.add_get("/net_info", in_pieces)
    async with TestServer(app) as server:
        client = ChainClient(ChainSettings(url=str(server.make_url("")).rstrip("/")), timeout=5)
        assert (await client.state()).peers == 0
        await client.close()
