"""A stream of changes to JILNodes, and how long each takes until it has reached the object that it is about.

The stream waits for nobody: a node is changed again whether or not its last change has arrived; a change that a newer one
overtook has arrived with it. Replicas of a service go up by one each time, from 1 to 10: a step down waits for a grant of the
gate, which is its purpose and no latency. Beyond 10 (more than nine changes of a node in all) it begins at 1 again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

import aiohttp

from bench.cluster import Place, Rig
from jil.cluster.access import Credentials, from_kubeconfig

#: The service of the benchmark's release whose replicas are changed.
SERVICE = "transfers"
MOST_REPLICAS = 10
_GRACE_SECONDS = 120.0
_TRIES = 20


@dataclass(frozen=True)
class Load:
    """``per_second`` changes for ``seconds``, evenly over all nodes."""

    per_second: int
    seconds: int


@dataclass
class Result:
    """Seconds from sending each change until the watch delivered its Deployment. ``lost``: those that never came."""

    latencies: list[float] = field(default_factory=list)
    sent: int = 0
    sending: float = 0.0
    whole: float = 0.0
    lost: int = 0
    #: Answers 429 and 5xx of the API server to the changes themselves.
    refused: int = 0


class _Changes:
    def __init__(self, bench: Rig, places: list[Place], replicas: dict[tuple[str, str], int]) -> None:
        self._credentials = Credentials(from_kubeconfig(bench.plane.kubeconfig))
        self._places = places
        self._pending: defaultdict[tuple[str, str], deque[tuple[int, float]]] = defaultdict(deque)
        self._replicas = replicas
        self._watching = asyncio.Event()
        self._news = asyncio.Event()
        self.result = Result()

    async def run(self, load: Load) -> None:
        connector = aiohttp.TCPConnector(ssl=self._credentials.ssl_context() or True, limit=0)
        async with aiohttp.ClientSession(connector=connector) as self._session:
            watch = asyncio.create_task(self._watch())
            await self._watching.wait()
            began = time.monotonic()
            requests = []
            count = load.per_second * load.seconds
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number / load.per_second - time.monotonic()))
                requests.append(asyncio.create_task(self._change(self._places[number % len(self._places)])))
            await asyncio.gather(*requests)
            self.result.sending = time.monotonic() - began
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_SECONDS):
                    await self._until_all_arrived()
            self.result.whole = time.monotonic() - began
            self.result.lost = sum(map(len, self._pending.values()))
            watch.cancel()

    async def _until_all_arrived(self) -> None:
        while any(self._pending.values()):
            self._news.clear()
            await self._news.wait()

    async def _change(self, place: Place) -> None:
        key = (place.namespace, f"{place.name}-{SERVICE}")
        wanted = self._replicas.get(key, 1) % MOST_REPLICAS + 1
        self._replicas[key] = wanted
        self._pending[key].append((wanted, time.monotonic()))
        body = {"spec": {"services": [{"name": SERVICE, "replicas": wanted}]}}
        headers = {"Content-Type": "application/merge-patch+json"}
        url = self._credentials.access.server + place.path
        for _ in range(_TRIES):
            async with self._session.patch(url, data=json.dumps(body), headers=headers) as answer:
                await answer.read()
            if answer.status < 429:
                break
            self.result.refused += 1  # too busy, or too late: as a client does, once more
            await asyncio.sleep(0.5)
        answer.raise_for_status()
        self.result.sent += 1

    async def _watch(self) -> None:
        url = self._credentials.access.server + "/apis/apps/v1/deployments"
        query = f"labelSelector=app.kubernetes.io%2Fname%3D{SERVICE}"
        async with self._session.get(f"{url}?{query}") as answer:
            version = (await answer.json())["metadata"]["resourceVersion"]
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(f"{url}?{query}&watch=1&resourceVersion={version}", timeout=timeout) as stream:
            self._watching.set()
            rest = b""
            async for chunk in stream.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    item = json.loads(line)["object"]
                    self._arrived((item["metadata"]["namespace"], item["metadata"]["name"]), item["spec"]["replicas"])

    def _arrived(self, key: tuple[str, str], replicas: int) -> None:
        pending = self._pending[key]
        if not any(wanted == replicas for wanted, _ in pending):
            return
        arrived = False
        while not arrived:
            wanted, sent = pending.popleft()
            self.result.latencies.append(time.monotonic() - sent)
            arrived = wanted == replicas
        self._news.set()


def drive(bench: Rig, places: list[Place], load: Load, replicas: dict[tuple[str, str], int]) -> Result:
    """Send the changes and wait for them. ``replicas``: what was asked for last, by Deployment; changed here."""

    async def all_of_it() -> Result:
        changes = _Changes(bench, places, replicas)
        await changes.run(load)
        return changes.result

    return asyncio.run(all_of_it())
