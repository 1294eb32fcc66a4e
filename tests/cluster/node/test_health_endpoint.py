"""The node health endpoint on a real PostgreSQL and Redis (broker and RPC: stand-ins of the same protocols)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import psycopg
import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from jil.node.connect.broker import BrokerCheck
from jil.node.connect.cache import CacheCheck
from jil.node.connect.chain import ChainCheck
from jil.node.connect.database import DatabaseCheck
from jil.node.health.app import NodeHealth, create
from jil.node.monitor import Monitor, running
from jil.node.settings import BrokerSettings, CacheSettings, ChainSettings, DatabaseSettings
from tests.cluster.node.harness import NODE_ID, Client, program
from tests.cluster.node.servers import (
    CACHE_PASSWORD,
    HEALTH_PASSWORD,
    Databases,
    Server,
    cache_environment,
    cache_settings,
    database_environment,
    databases_on,
    identity_environment,
)
from tests.cluster.node.standins import MockBroker, StandInRpc, rpc

INTERVAL, DEADLINE = 0.1, 0.4


@contextlib.asynccontextmanager
async def health_endpoint(
    database: DatabaseSettings, cache: CacheSettings, broker: BrokerSettings, chain: ChainSettings
) -> AsyncIterator[Client]:
    monitors: list[Monitor[Any]] = [
        Monitor(check, interval=INTERVAL, deadline=DEADLINE)
        for check in (
            DatabaseCheck(database, application="jil-health"),
            CacheCheck(cache, timeout=DEADLINE),
            BrokerCheck(broker, timeout=1.5),
            ChainCheck(chain, timeout=DEADLINE),
        )
    ]
    app, _ = create(NodeHealth(NODE_ID, {monitor.name: monitor for monitor in monitors}))
    async with running(monitors), TestClient(TestServer(app)) as client:
        yield client


async def report(client: Client) -> dict[str, Any]:
    async with client.get("/v1/health") as response:
        document: dict[str, Any] = await response.json()
        assert response.status == 200
    return document


async def until(client: Client, wanted: Callable[[dict[str, Any]], bool], *, seconds: float = 90) -> dict[str, Any]:
    deadline, over = time.monotonic() + seconds, False
    while not over:
        over = time.monotonic() >= deadline
        document = await report(client)
        if wanted(document):
            return document
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {document}")


def others_well(document: dict[str, Any]) -> bool:
    return all(document[part]["ok"] for part in ("cache", "broker", "chain"))


def all_well(document: dict[str, Any]) -> bool:
    return bool(document["database"]["ok"]) and others_well(document)


async def test_the_report_tells_each_components_own_version_and_the_chain(
    databases: Databases, cache: CacheSettings
) -> None:
    broker = MockBroker()
    async with (
        rpc(StandInRpc(step=0)) as chain,
        health_endpoint(databases.health, cache, broker.settings, chain) as client,
    ):
        # Ten commits are read in half the deadline, or in several rounds on a slow machine.
        document = await until(client, lambda d: all_well(d) and d["chain"]["evidence"] is not None)
    assert datetime.fromisoformat(document.pop("time")).tzinfo is not None
    assert document["database"].pop("version").startswith("15.")
    assert document["cache"].pop("version").startswith("redis 7.")
    assert 0 <= document["chain"]["evidence"].pop("ageSeconds") < 60
    assert document == {
        "nodeId": NODE_ID,
        "database": {"ok": True, "error": None},
        "cache": {"ok": True, "error": None},
        "broker": {"ok": True, "version": None, "error": None},  # the mock cluster names no version
        "chain": {
            "ok": True,
            "version": "0.38.26",
            "error": None,
            "chainId": "jil-devnet-1",
            "height": 41,
            "latestBlockTime": "2026-11-21T10:00:00.123456Z",
            "catchingUp": False,
            "peers": 3,
            "address": "CD" * 20,
            "votingPower": 10,
            "peerId": "ab" * 20,
            "evidence": {
                "height": 41,
                "validators": [{"address": "CD" * 20, "power": 10}],
                "commits": [{"height": height, "signed": [0], "nil": []} for height in range(31, 41)],
            },
            "evidenceError": None,
        },
    }


async def test_a_frozen_database_delays_nobody_and_is_told_within_its_deadline(
    own_postgresql_server: Server, cache: CacheSettings
) -> None:
    databases, broker, rpc_stand_in = databases_on(own_postgresql_server), MockBroker(), StandInRpc()
    async with (
        rpc(rpc_stand_in) as chain,
        health_endpoint(databases.health, cache, broker.settings, chain) as client,
    ):
        took: list[float] = []
        while not took or took[-1] >= INTERVAL + DEADLINE + 3:
            # A machine that stands still is too late once or twice, an endpoint that waits for its database every time.
            assert len(took) < 3, f"told after {took} seconds"
            await until(client, all_well)
            with own_postgresql_server.frozen():
                frozen_at = time.monotonic()
                await until(client, lambda d: not d["database"]["ok"] and "no answer" in d["database"]["error"])
                took.append(time.monotonic() - frozen_at)
                # The others are asked as before: the chain's height goes on growing.
                height = rpc_stand_in.height
                await until(client, lambda d, height=height: others_well(d) and d["chain"]["height"] > height + 5)
        await until(client, all_well)
        with databases.superuser() as connection:
            deadline, count = time.monotonic() + 60, 99
            # The server, too, has to wake up and see which of its clients have gone.
            while count > 2 and time.monotonic() < deadline:
                row = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'jil_health'"
                ).fetchone()
                assert row is not None
                count = row[0]
                await asyncio.sleep(0.1)
        assert count <= 2, "connections are left behind; the role has five"


async def test_a_check_of_a_frozen_database_ends_as_soon_as_it_is_aborted(own_postgresql_server: Server) -> None:
    """Cancelling alone would wait for the server, which may never answer again."""
    check = DatabaseCheck(databases_on(own_postgresql_server).health, application="jil-health")
    await check.observe()
    with own_postgresql_server.frozen():
        hanging = asyncio.create_task(check.observe())
        assert not (await asyncio.wait({hanging}, timeout=0.3))[0]
        check.abort()
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(hanging, timeout=60)  # the server thaws only after it
    await check.observe()
    await check.close()


async def test_a_stopped_cache_is_told_with_its_address_and_found_again(
    databases: Databases, own_redis_server: Server
) -> None:
    broker = MockBroker()
    async with rpc(StandInRpc()) as chain:
        settings = cache_settings(own_redis_server)
        async with health_endpoint(databases.health, settings, broker.settings, chain) as client:
            await until(client, all_well)
            own_redis_server.stop()
            document = await until(
                client,
                lambda d: not d["cache"]["ok"] and str(settings.port) in d["cache"]["error"] and d["database"]["ok"],
            )
            assert document["cache"]["version"] is None
            own_redis_server.start()
            await until(client, all_well)


async def test_nothing_that_leaves_the_program_holds_a_password(databases: Databases, cache: CacheSettings) -> None:
    wrong = databases.health.model_copy(update={"password": SecretStr("wr0ng-database-pw")})
    environment = (
        identity_environment()
        | database_environment(wrong)
        | cache_environment(cache.model_copy(update={"password": SecretStr("wr0ng-cache-pw")}))
        | {"JIL_BROKER_SEEDS": "127.0.0.1:1", "JIL_RPC_URL": "http://127.0.0.1:1"}
    )
    said = {
        "database": "password authentication failed",
        "cache": "invalid username-password pair",
        "broker": "Connection refused",
        "chain": "127.0.0.1:1",
    }
    with program("jil.node.health", environment) as endpoint:
        for _ in range(600):
            document = await endpoint.until("/v1/health")
            assert isinstance(document, dict)
            errors = {part: document[part]["error"] or "" for part in said}
            # Until then: not checked yet, or a machine that was slower than the check's deadline.
            if all(words in errors[part] for part, words in said.items()):
                break
            await asyncio.sleep(0.1)
        metrics = await endpoint.until("/metrics")
        endpoint.process.terminate()
        code, out, err = endpoint.end()
    assert code == 0
    assert {part: words for part, words in said.items() if words not in errors[part]} == {}, errors
    everything = f"{document}{metrics}{out}{err}"
    for secret in ("wr0ng-database-pw", "wr0ng-cache-pw", HEALTH_PASSWORD, CACHE_PASSWORD):
        assert secret not in everything


async def test_the_program_serves_the_node_as_the_operator_configures_it(
    databases: Databases, cache: CacheSettings
) -> None:
    broker = MockBroker()
    async with rpc(StandInRpc()) as chain:
        environment = (
            identity_environment()
            | database_environment(databases.health)
            | cache_environment(cache)
            | {"JIL_BROKER_SEEDS": broker.settings.seeds, "JIL_RPC_URL": chain.url}
        )
        with program("jil.node.health", environment) as endpoint:
            await endpoint.until("/healthz", 200)
            for _ in range(600):  # a check that was slower than its deadline in between says 0.0 for two seconds
                metrics = await endpoint.until("/metrics")
                if 'jil_node_component_up{component="chain"} 1.0' in metrics:
                    break
                await asyncio.sleep(0.1)
            assert 'jil_node_component_up{component="chain"} 1.0' in metrics
            assert "jil_node_chain_height" in metrics
            endpoint.process.terminate()
            assert endpoint.end()[0] == 0


async def test_a_node_without_a_validator_has_no_chain_in_its_report(
    databases: Databases, cache: CacheSettings
) -> None:
    broker = MockBroker()
    environment = (
        identity_environment()
        | database_environment(databases.health)
        | cache_environment(cache)
        | {"JIL_BROKER_SEEDS": broker.settings.seeds}
    )
    with program("jil.node.health", environment) as endpoint:
        document = await endpoint.until("/healthz", 200)
    assert isinstance(document, dict)
    assert document["chain"] is None
