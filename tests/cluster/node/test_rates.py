"""The rate service on a real Redis (broker: librdkafka's mock cluster, the same protocol)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jil.node.connect import topics
from jil.node.connect.broker import BrokerCheck, BrokerError
from jil.node.connect.cache import CacheCheck, client
from jil.node.monitor import Monitor
from jil.node.rates import keeper as keeper_module
from jil.node.rates.app import Service, create
from jil.node.rates.keeper import Keeper
from jil.node.rates.model import TOPIC, Rate
from jil.node.rates.view import RateView
from jil.node.settings import BrokerSettings, CacheSettings, Identity
from tests.cluster.node.harness import NODE_ID, Client, program
from tests.cluster.node.servers import (
    CACHE_PASSWORD,
    Server,
    cache_environment,
    cache_settings,
    identity_environment,
)
from tests.cluster.node.standins import MockBroker

QUOTE = {"pair": "CHF-EUR", "rate": "1.0423", "validForSeconds": 600}


@contextlib.asynccontextmanager
async def rate_service(cache: CacheSettings, broker: BrokerSettings) -> AsyncIterator[Client]:
    """The service within the test's process, its cache filled."""
    redis = client(cache, timeout=2.0)
    view, writer = RateView(redis), topics.Writer(broker, client_id="test")
    keeper = Keeper(broker, view, client_id="test")
    following = asyncio.create_task(keeper.run())
    # Asked once, and believed for three minutes (three times interval and deadline).
    monitors: list[Monitor[Any]] = [
        Monitor(CacheCheck(cache, timeout=30), deadline=60),
        Monitor(BrokerCheck(broker, timeout=30), deadline=60),
    ]
    for monitor in monitors:
        await monitor.refresh()
    service = Service(
        identity=Identity(node_id=NODE_ID, region="ch-zug", jurisdiction="CH/FINMA"),
        view=view,
        publisher=writer,
        keeper=keeper,
        cache=monitors[0],
        broker=monitors[1],
    )
    app, _ = create(service)
    try:
        async with TestClient(TestServer(app)) as http:
            await ready(http)
            yield http
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await writer.close()
        await redis.aclose()
        for monitor in monitors:
            await monitor.check.close()


async def ready(http: Client, *, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        async with http.get("/readyz") as response:
            text = await response.text()
            if response.status == 200:
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not ready: {text}")


async def quote(http: Client, **changes: Any) -> dict[str, Any]:
    async with http.post("/rates", json=QUOTE | changes) as response:
        assert response.status == 201, await response.text()
        body: dict[str, Any] = await response.json()
        return body


async def rate_of(http: Client, pair: str = "CHF-EUR") -> str | None:
    async with http.get(f"/rates/{pair}") as response:
        if response.status == 404:
            return None
        assert response.status == 200, await response.text()
        return str((await response.json())["rate"])


async def test_a_quoted_rate_is_published_and_answered(cache: CacheSettings) -> None:
    broker = MockBroker(TOPIC)
    async with rate_service(cache, broker.settings) as http:
        body = await quote(http)
        assert (body["topic"], body["offset"], body["sourceId"]) == (TOPIC, 0, NODE_ID)
        assert await rate_of(http) == "1.0423"
        assert await rate_of(http, "EUR-CHF") is None
        async with topics.reading(broker.settings, client_id="witness") as reader:
            await reader.from_beginning(TOPIC)
            messages: list[topics.Received] = []
            async with asyncio.timeout(90):
                while not messages:
                    messages = await reader.next(wait_seconds=0.2)
    (message,) = messages
    assert message.key == b"CHF-EUR"
    assert message.headers["source_id"] == NODE_ID.encode()
    assert Rate.model_validate_json(message.value).rate == "1.0423"


async def test_a_rate_is_gone_when_it_expires(cache: CacheSettings) -> None:
    broker = MockBroker(TOPIC)
    async with rate_service(cache, broker.settings) as http:
        began, seen = time.monotonic(), None
        while seen is None and time.monotonic() < began + 90:
            # Again where this machine was slower than the second for which the rate is valid.
            until = datetime.fromisoformat((await quote(http, validForSeconds=1))["validUntil"])
            seen = await rate_of(http)
        assert seen == "1.0423"
        while await rate_of(http) is not None:
            assert datetime.now(UTC) < until + timedelta(seconds=60)
            await asyncio.sleep(0.05)
        assert datetime.now(UTC) >= until - timedelta(seconds=0.1), "not before its time"


async def test_a_cache_that_was_emptied_is_filled_again_from_the_topic(
    cache: CacheSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "_LOOK_SECONDS", 0.1)
    broker = MockBroker(TOPIC)
    async with rate_service(cache, broker.settings) as http:
        await quote(http, rate="1.1")
        await quote(http, rate="1.2")
        await quote(http, pair="CHF-USD", rate="1.3")
        redis = client(cache, timeout=2.0)
        await redis.flushall()
        await redis.aclose()
        began = time.monotonic()
        while (await rate_of(http), await rate_of(http, "CHF-USD")) != ("1.2", "1.3"):
            assert time.monotonic() < began + 90, "the cache is not filled again"
            await asyncio.sleep(0.05)
        await ready(http)
        assert (await rate_of(http), await rate_of(http, "CHF-USD")) == ("1.2", "1.3"), "and stays so"


async def test_a_service_that_starts_with_an_empty_cache_has_the_earlier_rates(
    own_redis_server: Server, cache: CacheSettings
) -> None:
    broker = MockBroker(TOPIC)
    async with rate_service(cache, broker.settings) as http:
        await quote(http)
    async with rate_service(cache_settings(own_redis_server), broker.settings) as http:
        assert await rate_of(http) == "1.0423"


async def test_two_replicas_end_up_with_the_later_quote_whatever_the_order(cache: CacheSettings) -> None:
    redis = client(cache, timeout=2.0)
    view, now = RateView(redis), datetime.now(UTC)

    def rate(text: str, *, seconds_ago: int, valid: int) -> Rate:
        at = now - timedelta(seconds=seconds_ago)
        return Rate(
            pair="CHF-EUR", rate=text, quoted_at=at, valid_until=at + timedelta(seconds=valid), source_id=NODE_ID
        )

    older, later = rate("1.1", seconds_ago=20, valid=600), rate("1.2", seconds_ago=10, valid=600)
    assert await view.apply(later, now=now)
    assert not await view.apply(older, now=now)
    assert await view.apply(later, now=now), "applying the same rate again is no conflict"
    found = await view.get("CHF-EUR")
    assert found is not None
    assert found.rate == "1.2"
    # A later rate that has expired meanwhile still removes the one it replaced.
    assert await view.apply(rate("1.3", seconds_ago=5, valid=1), now=now)
    assert await view.get("CHF-EUR") is None
    await redis.aclose()


async def test_a_path_that_names_no_pair_is_refused(cache: CacheSettings) -> None:
    broker = MockBroker(TOPIC)
    async with rate_service(cache, broker.settings) as http, http.get("/rates/chf-eur") as response:
        assert response.status == 400
        assert "capital letters" in (await response.json(content_type=None))["remedy"]


async def test_without_the_broker_nothing_is_quoted_and_known_rates_are_still_answered(cache: CacheSettings) -> None:
    broker = MockBroker(TOPIC)
    async with rate_service(cache, broker.settings) as http:
        await quote(http)
        broker.stop()
        async with http.post("/rates", json=QUOTE | {"rate": "2"}) as response:
            problem = await response.json(content_type="application/problem+json")
            assert response.status == 503
            assert problem["type"] == "urn:jil:problem:broker-unavailable"
        assert await rate_of(http) == "1.0423"
        async with http.get("/readyz") as response:
            assert response.status == 200


async def test_a_stopped_cache_is_a_503_and_no_wrong_answer(own_redis_server: Server) -> None:
    broker = MockBroker(TOPIC)
    async with rate_service(cache_settings(own_redis_server), broker.settings) as http:
        await quote(http)
        own_redis_server.stop()
        async with http.get("/rates/CHF-EUR") as response:
            assert response.status == 503
            assert (await response.json(content_type=None))["type"] == "urn:jil:problem:cache-unavailable"


async def test_a_message_that_is_no_rate_is_passed_over(cache: CacheSettings) -> None:
    broker = MockBroker(TOPIC)
    writer = topics.Writer(broker.settings, client_id="vandal")
    await writer.send(TOPIC, key=b"CHF-EUR", value=b"\xff not json", headers={})
    await writer.close()
    async with rate_service(cache, broker.settings) as http:
        await quote(http)
        assert await rate_of(http) == "1.0423"


async def test_a_send_that_nobody_acknowledges_ends_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "DELIVERY_SECONDS", 0.5)
    writer = topics.Writer(BrokerSettings(seeds="127.0.0.1:1"), client_id="test")
    with pytest.raises(BrokerError, match="not acknowledged by the broker"):
        await writer.send(TOPIC, key=b"k", value=b"v", headers={})
    await writer.close()


async def test_the_program_runs_as_the_operator_configures_it(cache: CacheSettings) -> None:
    broker = MockBroker(TOPIC)
    environment = identity_environment() | cache_environment(cache) | {"JIL_BROKER_SEEDS": broker.settings.seeds}
    with program("jil.node.rates", environment) as service:
        await service.until("/readyz")
        document = await service.until("/healthz")
        assert isinstance(document, dict)
        assert document["dependencies"]["cache"]["version"].startswith("redis 7.")
        assert document["dependencies"]["broker"]["ok"] is True
        service.process.terminate()
        code, out, err = service.end()
    assert code == 0
    assert CACHE_PASSWORD not in out + err
