"""How much longer does the operator take to make a node's objects than a bare loop that applies the same objects?

Both sides run on the same rig, in turns, with the same number of requests at the same time and the same simulated
kubelets; the loop knows the objects beforehand and does nothing but send them.
"""

from __future__ import annotations

import asyncio
import copy
import json
import statistics
import time
from typing import Any

import aiohttp

from bench.cluster import CORE, SYSTEM, Operator, Place, Rig, is_write, moment_of, rig, until
from bench.report import Reporter
from jil.api import kinds
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
_OURS = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Djil-operator"


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
            objects_s, ready_s, requests, cpu = _operator_round(bench, operator, places)
            children = _children(bench, places)
            applied_s, pods_s = _bare_round(bench, children)
            made.append(objects_s)
            ready.append(ready_s)
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


def _operator_round(bench: Rig, operator: Operator, places: list[Place]) -> tuple[float, float, int, float]:
    """(seconds until the last object was made, until every node is Ready, requests, CPU seconds)."""
    since, cpu = bench.plane.audit_position(), operator.cpu()
    began = time.time()
    bench.create(places)
    # Of this round only: those of earlier rounds would be read again and again.
    spaces = {place.namespace for place in places}
    ready = until(lambda: bench.ready(*spaces) >= len(places), "the round's nodes to be Ready", 300, pause=_LOOK)
    entries = bench.requests(since)
    last = max(moment_of(e) for e in entries if is_write(e) and e.get("responseStatus", {}).get("code") == 201)
    return last - began, ready, len(entries), operator.cpu() - cpu


def _children(bench: Rig, places: list[Place]) -> list[dict[str, Any]]:
    """What the operator made for the nodes, in their namespaces and in its own, as it would be applied to others."""
    found = []
    ids = tuple(place.node_id.lower() for place in places)
    for kind in (kinds.JIL_NODE_RECORD, kinds.SECRET):
        for item in bench.api.get(kind.path(namespace=SYSTEM))["items"]:
            if item["metadata"]["name"].startswith(ids):
                found.append(_intent(kind, item, f"bare-{SYSTEM}"))
    for namespace in sorted({p.namespace for p in places}):
        for kind in _CHILDREN:
            for item in bench.api.get(f"{kind.path(namespace=namespace)}?{_OURS}")["items"]:
                found.append(_intent(kind, item, f"bare-{namespace}"))
        for item in bench.api.get(f"{CORE}/{namespace}/secrets")["items"]:
            found.append(_intent(kinds.SECRET, item, f"bare-{namespace}"))
    return found


def _intent(kind: kinds.Kind, item: dict[str, Any], namespace: str) -> dict[str, Any]:
    meta = item["metadata"]
    body = copy.deepcopy({k: v for k, v in item.items() if k != "status"})
    body |= {"apiVersion": kind.api_version, "kind": kind.kind}
    body["metadata"] = {"name": meta["name"], "namespace": namespace, "labels": meta.get("labels") or {}}
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
            query = {"fieldManager": "bare-loop", "force": "true", "fieldValidation": "Strict"}
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
