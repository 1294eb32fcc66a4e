"""docs/services.md names what the programs really show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from jil.node import health, rates, transfers
from jil.node.health.app import NodeHealth
from jil.node.health.app import create as create_health
from jil.node.rates.app import create as create_rates
from jil.node.settings import BrokerSettings, CacheSettings, ChainSettings, DatabaseSettings, Identity
from jil.node.transfers.app import create as create_transfers
from tests.unit.node.test_health_report import CHAIN, Fixed

PAGE = (Path(__file__).parents[3] / "docs" / "services.md").read_text()


class _Nothing:
    """Stands for the parts of a service that describing it does not use."""

    compliance = None

    def __getattr__(self, _: str) -> Any:
        return None


def shown(registry: CollectorRegistry) -> set[str]:
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in registry.collect()
        if family.name.startswith("jil_")
    }


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    nothing: Any = _Nothing()
    parts = {name: Fixed(CHAIN) for name in ("database", "cache", "broker", "chain")}
    frames = [create_transfers(nothing)[1], create_rates(nothing)[1], create_health(NodeHealth("X", parts))[1]]
    real = {name for frame in frames for name in shown(frame.registry)}
    documented = set(re.findall(r"`(jil_[a-z_]+)", PAGE))
    assert documented - {"jil_app", "jil_health"} == real


@pytest.mark.parametrize("group", [Identity, DatabaseSettings, CacheSettings, BrokerSettings, ChainSettings])
def test_every_environment_variable_is_documented(group: Any) -> None:
    prefix = group.model_config["env_prefix"]
    for field in group.model_fields:
        variable = f"{prefix}{field}".upper()
        suffix = variable[variable.rindex("_") :]
        assert f"`{variable}`" in PAGE or (f"`{prefix}HOST`" in PAGE and f"`{suffix}`" in PAGE), variable


def test_every_problem_of_the_sample_services_is_documented() -> None:
    sources = [
        path.read_text()
        for package in (transfers, rates, health)
        for path in Path(package.__file__ or "").parent.glob("*.py")
    ]
    slugs = {slug for text in sources for slug in re.findall(r'Problem\(\s*\d{3},\s*"([a-z-]+)"', text)}
    assert slugs >= {"unknown-account", "limits-unknown", "later-rate-exists"}
    assert not [slug for slug in slugs if f"`{slug}`" not in PAGE]
