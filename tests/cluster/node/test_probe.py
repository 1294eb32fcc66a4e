"""The one-shot proof against the real services on a real PostgreSQL and Redis (broker and RPC: stand-ins)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jil.node.settings import CacheSettings
from tests.cluster.node.harness import Program, program
from tests.cluster.node.servers import (
    APP_PASSWORD,
    CACHE_PASSWORD,
    Databases,
    cache_environment,
    database_environment,
    identity_environment,
)
from tests.cluster.node.standins import MockBroker, StandInRpc, rpc

CALL = ("--node", "ch-zug-01", "--namespace", "jil-ch-finma")


@dataclass(frozen=True)
class Node:
    """What the probe's pod gets to know of a running node."""

    environment: dict[str, str]
    rpc: StandInRpc


@pytest.fixture
async def node(databases: Databases, cache: CacheSettings) -> AsyncIterator[Node]:
    broker, chain = MockBroker("jil.rates", "jil.probe"), StandInRpc()
    seeds = {"JIL_BROKER_SEEDS": broker.settings.seeds}
    database = database_environment(databases.app)
    with (
        program("jil.node.transfers", identity_environment() | database) as transfers,
        program("jil.node.rates", identity_environment() | cache_environment(cache) | seeds) as rates,
    ):
        await transfers.until("/readyz")
        await rates.until("/readyz")
        async with rpc(chain) as chain_settings:
            environment = database | cache_environment(cache) | seeds
            environment |= {
                "JIL_RPC_URL": chain_settings.url,
                "JIL_TRANSFERS_URL": transfers.url,
                "JIL_RATES_URL": rates.url,
            }
            yield Node(environment, chain)


async def ended(probe: Program) -> tuple[int, str, str]:
    """The probe's end, with this process's event loop running meanwhile: it serves the RPC."""
    return await asyncio.to_thread(probe.end, seconds=60)


async def test_the_proof_of_a_working_node_passes_with_each_components_version(node: Node) -> None:
    with program("jil.node.probe", node.environment, arguments=CALL) as probe:
        code, out, err = await ended(probe)
    lines = out.splitlines()
    assert code == 0, out + err
    assert lines[0].startswith("proof of node ch-zug-01 in namespace jil-ch-finma")
    assert [line.split()[:2] for line in lines[1:7]] == [
        ["ok", name] for name in ("database", "cache", "broker", "chain", "transfers", "rates")
    ]
    for version in ("postgresql 15.", "redis 7.", "cometbft 0.38.26", "jil-transfers ", "jil-rates "):
        assert version in out
    assert lines[-1].startswith("all 6 checks passed in ")
    assert APP_PASSWORD not in out + err
    assert CACHE_PASSWORD not in out + err


async def test_the_proof_can_be_repeated_and_read_by_machines(node: Node) -> None:
    for _ in range(2):
        with program("jil.node.probe", node.environment, arguments=(*CALL, "--json")) as probe:
            code, out, _ = await ended(probe)
        assert code == 0
        document = json.loads(out)
        assert document["ok"] is True
        assert [check["name"] for check in document["checks"]] == [
            "database",
            "cache",
            "broker",
            "chain",
            "transfers",
            "rates",
        ]
    assert "proof 2 of this database" in document["checks"][0]["detail"]


async def test_passwords_can_come_from_the_mounted_secret(node: Node, tmp_path: Path) -> None:
    environment = {k: v for k, v in node.environment.items() if not k.endswith("PASSWORD")}
    (tmp_path / "app-password").write_text(APP_PASSWORD)
    (tmp_path / "cache-password").write_text(CACHE_PASSWORD + "\n")
    arguments = (*CALL, "--credentials", str(tmp_path), "--leave-out", "chain")
    with program("jil.node.probe", environment, arguments=arguments) as probe:
        code, out, err = await ended(probe)
    assert code == 0, out + err
    assert "chain was left out" in out
    with program("jil.node.probe", environment, arguments=CALL) as probe:
        code, _, err = await ended(probe)
    assert code == 2
    assert "set JIL_DATABASE_PASSWORD from key app-password of the Secret NODE-credentials" in err


async def test_a_chain_that_stands_still_fails_the_proof_and_only_its_own_line(node: Node) -> None:
    node.rpc.step = 0
    with program("jil.node.probe", node.environment, arguments=(*CALL, "--deadline", "10")) as probe:
        code, out, _ = await ended(probe)
    assert code == 1
    failed = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 2  # the chain's own line and the summary
    assert "chain makes no block" in failed[0]
    assert failed[1].startswith("FAILED: chain (5 of 6 checks passed")


async def test_everything_that_is_away_is_named_with_its_address(node: Node) -> None:
    away = {
        "JIL_DATABASE_PORT": "1",
        "JIL_CACHE_PORT": "1",
        "JIL_BROKER_SEEDS": "127.0.0.1:1",
        "JIL_RPC_URL": "http://127.0.0.1:1",
        "JIL_TRANSFERS_URL": "http://127.0.0.1:1",
        "JIL_RATES_URL": "http://127.0.0.1:1",
    }
    arguments = (*CALL, "--deadline", "3", "--json")
    with program("jil.node.probe", node.environment | away, arguments=arguments) as probe:
        code, out, _ = await ended(probe)
    assert code == 1
    checks = json.loads(out)["checks"]
    assert [check["ok"] for check in checks] == [False] * 6
    for check in checks:
        assert "127.0.0.1" in check["detail"], check
        assert check["seconds"] < 30, "each check has its deadline"
