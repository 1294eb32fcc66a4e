"""Prometheus metrics of the operator. Every label has a closed set of values; docs/metrics.md lists them all.

One ``Metrics`` per process, passed to who counts: no globals, so tests have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jil import __version__
from jil.engine.queue import Key

#: Outcomes of a reconcile, in the order in which ``jil.engine.worker`` tries them.
OUTCOMES = (
    "ok",
    "not_leader",
    "conflict",
    "invalid_spec",
    "dependency",
    "forbidden",
    "rejected",
    "timeout",
    "bug",
)
#: States of image trust; `refused` and `unknown` also of nodes that go on with what they run.
TRUST_STATES = ("verified", "no_policy", "refused", "unknown")
#: States of nodes' own logins at the registry.
LOGIN_STATES = ("fresh", "failed")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ANSWERS = {200: "ok", 201: "ok", 202: "ok", 404: "not_found", 409: "conflict", 410: "gone", 429: "throttled"}


class QueueState(Protocol):
    """What is read from the queue at a scrape."""

    def depth(self) -> int:
        """Keys that wait."""

    def delayed(self) -> int:
        """Keys with a date."""

    def working(self) -> int:
        """Keys under way."""

    def age(self) -> float:
        """Seconds the oldest has waited."""


class Metrics:
    """Counts what happens; ``registry`` is what /metrics shows. Also the queue's observer."""

    def __init__(self) -> None:
        # A second series per series, with the time of its first use, that no alert of ours reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        shown = self.registry
        self.reconciles = Counter(
            "jil_reconcile_total", "Reconciles by kind and outcome.", ["kind", "outcome"], registry=shown
        )
        self.reconcile_seconds = Histogram(
            "jil_reconcile_seconds", "Time that one reconcile took.", ["kind"], buckets=_SECONDS, registry=shown
        )
        self.queue_wait = Histogram(
            "jil_queue_wait_seconds",
            "Time from due to picked up by a worker.",
            ["kind"],
            buckets=_SECONDS,
            registry=shown,
        )
        self.queue_retries = Counter(
            "jil_queue_retries_total", "Retries after a failure, with back-off.", ["kind"], registry=shown
        )
        self.api_requests = Counter(
            "jil_api_requests_total",
            "Requests to the API server by method and answer.",
            ["method", "answer"],
            registry=shown,
        )
        self.api_seconds = Histogram(
            "jil_api_request_seconds",
            "Time until the API server had answered.",
            ["method"],
            buckets=_SECONDS,
            registry=shown,
        )
        self.applies = Counter(
            "jil_apply_total", "Children compared with their intent, by what came of it.", ["change"], registry=shown
        )
        self.events = Counter(
            "jil_events_total", "Kubernetes Events by what became of them.", ["outcome"], registry=shown
        )
        self.watch_events = Counter(
            "jil_watch_events_total", "Objects that the watches delivered.", ["kind", "type"], registry=shown
        )
        self.watch_exits = Counter(
            "jil_watch_exits_total", "Times that Kopf ended although nobody asked it to.", registry=shown
        )
        self.sweep_missed = Counter(
            "jil_sweep_missed_total", "Changes that only a sweep brought to light.", ["kind"], registry=shown
        )
        self.sweep_ghosts = Counter(
            "jil_sweep_ghosts_total", "Deletions that only a sweep brought to light.", ["kind"], registry=shown
        )
        self.sweep_failures = Counter(
            "jil_sweep_failures_total", "Sweeps of a kind that could not be done.", ["kind"], registry=shown
        )
        self.leader = Gauge("jil_leader", "1 while this process surely holds the lease.", registry=shown)
        self.fencing = Gauge("jil_leader_fencing_number", "Fencing number of the lease last held.", registry=shown)
        self.leaderships = Counter("jil_leader_acquired_total", "Leaderships won by this process.", registry=shown)
        self.fence_refusals = Counter(
            "jil_fence_refusals_total", "Writes that were not sent because the lease was in doubt.", registry=shown
        )
        self.loop_lag = Gauge("jil_loop_lag_seconds", "How late the event loop ran its last tick.", registry=shown)
        self.heartbeat_age = Gauge(
            "jil_heartbeat_age_seconds", "How long a renewal of the Lease has not come back by watch.", registry=shown
        )
        self.build = Gauge("jil_build_info", "Always 1.", ["version"], registry=shown)
        self.build.labels(__version__).set(1)

    # -- the queue's observer ----------------------------------------------------------------------------------------
    def waited(self, key: Key, seconds: float) -> None:
        """A key was picked up."""
        self.queue_wait.labels(key.kind).observe(seconds)

    def retried(self, key: Key) -> None:
        """A key will be tried again."""
        self.queue_retries.labels(key.kind).inc()

    # -- the others' -------------------------------------------------------------------------------------------------
    def request(self, method: str, status: int, seconds: float) -> None:
        """A request to the API server ended; ``status`` is 0 when there was no answer."""
        self.api_requests.labels(method, answer(status)).inc()
        self.api_seconds.labels(method).observe(seconds)

    def event(self, outcome: str) -> None:
        """What became of a Kubernetes Event."""
        self.events.labels(outcome).inc()

    def show_queue(self, queue: QueueState) -> None:
        """Read the queue at every scrape."""
        self.registry.register(
            _Reader(
                lambda: (
                    _gauge("jil_queue_depth", "Keys that are due and wait for a worker.", queue.depth()),
                    _gauge("jil_queue_delayed", "Keys with a date in the future.", queue.delayed()),
                    _gauge("jil_queue_working", "Keys that workers have.", queue.working()),
                    _gauge("jil_queue_oldest_seconds", "How long the oldest due key has waited.", queue.age()),
                )
            )
        )

    def show_store(self, counts: Callable[[], Iterable[tuple[str, int]]]) -> None:
        """Read the store at every scrape; ``counts`` yields (kind, objects)."""

        def read() -> Iterable[Metric]:
            family = GaugeMetricFamily("jil_store_objects", "Objects known, by kind.", labels=["kind"])
            for kind, count in counts():
                family.add_metric([kind], count)
            return (family,)

        self.registry.register(_Reader(read))

    def show_trust(self, nodes: Callable[[], Mapping[str, int]]) -> None:
        """Read at every scrape how many JILNodes there are by the state of their condition ImageTrust."""
        text = "JILNodes by how the release that they are to run stands with their network's policy."
        self._by_state("jil_nodes_by_image_trust", text, TRUST_STATES, nodes)

    def show_pull_logins(self, nodes: Callable[[], Mapping[str, int]]) -> None:
        """Read at every scrape how many JILNodes have a login of their own at the registry, and how many lack it."""
        text = "JILNodes by whether their own login at the registry is there and renewed."
        self._by_state("jil_nodes_by_pull_login", text, LOGIN_STATES, nodes)

    def _by_state(self, name: str, text: str, states: Iterable[str], nodes: Callable[[], Mapping[str, int]]) -> None:
        """A gauge that has a line for every state, also for those in which there is nobody."""

        def read() -> Iterable[Metric]:
            family = GaugeMetricFamily(name, text, labels=["state"])
            counts = nodes()
            for state in states:
                family.add_metric([state], counts.get(state, 0))
            return (family,)

        self.registry.register(_Reader(read))


class _Reader(Collector):
    """Metrics whose values are read when somebody looks."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        yield from self._read()


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def answer(status: int) -> str:
    """A closed set instead of HTTP codes: ok, not_found, conflict, gone, throttled, refused, failed, none."""
    if status == 0:
        return "none"
    if status in _ANSWERS:
        return _ANSWERS[status]
    if status >= 500:
        return "failed"
    return "refused" if status >= 400 else "ok"
