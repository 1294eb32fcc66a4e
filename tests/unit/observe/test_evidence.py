"""A node's word on signatures: what is read of it, and that nothing malformed gets through."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jil.node.health.report import HealthReport
from jil.observe.evidence import parse_evidence
from jil.observe.health import parse_health
from tests.sim.chain import SimChain
from tests.sim.health import document

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
A, B, C = ("AA" * 20, "BB" * 20, "CC" * 20)
COMPONENTS = dict.fromkeys(("database", "cache", "broker", "validator", "health"), True)


def body() -> dict[str, Any]:
    """A real document, of a simulated chain of three at height 50 where C signed nothing."""
    begun = AT.timestamp() - 50.5
    chain = SimChain("jil", {A: 10, B: 10, C: 5}, begun, interval_s=1.0, catch_up_s=0.0)
    for one in (A, B):
        chain.start(one, f"pod-{one}", begun, state_height=0)
    view = chain.view(A, AT.timestamp())
    assert view is not None
    return document(COMPONENTS, (A, view), AT)


def test_the_simulated_document_is_one_that_the_real_endpoint_could_have_made() -> None:
    made = HealthReport.model_validate(body())
    assert made.model_dump(mode="json", by_alias=True)["chain"]["evidence"] == body()["chain"]["evidence"]


def test_a_reading_has_the_set_the_commits_and_its_times() -> None:
    found = parse_evidence(body()["chain"], AT)
    assert found is not None
    assert (found.source, found.chain_id, found.height) == (A, "jil", 50)
    assert found.powers == {A: 10, B: 10, C: 5}
    assert [c.height for c in found.commits] == list(range(40, 50))
    assert all(c.signed == {A, B} for c in found.commits)
    assert found.read_at_ms == int(AT.timestamp() * 1000)
    assert found.block_time_ms == found.read_at_ms - 500


def test_the_age_that_the_node_admits_makes_the_reading_older() -> None:
    raw = body()["chain"]
    raw["evidence"]["ageSeconds"] = 7.5
    found = parse_evidence(raw, AT)
    assert found is not None
    assert found.read_at_ms == int((AT - timedelta(seconds=7.5)).timestamp() * 1000)


def test_power_zero_is_a_signer_and_no_validator() -> None:
    raw = body()["chain"]
    raw["evidence"]["validators"][1]["power"] = 0
    found = parse_evidence(raw, AT)
    assert found is not None
    assert B not in found.powers
    assert B in found.commits[-1].signed


def test_catching_up_is_believed_unless_it_is_denied() -> None:
    raw = body()["chain"]
    for value in (True, None, "no", 0):
        found = parse_evidence({**raw, "catchingUp": value}, AT)
        assert found is not None
        assert found.catching_up


def test_a_node_of_an_older_release_has_no_evidence() -> None:
    raw = body()
    del raw["chain"]["evidence"]
    reading = parse_health(raw, AT)
    assert reading.error is None
    assert reading.chain is not None
    assert reading.chain.reading is None


def _in_evidence(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda chain: chain["evidence"].update(changes)


def _in_commit(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda chain: chain["evidence"]["commits"][0].update(changes)


def _in_voter(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda chain: chain["evidence"]["validators"][0].update(changes)


@pytest.mark.parametrize(
    "spoil",
    [
        _in_evidence(height=0),
        _in_evidence(height="50"),
        _in_evidence(height=2**63),
        _in_evidence(height=True),
        _in_evidence(ageSeconds=-1),
        _in_evidence(ageSeconds=float("nan")),
        _in_evidence(ageSeconds="0"),
        _in_evidence(ageSeconds=True),
        _in_evidence(validators={}),
        _in_evidence(validators=[{"address": A, "power": 1}] * 2),
        _in_evidence(validators=[{"address": f"{n:040X}", "power": 1} for n in range(301)]),
        _in_evidence(commits=None),
        _in_evidence(commits=[{"height": 1, "signed": [], "nil": []}] * 65),
        _in_voter(address=A.lower()),
        _in_voter(address="AA"),
        _in_voter(power=-1),
        _in_voter(power=1.5),
        _in_voter(power=2**60),
        _in_commit(signed=[3]),
        _in_commit(signed=[-1]),
        _in_commit(signed=[0], nil=[0]),
        _in_commit(signed="01"),
        _in_commit(height=-5),
        lambda chain: chain.update(address="x"),
        lambda chain: chain.update(address=None),
        lambda chain: chain.update(chainId=None),
        lambda chain: chain.update(latestBlockTime="yesterday"),
        lambda chain: chain.update(latestBlockTime="2026-11-21T12:00:00"),
        lambda chain: chain["evidence"].pop("validators"),
        lambda chain: chain["evidence"]["commits"].append(7),
        lambda chain: chain.update(evidence=[1]),
    ],
)
def test_a_malformed_word_makes_the_whole_reading_unreadable(spoil: Callable[[dict[str, Any]], None]) -> None:
    raw = copy.deepcopy(body())
    spoil(raw["chain"])
    assert parse_health(raw, AT).error is not None
