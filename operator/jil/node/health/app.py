"""Serves the health report from cached results, and the same as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jil.node.health import report
from jil.node.web import Frame, application, json_answer


def now_utc() -> datetime:
    return datetime.now(UTC)


class NodeHealth:
    """The latest results of database, cache, broker and (where the node has a validator) chain."""

    def __init__(
        self, node_id: str, sources: Mapping[str, report.Source], *, now: Callable[[], datetime] = now_utc
    ) -> None:
        self._node_id = node_id
        self._sources = dict(sources)
        self._now = now

    def report(self) -> report.HealthReport:
        results = {name: source.result() for name, source in self._sources.items()}
        return report.HealthReport(
            node_id=self._node_id,
            time=self._now(),
            database=report.component(results["database"]),
            cache=report.component(results["cache"]),
            broker=report.component(results["broker"]),
            chain=report.chain(results["chain"]) if "chain" in results else None,
        )

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """For /healthz: the same document, with a verdict in the status code."""
        current = self.report()
        parts = (current.database, current.cache, current.broker, current.chain)
        ok = all(part.ok for part in parts if part is not None)
        return ok, current.model_dump(mode="json", by_alias=True)

    def collect(self) -> Iterator[Metric]:
        """The metrics of one scrape."""
        up = GaugeMetricFamily("jil_node_component_up", "1 when the component answers, else 0.", labels=["component"])
        took = GaugeMetricFamily(
            "jil_node_component_check_seconds", "How long the last check took.", labels=["component"]
        )
        age = GaugeMetricFamily(
            "jil_node_component_check_age_seconds", "How long ago the last check ended.", labels=["component"]
        )
        for name, source in self._sources.items():
            result = source.result()
            up.add_metric([name], float(result.ok))
            if result.took is not None:
                took.add_metric([name], result.took)
            if result.age is not None:
                age.add_metric([name], result.age)
        yield from (up, took, age)
        chain = self.report().chain or report.ChainReport(ok=False)
        for metric, text, value in (
            ("jil_node_chain_height", "Latest block height that the node's validator knows.", chain.height),
            ("jil_node_chain_peers", "Peers of the node's validator.", chain.peers),
            ("jil_node_chain_catching_up", "1 while the validator replays older blocks.", chain.catching_up),
            ("jil_node_chain_voting_power", "Voting power of the node's validator.", chain.voting_power),
        ):
            if value is not None:  # unknown is absent, not zero
                yield GaugeMetricFamily(metric, text, value=float(value))


class _Scrape(Collector):
    def __init__(self, health: NodeHealth) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        yield from self._health.collect()


def create(health: NodeHealth) -> tuple[web.Application, Frame]:
    """The endpoint: GET /v1/health (always 200), /livez, /readyz, /healthz, /metrics."""
    registry = CollectorRegistry()
    registry.register(_Scrape(health))
    frame = Frame(name="health", reasons_not_ready=lambda: (), health=health.health, registry=registry)
    app = application(frame)

    async def get(_: web.Request) -> web.Response:
        return json_answer(health.report(), headers={"Cache-Control": "no-store"})

    app.router.add_get("/v1/health", get)
    return app, frame
