"""Stand-ins for what the cluster layer has no real one of: a broker (librdkafka's mock cluster, which speaks the Kafka
protocol) and a validator's RPC. The real ones run in the e2e layer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from confluent_kafka import Producer

from jil.node.settings import BrokerSettings, ChainSettings


class MockBroker:
    """librdkafka's mock cluster: one broker in this process, gone with this object. Makes topics when asked for them."""

    def __init__(self, *topics: str) -> None:
        self._owner: Producer | None = Producer(
            {"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0}
        )
        (broker,) = self._owner.list_topics(timeout=60).brokers.values()
        self.settings = BrokerSettings(seeds=f"{broker.host}:{broker.port}")
        for topic in topics:
            self._owner.list_topics(topic, timeout=60)

    def stop(self) -> None:
        self._owner = None


class StandInRpc:
    """Answers as CometBFT 0.38 does, with a height that grows by ``step`` with every /status; its one validator signs
    every block."""

    def __init__(self, *, step: int = 1) -> None:
        self.height = 41
        self.step = step

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/status", self._status)
        app.router.add_get("/net_info", self._net_info)
        app.router.add_get("/validators", self._validators)
        app.router.add_get("/commit", self._commit)
        return app

    async def _validators(self, request: web.Request) -> web.Response:
        result = {
            "block_height": request.query["height"],
            "validators": [{"address": "CD" * 20, "voting_power": "10", "proposer_priority": "0"}],
            "count": "1",
            "total": "1",
        }
        return web.json_response({"jsonrpc": "2.0", "id": -1, "result": result})

    async def _commit(self, request: web.Request) -> web.Response:
        signature = {"block_id_flag": 2, "validator_address": "CD" * 20, "timestamp": "x", "signature": "y"}
        commit = {"height": request.query["height"], "round": 0, "signatures": [signature]}
        result = {"signed_header": {"header": {}, "commit": commit}, "canonical": True}
        return web.json_response({"jsonrpc": "2.0", "id": -1, "result": result})

    async def _status(self, _: web.Request) -> web.Response:
        self.height += self.step
        result = {
            "node_info": {"id": "ab" * 20, "network": "jil-devnet-1", "version": "0.38.26", "moniker": "x"},
            "sync_info": {
                "latest_block_height": str(self.height),
                "latest_block_time": "2026-11-21T10:00:00.123456789Z",
                "catching_up": False,
            },
            "validator_info": {"address": "CD" * 20, "voting_power": "10"},
        }
        return web.json_response({"jsonrpc": "2.0", "id": -1, "result": result})

    async def _net_info(self, _: web.Request) -> web.Response:
        result: dict[str, Any] = {"listening": True, "n_peers": "3", "peers": []}
        return web.json_response({"jsonrpc": "2.0", "id": -1, "result": result})


@contextlib.asynccontextmanager
async def rpc(stand_in: StandInRpc) -> AsyncIterator[ChainSettings]:
    """The RPC for the time of the block."""
    async with TestServer(stand_in.app()) as server:
        yield ChainSettings(url=str(server.make_url("")).rstrip("/"))
