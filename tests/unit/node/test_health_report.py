"""The health document and its metrics, from results as the monitors give them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from jil.node.connect.broker import BrokerState
from jil.node.connect.cache import CacheState
from jil.node.connect.chain import ChainState
from jil.node.connect.database import DatabaseState
from jil.node.health.app import NodeHealth, create
from jil.node.monitor import Result

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
CHAIN = ChainState(
    version="0.38.26",
    chain_id="jil-devnet-1",
    peer_id="ab" * 20,
    height=42,
    latest_block_time=AT,
    catching_up=True,
    address="CD" * 20,
    voting_power=0,
    peers=0,
)


class Fixed:
    def __init__(self, value: object | None, error: str | None = None) -> None:
        self._result: Result[Any] = Result(error is None, value, error, 0.25, 1.5)

    def result(self) -> Result[Any]:
        return self._result


def health(**changes: Fixed) -> NodeHealth:
    sources: dict[str, Any] = {
        "database": Fixed(DatabaseState("15.18")),
        "cache": Fixed(CacheState("redis 7.0.15")),
        "broker": Fixed(BrokerState(None, "id", 1)),
        "chain": Fixed(CHAIN),
    }
    return NodeHealth("CH-ZUG-01", sources | changes, now=lambda: AT)


def document(node: NodeHealth) -> dict[str, Any]:
    return node.report().model_dump(mode="json", by_alias=True)


def test_zero_and_false_are_told_as_such_and_not_as_unknown() -> None:
    chain = document(health())["chain"]
    assert (chain["votingPower"], chain["peers"], chain["catchingUp"]) == (0, 0, True)


def test_a_component_that_does_not_answer_has_no_values_but_its_error() -> None:
    report = document(health(chain=Fixed(None, "refused"), database=Fixed(None, "away")))
    assert report["database"] == {"ok": False, "version": None, "error": "away"}
    assert report["chain"].pop("ok") is False
    assert report["chain"].pop("error") == "refused"
    assert set(report["chain"].values()) == {None}


def test_healthz_is_ok_only_when_every_component_is() -> None:
    assert health().health()[0]
    for part in ("database", "cache", "broker", "chain"):
        assert not health(**{part: Fixed(None, "away")}).health()[0]


def test_a_node_without_a_validator_is_well_without_a_chain() -> None:
    node = NodeHealth("X", {name: Fixed(DatabaseState("1")) for name in ("database", "cache", "broker")})
    assert document(node)["chain"] is None
    assert node.health()[0]


async def test_the_report_is_always_served_with_200_and_never_cached() -> None:
    app, _ = create(health(database=Fixed(None, "away")))
    async with TestClient(TestServer(app)) as client:
        async with client.get("/v1/health") as response:
            assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
            assert (await response.json())["time"] == "2026-11-21T10:00:00Z"
        async with client.get("/healthz") as response:
            assert response.status == 503


async def test_what_is_unknown_is_absent_from_the_metrics() -> None:
    for node, present in ((health(), True), (health(chain=Fixed(None, "refused")), False)):
        app, _ = create(node)
        async with TestClient(TestServer(app)) as client, client.get("/metrics") as response:
            text = await response.text()
        assert ("jil_node_chain_height 42.0" in text) is present
        assert f'jil_node_component_up{{component="chain"}} {float(present)}' in text
        assert 'jil_node_component_check_age_seconds{component="database"} 1.5' in text
