"""What a fleet costs: memory, time to converge, at rest, under changes, when the leader dies, when it starts anew.

One fleet, brought up once; the questions are asked one after the other, and told as they are answered.
"""

from __future__ import annotations

import signal
import statistics
import time

from bench.changes import Load, drive
from bench.cluster import Operator, Place, Rig, is_sample, is_write, rig, until
from bench.report import Reporter
from testbed.controlplane import APISERVER

#: Long enough for one sweep (300 s) and five looks at every node.
REST_SECONDS = 300.0
CHANGES_PER_SECOND = (20, 100)
CHANGE_SECONDS = 10
FAILOVERS = 3
#: Nodes that are made at a time when time is short.
PORTION = 100


def run(report: Reporter, nodes: int, *, rest: float = REST_SECONDS, patience: float | None = None) -> None:
    """``nodes`` JILNodes. With ``patience`` (seconds) they are made a hundred at a time,
    as many as there is time for: a rig that carries fewer is to have them whole."""
    with rig() as bench:
        operator = bench.operator()
        bench.leading(operator)
        time.sleep(5)
        idle = operator.rss()
        report.tell("RSS, no nodes", idle, "MiB")
        places = bench.places(nodes)
        nodes = _converge(report, bench, operator, places, idle, patience)
        _rest(report, bench, operator, nodes, rest)
        _touched(report, bench, operator, places)
        _changes(report, bench, operator, places)
        operator = _failover(report, bench, operator, places)
        _start_up(report, bench, operator, nodes)


def _converge(
    report: Reporter, bench: Rig, operator: Operator, places: list[Place], idle: float, patience: float | None
) -> int:
    """Takes out of ``places`` what there was no time for; returns how many are left, all Ready."""
    since, cpu, others, began = bench.plane.audit_position(), operator.cpu(), bench.cpu(), time.monotonic()
    portion = len(places) if patience is None else PORTION
    asked, nodes = len(places), 0
    while nodes < asked and (patience is None or time.monotonic() - began < patience):
        bench.create(places[nodes : nodes + portion])
        nodes = min(asked, nodes + portion)
        bench.until_ready(nodes, 120 + 6.0 * portion)
        report.tell("RSS on the way", operator.rss(), "MiB", f"{nodes} nodes, {time.monotonic() - began:.0f} s")
    del places[nodes:]
    took, entries = time.monotonic() - began, bench.requests(since)
    together = "at once" if patience is None else f"{portion} at a time; {asked} were asked for, {patience:.0f} s given"
    report.tell("time until all are Ready", took, "s", f"{nodes} nodes, {together}")
    report.tell("nodes per second", nodes / took, "1/s")
    spent = operator.cpu() - cpu
    report.tell("CPU until all are Ready", spent, "s", f"of the operator, {spent / took * 100:.0f} % of a processor")
    for name, total in sorted(bench.cpu().items()):
        used = total - others.get(name, 0.0)
        report.tell(f"CPU until all are Ready, {name}", used, "s", f"{used / took * 100:.0f} % of a processor")
    report.tell("requests per node until Ready", len(entries) / nodes, "requests")
    report.tell("writes per node until Ready", sum(map(is_write, entries)) / nodes, "requests")
    _until_idle(operator, nodes)
    report.tell("RSS, all Ready", operator.rss(), "MiB")
    report.tell("RSS per 1,000 nodes", (operator.rss() - idle) / nodes * 1000, "MiB", "beyond that of none")
    report.tell("objects in the store", operator.metric("jil_store_objects"), "objects")
    return nodes


def _until_idle(operator: Operator, nodes: int) -> None:
    until(lambda: operator.metric("jil_queue_depth") == 0, "an empty queue", 300, pause=_pause(nodes))


def _pause(nodes: int) -> float:
    """Seconds between two looks at the operator's metrics: it counts its nodes for each of them."""
    return max(0.1, nodes / 500)


def _rest(report: Reporter, bench: Rig, operator: Operator, nodes: int, seconds: float) -> None:
    time.sleep(30)
    since, cpu, before = bench.plane.audit_position(), operator.cpu(), _reconciles(operator)
    time.sleep(seconds)
    spent, looked, entries = operator.cpu() - cpu, _reconciles(operator) - before, bench.requests(since)
    hour = 3600 / seconds
    writes = [e for e in entries if is_write(e) and not is_sample(e)]
    note = f"{nodes} nodes, from {seconds:.0f} s"
    report.tell("at rest: requests per hour", len(entries) * hour, "requests", f"{note}; without the Lease")
    report.tell("at rest: requests per node and hour", len(entries) * hour / nodes, "requests")
    report.tell("at rest: writes", len(writes), "requests", "samples of heights not counted", 0)
    for uri in sorted({e["requestURI"] for e in writes})[:3]:
        report.tell("at rest: written", 1, "", uri)
    report.tell("at rest: samples per node and hour", sum(map(is_sample, entries)) * hour / nodes, "requests")
    report.tell("at rest: CPU per hour", spent * hour, "s", f"{spent / seconds * 100:.1f} % of a processor")
    report.tell("at rest: looks at nodes", looked, "", f"{looked / nodes:.1f} at each")


def _touched(report: Reporter, bench: Rig, operator: Operator, places: list[Place]) -> None:
    """A label on every node: each is looked at, nothing has changed."""
    chosen = places[:200]
    before, cpu, since = _reconciles(operator), operator.cpu(), bench.plane.audit_position()
    for place in chosen:
        bench.api.merge(place.path, {"metadata": {"labels": {"bench": "touched"}}})
    pause = _pause(len(places))
    until(lambda: _reconciles(operator) - before >= len(chosen), "every node to be looked at", 300, pause=pause)
    _until_idle(operator, len(places))
    looked, spent, entries = _reconciles(operator) - before, operator.cpu() - cpu, bench.requests(since)
    writes = [e for e in entries if is_write(e) and not is_sample(e)]
    report.tell("unchanged reconcile: requests", len(entries) / looked, "requests", f"of {looked:.0f} looks")
    report.tell("unchanged reconcile: writes", len(writes) / looked, "requests", "", 0)
    report.tell("unchanged reconcile: CPU", spent / looked * 1000, "ms", "with the watch events that caused it")


def _reconciles(operator: Operator) -> float:
    return operator.metric("jil_reconcile_total", kind="JILNode")


def _changes(report: Reporter, bench: Rig, operator: Operator, places: list[Place]) -> None:
    replicas: dict[tuple[str, str], int] = {}
    for rate in CHANGES_PER_SECOND:
        cpu, others, looks, began = operator.cpu(), bench.cpu(), _reconciles(operator), time.monotonic()
        result = drive(bench, places, Load(rate, CHANGE_SECONDS), replicas)
        took, looked = time.monotonic() - began, _reconciles(operator) - looks
        busy, server = (operator.cpu() - cpu) / took, (bench.cpu()[APISERVER] - others[APISERVER]) / took
        note = f"{result.sent} changes in {result.sending:.1f} s over {len(places)} nodes; {result.lost} not applied"
        note += f"; the API server was too busy for {result.refused}" if result.refused else ""
        at = f"at {rate}/s"
        report.tell(f"{at}: changes sent per second", result.sent / result.sending, "1/s", note)
        report.tell(f"{at}: CPU of the operator", busy * 100, "%", f"of one processor, {looked:.0f} looks at nodes")
        report.tell(f"{at}: CPU of the API server", server * 100, "%", "of one processor")
        if result.latencies:
            values = sorted(result.latencies)
            report.tell(f"{at}: change to applied, median", statistics.median(values), "s")
            report.tell(f"{at}: change to applied, p99", values[int(len(values) * 0.99) - 1], "s")
            report.tell(
                f"{at}: changes applied per second", len(values) / result.whole, "1/s", "until the last one was"
            )
        _until_idle(operator, len(places))


def _failover(report: Reporter, bench: Rig, leader: Operator, places: list[Place]) -> Operator:
    for signal_, name in ((signal.SIGKILL, "killed"), (signal.SIGTERM, "ended in order")):
        leads: list[float] = []
        applied: list[float] = []
        for number in range(FAILOVERS):
            standby = bench.operator()
            until(lambda log=standby.log: "the store is full" in log.read_text(), "the standby", 300)  # type: ignore[misc]
            time.sleep(3)
            began = time.monotonic()
            leader.process.send_signal(signal_)
            service = f"/api/v1/namespaces/{places[number].namespace}/services/{places[number].name}-cache"
            bench.api.delete(service)
            bench.leading(standby)
            leads.append(time.monotonic() - began)
            until(lambda path=service: bench.api.exists(path), "the first work of the new leader", 300, pause=0.02)  # type: ignore[misc]
            applied.append(time.monotonic() - began)
            leader.end(0)
            leader = standby
        lease = "Lease 15/10/2 s"
        report.tell(f"leader {name}: the next leads", statistics.median(leads), "s", f"median of {FAILOVERS}; {lease}")
        report.tell(f"leader {name}: it has put something right", statistics.median(applied), "s")
    return leader


def _start_up(report: Reporter, bench: Rig, operator: Operator, nodes: int) -> None:
    """From no operator at all to every node looked at once."""
    operator.end()
    since, began = bench.plane.audit_position(), time.monotonic()
    fresh = bench.operator()
    bench.leading(fresh, 300)
    report.tell("start-up: leads", time.monotonic() - began, "s", f"{nodes} nodes exist")
    pause = _pause(nodes)
    until(lambda: _reconciles(fresh) >= nodes, "every node to be looked at", 60 + nodes * 1.0, pause=pause)
    _until_idle(fresh, nodes)
    report.tell("start-up: every node looked at", time.monotonic() - began, "s")
    entries = bench.requests(since)
    writes = [e for e in entries if is_write(e) and not is_sample(e) and not _bookkeeping(e)]
    report.tell("start-up: CPU", fresh.cpu(), "s")
    report.tell("start-up: requests per node", len(entries) / nodes, "requests")
    report.tell("start-up: writes", len(writes), "requests", "samples and sealing of ledgers not counted", 0)
    for uri in sorted({e["requestURI"] for e in writes})[:3]:
        report.tell("start-up: written", 1, "", uri)
    report.tell("start-up: RSS", fresh.rss(), "MiB")
    fresh.end()


def _bookkeeping(entry: dict[str, object]) -> bool:
    """A new leader writes its fencing number into every ledger."""
    return "/configmaps/ledger-" in str(entry["requestURI"])
