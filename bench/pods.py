"""Kubelets, volume provisioner and health endpoints of a large simulated cluster, as one process beside the benchmark.

Lighter than the test bed's: every pod lives well, nothing is remembered but what is in hand, and each object costs as
few requests as the API allows. ``python -m bench.pods KUBECONFIG PORT``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from jil.api import labels
from jil.cluster.access import Credentials, from_kubeconfig

Object = dict[str, Any]
#: Who manages what the loop makes that the bring-up is compared with.
LOOP = "bare-loop"
OURS = f"labelSelector=app.kubernetes.io%2Fmanaged-by%20in%20({labels.MANAGED_BY}%2C{LOOP})"
MERGE = "application/merge-patch+json"
MACHINE = "bench-node-1"
WORKERS = 16


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Pods:
    """Brings every pod and claim of ours to the good end of its way. ``run`` until cancelled."""

    def __init__(self, kubeconfig: Path) -> None:
        self._credentials = Credentials(from_kubeconfig(kubeconfig))
        self._waiting: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        self._queued: set[tuple[str, str, str]] = set()
        self._newest: dict[tuple[str, str, str], Object] = {}
        self.failures = 0

    async def run(self) -> None:
        """Watch and work."""
        connector = aiohttp.TCPConnector(ssl=self._credentials.ssl_context() or True, limit=WORKERS + 4)
        async with aiohttp.ClientSession(connector=connector) as self._session:
            await self._request("POST", "/api/v1/nodes", {"metadata": {"name": MACHINE}}, unless=409)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch("/api/v1/pods", "pod"))
                group.create_task(self._watch("/api/v1/persistentvolumeclaims", "claim"))
                for _ in range(WORKERS):
                    group.create_task(self._work())

    async def _request(self, method: str, path: str, body: Object, type_: str = "", unless: int = 0) -> None:
        headers = {"Content-Type": type_ or "application/json", "User-Agent": "bench-pods"}
        url = self._credentials.access.server + path
        async with self._session.request(method, url, data=json.dumps(body), headers=headers) as answer:
            await answer.read()
            if answer.status >= 400 and answer.status not in (unless, 404, 409):
                self.failures += 1

    async def _watch(self, path: str, kind: str) -> None:
        url = self._credentials.access.server + path
        while True:
            try:
                async with self._session.get(f"{url}?{OURS}") as answer:
                    listing = await answer.json()
                for item in listing["items"]:
                    self._saw(kind, item)
                query = f"{OURS}&watch=1&resourceVersion={listing['metadata']['resourceVersion']}"
                timeout = aiohttp.ClientTimeout(total=None)
                async with self._session.get(f"{url}?{query}", timeout=timeout) as stream:
                    await self._lines(stream, lambda event: self._heard(kind, event))
            except (aiohttp.ClientError, KeyError, ValueError):
                await asyncio.sleep(0.5)

    @staticmethod
    async def _lines(stream: aiohttp.ClientResponse, heard: Callable[[Object], None]) -> None:
        rest = b""
        async for chunk in stream.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                heard(json.loads(line))

    def _heard(self, kind: str, event: Object) -> None:
        if event["type"] == "ERROR":
            raise ValueError("the watch is over")
        if event["type"] == "DELETED":
            meta = event["object"]["metadata"]
            self._newest.pop((kind, meta["namespace"], meta["name"]), None)
        else:
            self._saw(kind, event["object"])

    def _saw(self, kind: str, item: Object) -> None:
        key = (kind, item["metadata"]["namespace"], item["metadata"]["name"])
        self._newest[key] = item
        if key not in self._queued:
            self._queued.add(key)
            self._waiting.put_nowait(key)

    async def _work(self) -> None:
        while True:
            key = await self._waiting.get()
            self._queued.discard(key)
            item = self._newest.pop(key, None)
            if item is not None:
                try:
                    await (self._pod(item) if key[0] == "pod" else self._claim(item))
                except (aiohttp.ClientError, TimeoutError):
                    self.failures += 1
                    self._saw(key[0], item)

    async def _claim(self, claim: Object) -> None:
        if claim["spec"].get("volumeName"):
            return
        meta, spec = claim["metadata"], claim["spec"]
        reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        reference |= {key: meta[key] for key in ("namespace", "name", "uid")}
        volume = {
            "metadata": {"name": f"bench-{meta['uid']}"},
            "spec": {
                "capacity": spec["resources"]["requests"],
                "accessModes": spec["accessModes"],
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": spec.get("storageClassName", ""),
                "claimRef": reference,
                "hostPath": {"path": "/bench"},
            },
        }
        await self._request("POST", "/api/v1/persistentvolumes", volume)

    async def _pod(self, pod: Object) -> None:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if meta.get("deletionTimestamp"):
            status = {"phase": "Succeeded", "containerStatuses": _containers(pod, ended=True)}
            await self._request("PATCH", f"{path}/status", {"status": status}, MERGE)
            await self._request("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}})
        elif not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": MACHINE}
            await self._request("POST", f"{path}/binding", {"metadata": {"name": meta["name"]}, "target": target})
        else:
            guarded = any(c["name"] == "guard" for c in pod["spec"].get("initContainers", []))
            if guarded and "jil.io/start-permit" not in (meta.get("annotations") or {}):
                return
            if pod.get("status", {}).get("phase") != "Running":
                await self._request("PATCH", f"{path}/status", {"status": _running(pod)}, MERGE)


def _containers(pod: Object, *, ended: bool, inits: bool = False) -> list[Object]:
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}}
    state = done if ended else {"running": {"startedAt": _now()}}
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": container["image"],
            "ready": not ended or inits,
            "started": not ended,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"].get("initContainers" if inits else "containers", [])
    ]


def _running(pod: Object) -> Object:
    return {
        "phase": "Running",
        "startTime": _now(),
        "conditions": [
            {"type": type_, "status": "True", "lastTransitionTime": _now()}
            for type_ in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ],
        "initContainerStatuses": _containers(pod, ended=True, inits=True),
        "containerStatuses": _containers(pod, ended=False),
    }


def health_app() -> web.Application:
    """Every node is well; the height grows by one in ten seconds, so that no reading is news."""
    began = datetime.now(UTC)

    async def answer(request: web.Request) -> web.Response:
        part = {"ok": True, "version": "simulated", "error": None}
        height = 100 + int((datetime.now(UTC) - began).total_seconds() / 10)
        chain = part | {"height": height, "catchingUp": False, "peers": 0, "votingPower": 10}
        whose = {"nodeId": request.match_info["name"].upper()}  # the rig names nodes by their ids
        return web.json_response(whose | {"database": part, "cache": part, "broker": part, "chain": chain})

    app = web.Application()
    app.router.add_get("/{namespace}/{name}", answer)
    return app


async def main(kubeconfig: str, port: str) -> None:
    """Runs until it is killed."""
    runner = web.AppRunner(health_app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    await Pods(Path(kubeconfig)).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
