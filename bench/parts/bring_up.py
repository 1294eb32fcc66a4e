"""How much longer does the operator take to make a node's objects than a bare loop that applies the same objects?

Both sides run on the same rig, in turns, with the same number of requests at the same time and the same simulated
kubelets; the loop knows the objects beforehand and does nothing but send them.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.cluster import CORE, SYSTEM, Operator, Place, Rig, is_creation, moment_of, rig, until
from bench.pods import LOOP
from bench.report import Reporter
from jil.api import kinds, labels
from jil.cluster.access import Credentials, from_kubeconfig

#: Single rounds spread by a factor of two where everything shares two processors.
ROUNDS = 7
#: 16 workers with 6 requests each, through a pool of 32 connections.
CONCURRENCY = 32
TARGET = 1.3
#: A server that is too busy is asked again, as the operator does.
_TRIES = 5
_CHILDREN = (
    kinds.CONFIG_MAP,
    kinds.SERVICE,
    kinds.PERSISTENT_VOLUME_CLAIM,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.NETWORK_POLICY,
    kinds.STATEFUL_SET,
    kinds.DEPLOYMENT,
)
#: Seconds between two looks at how far a side has come: the loop is not looked at before it has applied everything, so
#: what looking costs the API server would be counted against the operator.
_LOOK = 0.5
_OURS = f"labelSelector=app.kubernetes.io%2Fmanaged-by%3D{labels.MANAGED_BY}"
#: The loop's objects are not the operator's: it would hear of each, and take it for a child that has lost its node.
_MANAGER = json.dumps({labels.APP_MANAGED_BY: labels.MANAGED_BY})[1:-1]
_LOOP = json.dumps({labels.APP_MANAGED_BY: LOOP})[1:-1]


def run(report: Reporter, nodes: int) -> None:
    """``nodes`` JILNodes at once per round."""
    with rig() as bench:
        operator = bench.operator()
        bench.leading(operator)
        _operator_round(bench, operator, bench.places(nodes))  # warm: caches of both sides, lazy imports
        made: list[float] = []
        loop: list[float] = []
        ready: list[float] = []
        loop_ready: list[float] = []
        for _ in range(ROUNDS):
            places = bench.places(nodes)
            one = _operator_round(bench, operator, places)
            children, requests, cpu = one.children, one.requests, one.cpu
            applied_s, pods_s = _bare_round(bench, [_intent(item) for item in children])
            made.append(one.made)
            ready.append(one.ready)
            loop.append(applied_s)
            loop_ready.append(pods_s)
        ratio = statistics.median(a / b for a, b in zip(made, loop, strict=True))
        whole = statistics.median(a / b for a, b in zip(ready, loop_ready, strict=True))
        per = len(children) / nodes
        report.tell("objects of one node", per, "objects", "the operator's, without pods and what controllers make")
        report.tell("all objects made, operator", statistics.median(made), "s", f"{nodes} nodes at once")
        report.tell("all objects made, bare loop", statistics.median(loop), "s", f"{CONCURRENCY} at a time")
        report.tell("objects made, operator / loop", ratio, "ratio", f"median of {ROUNDS}", TARGET)
        report.tell("every node Ready, operator", statistics.median(ready), "s")
        report.tell("every pod ready, bare loop", statistics.median(loop_ready), "s", "all at once, in no order")
        report.tell("Ready, operator / loop", whole, "ratio", "the operator starts database, chain, services in order")
        report.tell("requests per node until Ready", requests / nodes, "requests")
        report.tell("requests per object until Ready", requests / len(children), "requests")
        report.tell("CPU per object until Ready", cpu / len(children) * 1000, "ms", "of the operator")
        operator.end()


@dataclass(frozen=True)
class Round:
    """What the operator made for one round's nodes, the seconds until the last of it was made and until every node was
    Ready, and its requests and CPU seconds until then."""

    children: list[dict[str, Any]]
    made: float
    ready: float
    requests: int
    cpu: float


def _operator_round(bench: Rig, operator: Operator, places: list[Place]) -> Round:
    since, cpu = bench.plane.audit_position(), operator.cpu()
    began = time.time()
    bench.create(places)
    # Of this round only: those of earlier rounds would be read again and again.
    spaces = {place.namespace for place in places}
    ready = until(lambda: bench.ready(*spaces) >= len(places), "the round's nodes to be Ready", 300, pause=_LOOK)
    entries = bench.requests(since)
    used = operator.cpu() - cpu
    children = _children(bench, places)
    return Round(children, _last_made(entries, children) - began, ready, len(entries), used)


def _last_made(entries: list[dict[str, Any]], children: list[dict[str, Any]]) -> float:
    """When the last of ``children`` was made: what else is made meanwhile (Events) is none of the loop's objects."""
    made: dict[tuple[str, str, str], float] = {}
    for entry in entries:
        ref = entry.get("objectRef") or {}
        if is_creation(entry) and not ref.get("subresource"):
            made[ref["resource"], ref.get("namespace", ""), ref.get("name", "")] = moment_of(entry)
    moments = []
    for child in children:
        meta = child["metadata"]
        one = (kinds.kind_of(child).plural, meta["namespace"], meta["name"])
        if one not in made:
            raise RuntimeError(f"the audit log does not say when {'/'.join(one)} was made")
        moments.append(made[one])
    return max(moments)


def _children(bench: Rig, places: list[Place]) -> list[dict[str, Any]]:
    """What the operator made for the nodes: in their namespaces, in its own, and for their networks. What it made for
    their namespaces was there before."""
    found: list[dict[str, Any]] = []

    def take(kind: kinds.Kind, namespace: str, query: str = "") -> list[dict[str, Any]]:
        items = bench.api.get(f"{kind.path(namespace=namespace)}{query}")["items"]
        return [item | {"apiVersion": kind.api_version, "kind": kind.kind} for item in items]

    ids = tuple(place.node_id.lower() for place in places)
    for kind in (kinds.JIL_NODE_RECORD, kinds.SECRET):
        found += [item for item in take(kind, SYSTEM) if item["metadata"]["name"].startswith(ids)]
    for network in sorted({p.network for p in places}):  # its genesis and its ledger
        found += take(kinds.CONFIG_MAP, SYSTEM, f"?labelSelector={labels.NETWORK}%3D{network}")
    for namespace in sorted({p.namespace for p in places}):
        of_nodes = [item for kind in _CHILDREN for item in take(kind, namespace, f"?{_OURS},{labels.NODE}")]
        genesis = take(kinds.CONFIG_MAP, namespace, f"?{_OURS},{labels.APP_NAME}%3Dgenesis")
        found += of_nodes + genesis + take(kinds.SECRET, namespace)
    return found


def _intent(item: dict[str, Any]) -> dict[str, Any]:
    """A child as the loop applies it: in another namespace, and not the operator's, which would look at it otherwise."""
    text = json.dumps({key: value for key, value in item.items() if key != "status"}).replace(_MANAGER, _LOOP)
    body: dict[str, Any] = json.loads(text)
    meta = body["metadata"]
    body["metadata"] = {
        "name": meta["name"],
        "namespace": f"bare-{meta['namespace']}",
        "labels": meta.get("labels") or {},
    }
    spec = body.get("spec") or {}
    for field in ("clusterIP", "clusterIPs", "volumeName"):
        spec.pop(field, None)
    # In a bare loop nobody gives permits: its validators start without a guard.
    template = spec.get("template", {}).get("spec", {})
    template["initContainers"] = [c for c in template.get("initContainers", []) if c["name"] != "guard"]
    if not template["initContainers"]:
        del template["initContainers"]
    return body


def _bare_round(bench: Rig, objects: list[dict[str, Any]]) -> tuple[float, float]:
    """(seconds until everything is applied, until every pod is ready)."""
    spaces = sorted({o["metadata"]["namespace"] for o in objects})
    for space in spaces:
        bench.api.create("/api/v1/namespaces", {"metadata": {"name": space}})
    for space in spaces:
        account = f"{CORE}/{space}/serviceaccounts/default"
        until(lambda path=account: bench.api.exists(path), "the namespace's ServiceAccount", 60)  # type: ignore[misc]
    began = time.monotonic()
    asyncio.run(_apply_all(bench, objects))
    applied = time.monotonic() - began
    wanted = sum(o["spec"]["replicas"] for o in objects if o["kind"] in ("StatefulSet", "Deployment"))
    until(lambda: _ready_pods(bench, spaces) >= wanted, "the pods of the bare loop", 300, pause=_LOOK)
    pods = time.monotonic() - began
    for space in spaces:
        bench.api.delete(f"/api/v1/namespaces/{space}")
    for space in spaces:  # taking them away is no part of the operator's next round
        until(lambda path=f"/api/v1/namespaces/{space}": not bench.api.exists(path), "the loop's objects to go", 300)  # type: ignore[misc]
    return applied, pods


def _ready_pods(bench: Rig, spaces: list[str]) -> int:
    pods = [p for space in spaces for p in bench.api.get(f"{CORE}/{space}/pods")["items"]]
    return sum(p.get("status", {}).get("phase") == "Running" for p in pods)


async def _apply_all(bench: Rig, objects: list[dict[str, Any]]) -> None:
    credentials = Credentials(from_kubeconfig(bench.plane.kubeconfig))
    connector = aiohttp.TCPConnector(ssl=credentials.ssl_context() or True, limit=CONCURRENCY)
    limit = asyncio.Semaphore(CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def apply(body: dict[str, Any]) -> None:
            meta, kind = body["metadata"], kinds.kind_of(body)
            url = credentials.access.server + kind.path(namespace=meta["namespace"], name=meta["name"])
            headers = {"Content-Type": "application/apply-patch+yaml"}
            query = {"fieldManager": LOOP, "force": "true", "fieldValidation": "Strict"}
            async with limit:
                for _ in range(_TRIES):
                    async with session.patch(url, data=json.dumps(body), params=query, headers=headers) as answer:
                        text = await answer.text()
                    if answer.status < 400:
                        return
                    if answer.status < 429:
                        break
                raise RuntimeError(f"{kind.kind} {meta['name']}: {answer.status} {text[:500]}")

        async with asyncio.TaskGroup() as group:
            for each in objects:
                group.create_task(apply(each))
