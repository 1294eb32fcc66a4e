"""What ``jilctl image inspect`` shows of what it could not read."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from rich.console import Console

from jil.cli import chain_view
from jil.cli.steps import chain
from jil.cli.steps.bench import Bench
from jil.cli.steps.chain import Chain
from jil.trust.evidence import Evidence, LeftOut
from jil.trust.policy import Policy
from jil.trust.verdict import RefusalReason
from tests.unit.trust.scenario import Scenario, policy

BROKEN = LeftOut(RefusalReason.REGISTRY_LIED, "r.example/a@sha256:11: the registry serves [bold]other[/] bytes")
GONE = "r.example/a@sha256:22: not there"


def inspected(by: Policy) -> Chain:
    """A good image beside which something is broken, and something is not there."""
    scenario = Scenario()
    evidence = replace(scenario.evidence, envelopes=scenario.envelopes, left_out=(BROKEN,), missing=(GONE,))

    class Client:
        async def resolve(self, image: str) -> str:
            return scenario.evidence.digest

        async def evidence(self, image: str) -> Evidence:
            return evidence

    bench = Bench(cast(Any, Client()), by, datetime(2026, 11, 21, 18, tzinfo=UTC))
    return asyncio.run(chain.inspect(bench, scenario.image, release=None))


@pytest.mark.parametrize("by", [policy(), Policy((), (), ())], ids=["with a policy", "without one"])
def test_what_was_left_out_is_shown_with_its_reason_and_what_is_missing_by_name(by: Policy) -> None:
    found = inspected(by)
    stream = io.StringIO()
    chain_view.show(Console(file=stream, width=200), found)
    shown = stream.getvalue()
    assert "attached, broken, and left out" in shown
    assert f"RegistryLied  {BROKEN.text}" in shown, "as text: strangers' markup is none"
    assert "attached, and not in the registry (yet)" in shown
    assert GONE in shown
    data = chain_view.data(found)
    assert BROKEN.text not in data["ignored"], "what counted for nothing was looked at"
    assert data["leftOut"] == [{"reason": RefusalReason.REGISTRY_LIED, "message": BROKEN.text}]
    assert data["missing"] == (GONE,)


def test_where_nothing_is_broken_nothing_is_said_of_it() -> None:
    found = replace(inspected(policy()), left_out=(), missing=())
    stream = io.StringIO()
    chain_view.show(Console(file=stream, width=200), found)
    assert "left out" not in stream.getvalue()
    assert "not in the registry" not in stream.getvalue()
