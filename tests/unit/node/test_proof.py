"""The proof's runner and report: retries, contradictions, deadlines, exit texts; and where it finds its targets."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from jil.node.probe import targets
from jil.node.probe.proof import ContradictionError, Evidence, Finding, document, line, prove, run, summary
from jil.node.settings import SettingsError


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def proved(*outcomes: Evidence | Exception, deadline: float = 3.0) -> Finding:
    time, script = Time(), list(outcomes)

    async def check() -> Evidence:
        outcome = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return await prove(
        "cache",
        check,
        deadline=deadline,
        monotonic=time,
        sleep=time.sleep,
        redact=lambda text: text.replace("s3cret", "[redacted]"),
    )


GOOD = Evidence("redis 7.0.15", "SET and GET")


async def test_a_check_that_succeeds_is_not_repeated() -> None:
    assert await proved(GOOD) == Finding("cache", True, "redis 7.0.15", "SET and GET", 0.0, 1)


async def test_a_component_that_is_not_there_yet_is_tried_again() -> None:
    found = await proved(ConnectionRefusedError("refused"), ConnectionRefusedError("refused"), GOOD)
    assert (found.ok, found.attempts, found.seconds) == (True, 3, 1.0)


async def test_a_component_that_stays_away_fails_at_the_deadline_with_its_last_error() -> None:
    found = await proved(ConnectionRefusedError("no s3cret door at host:1"))
    assert (found.ok, found.attempts, found.seconds) == (False, 6, 3.0)
    assert found.detail == "no [redacted] door at host:1"


async def test_a_wrong_answer_is_not_asked_for_again() -> None:
    found = await proved(ContradictionError("wrote 1, read 2"), GOOD)
    assert (found.ok, found.attempts, found.detail) == (False, 1, "wrote 1, read 2")


async def test_a_check_that_hangs_is_given_up() -> None:
    async def hang() -> Evidence:
        await asyncio.Event().wait()
        return GOOD

    found = await prove("cache", hang, deadline=0.02)
    assert not found.ok
    assert "no answer within 0.02 s" in found.detail


async def test_findings_come_in_order_whoever_ends_first() -> None:
    first_may_end = asyncio.Event()

    async def first() -> Evidence:
        await first_may_end.wait()
        return GOOD

    async def second() -> Evidence:
        first_may_end.set()
        return GOOD

    assert [finding.name async for finding in run({"a": first, "b": second}, deadline=5)] == ["a", "b"]


def test_a_line_shows_verdict_component_version_and_time() -> None:
    good, bad = Finding("cache", True, "redis 7", "SET", 0.123, 1), Finding("chain", False, None, "no block", 30.0, 9)
    assert line(good).split() == ["ok", "cache", "redis", "7", "SET", "(0.12", "s)"]
    assert line(bad).startswith("FAIL  chain")
    assert line(bad).endswith("no block  (30.00 s, 9 attempts)")
    assert summary([good], 1.0) == "all 1 checks passed in 1.0 s"
    assert summary([good, bad], 30.0) == "FAILED: chain (1 of 2 checks passed, 30.0 s)"
    machine = json.loads(document("n", "ns", [good, bad], 30.0))
    assert (machine["ok"], machine["node"], machine["checks"][1]["detail"]) == (False, "n", "no block")


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith("JIL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JIL_DATABASE_PASSWORD", "pw-database")
    monkeypatch.setenv("JIL_CACHE_PASSWORD", "pw-cache")
    return monkeypatch


def test_the_targets_of_a_node_are_its_services_in_its_namespace(bare_environment: pytest.MonkeyPatch) -> None:
    found = targets.find("ch-zug-01", "jil-ch-finma")
    assert (found.database.host, found.database.port) == ("ch-zug-01-database.jil-ch-finma.svc", 5432)
    assert (found.database.name, found.database.user) == ("jil", "jil_app")
    assert (found.cache.host, found.cache.user) == ("ch-zug-01-cache.jil-ch-finma.svc", "jil")
    assert found.broker.seeds == "ch-zug-01-broker.jil-ch-finma.svc:9092"
    assert found.chain.url == "http://ch-zug-01-rpc.jil-ch-finma.svc:26657"
    assert found.transfers_url == "http://ch-zug-01-transfers.jil-ch-finma.svc:80"
    assert targets.find("n", "ns", rates="fx").rates_url == "http://n-fx.ns.svc:80"
    assert found.secrets() == ["pw-database", "pw-cache"]


def test_the_environment_overrides_an_address(bare_environment: pytest.MonkeyPatch) -> None:
    bare_environment.setenv("JIL_DATABASE_HOST", "elsewhere")
    bare_environment.setenv("JIL_TRANSFERS_URL", "http://there")
    found = targets.find("n", "ns")
    assert (found.database.host, found.transfers_url) == ("elsewhere", "http://there")


def test_a_password_comes_from_the_mounted_secret_or_is_asked_for(
    bare_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare_environment.delenv("JIL_CACHE_PASSWORD")
    with pytest.raises(SettingsError, match="set JIL_CACHE_PASSWORD from key cache-password"):
        targets.find("n", "ns")
    with pytest.raises(SettingsError, match="cannot be read"):
        targets.find("n", "ns", credentials=tmp_path)
    (tmp_path / "cache-password").write_text("from-file\n")
    assert targets.find("n", "ns", credentials=tmp_path).cache.password.get_secret_value() == "from-file"
