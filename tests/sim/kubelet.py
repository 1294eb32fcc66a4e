"""Simulated kubelets, scheduler and volume provisioner: pods of JIL nodes get a machine, volumes, and statuses.

Every pod has a fate (``fates``), a good life unless a test says otherwise. Machines can be lost: they report nothing
any more, while their processes go on. Heartbeats are real Leases, so what follows from a lost machine (its taints, its
pods marked not ready) is done by the real kube-controller-manager.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from datetime import UTC, datetime
from typing import Any

import aiohttp

from testbed.apiclient import ApiClient
from tests.sim import machines
from tests.sim.fates import Fate, InitFailure, Life, Note, Ready, Report, Unschedulable, ended, essence, report
from tests.sim.validators import Guard, SimValidators
from tests.sim.wire import Object, Refused, Wire

MERGE = "application/merge-patch+json"
HEARTBEAT_S = 5.0
WORKERS = 8

Key = tuple[str, str]


class SimKubelet:
    """Runs in a thread of its own until it is stopped; ``with SimKubelet(api)``.

    ``fates``: (namespace, name of a pod or of its workload) -> what happens to it; use ``fail`` and ``heal``.
    ``errors``: what the API server refused, for a look after a test. ``heartbeat_s``: how often machines report.
    """

    def __init__(
        self,
        api: ApiClient,
        *,
        machine_count: int = 1,
        validators: SimValidators | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._api = api
        self._wire: Wire
        self._count = machine_count
        self._heartbeat_s = heartbeat_s
        self.validators = validators or SimValidators()
        self.fates: dict[Key, Fate] = {}
        self.errors: list[str] = []
        self._lost: set[str] = set()
        self._pods: dict[Key, Object] = {}
        self._claims: dict[Key, Object] = {}
        self._lives: dict[str, Life] = {}
        self._told: set[tuple[str, str, str]] = set()
        self._current: dict[str, Fate] = {}
        self._homes: dict[str, str] = {}
        self._turn = itertools.count()
        self._dirty: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._busy: set[Key] = set()
        self._ips = itertools.count(1)
        self._pod_ips: dict[str, str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sim-kubelet", daemon=True)

    # -- for tests ---------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Returns when the machines are registered and everything is watched."""
        self._thread.start()
        if not self._up.wait(120):
            raise AssertionError(f"the simulated kubelet did not start: {self.errors[-3:]}")

    def stop(self) -> None:
        """Ends the thread; pods and machines stay as they are."""
        self._stop.set()
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(lambda: None)
        self._thread.join(timeout=10)

    def __enter__(self) -> SimKubelet:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def fail(self, namespace: str, name: str, fate: Fate) -> None:
        """From now on this happens to the pod, or to every pod whose name begins with ``name`` and a dash."""
        self.fates[(namespace, name)] = fate
        self._look_at_all()

    def heal(self, namespace: str, name: str) -> None:
        """The failure ends; restarts that were counted stay counted."""
        self.fates.pop((namespace, name), None)
        self._look_at_all()

    def lose(self, machine: str | None = None) -> None:
        """A machine (None: all) reports nothing any more, as of a host that lost its network. Its processes go on."""
        self._lost |= {machine} if machine else {machines.machine_name(n + 1) for n in range(self._count)}

    def find(self, machine: str | None = None) -> None:
        """A lost machine (None: all) is back, and reports."""
        self._lost -= {machine} if machine else set(self._lost)
        self._look_at_all()

    pause = lose
    resume = find

    def machine_of(self, namespace: str, node: str) -> str:
        """The machine on which the pods of a JILNode run: all of one node on one, nodes spread over machines."""
        home = f"{namespace}/{node}"
        if home not in self._homes:
            self._homes[home] = machines.machine_name(next(self._turn) % self._count + 1)
        return self._homes[home]

    def components(self, namespace: str, node: str) -> dict[str, bool]:
        """Component -> whether a pod of it is ready, for the pods of one JILNode that have a machine."""
        found: dict[str, bool] = {}
        for (space, _), pod in tuple(self._pods.items()):
            labels = pod["metadata"]["labels"]
            if space != namespace or labels.get("jil.io/node") != node:
                continue
            ready = any(
                c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", [])
            )
            name = labels["app.kubernetes.io/name"]
            found[name] = found.get(name, False) or ready
        return found

    def _look_at_all(self) -> None:
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(lambda: [self._touch(key) for key in tuple(self._pods)])

    # -- the thread --------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(ssl=self._api._tls, limit=WORKERS + 8)
        async with aiohttp.ClientSession(connector=connector) as session:
            self._wire = Wire(self._api, session)
            tasks = [
                asyncio.create_task(self._again_and_again(work))
                for work in (self._watch_pods, self._watch_claims, self._machines, *([self._work] * WORKERS))
            ]
            try:
                while not self._stop.is_set():
                    await asyncio.sleep(0.05)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _again_and_again(self, work: Any) -> None:
        while True:
            try:
                await work()
            except (Refused, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                # An API server that is down or busy: everything is listed again.
                self.errors.append(f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(0.3)

    # -- machines ----------------------------------------------------------------------------------------------------
    async def _machines(self) -> None:
        await self._register()
        self._up.set()
        await self._beat()

    async def _register(self) -> None:
        for number in range(1, self._count + 1):
            await self._wire.unless((409,), "POST", "/api/v1/nodes", machines.kubernetes_node(number))
            if machines.machine_name(number) not in self._lost:
                await self._node_status(number)

    async def _node_status(self, number: int) -> None:
        path = f"/api/v1/nodes/{machines.machine_name(number)}/status"
        await self._wire.request("PATCH", path, {"status": machines.node_status(number, datetime.now(UTC))}, MERGE)

    async def _beat(self) -> None:
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{machines.LEASES}/leases"
        while True:
            for number in range(1, self._count + 1):
                name = machines.machine_name(number)
                if name in self._lost:
                    continue
                body = machines.lease(number, datetime.now(UTC))
                spec = {"spec": body["spec"]}
                if await self._wire.unless((404,), "PATCH", f"{leases}/{name}", spec, MERGE) is None:
                    await self._wire.unless((409, 404), "POST", leases, body)
                # It may have been called lost without a test's doing: an API server that paused heard nobody.
                if not machines.reports(await self._wire.request("GET", f"/api/v1/nodes/{name}")):
                    await self._node_status(number)
            # Short steps, so that a machine that was found reports at once.
            before = frozenset(self._lost)
            for _ in range(max(1, int(self._heartbeat_s / 0.1))):
                await asyncio.sleep(0.1)
                if frozenset(self._lost) != before:
                    break

    # -- watching ----------------------------------------------------------------------------------------------------
    async def _watch_pods(self) -> None:
        await self._wire.watch("/api/v1/pods", self._saw_pods)

    async def _watch_claims(self) -> None:
        await self._wire.watch("/api/v1/persistentvolumeclaims", self._saw_claims)

    def _saw_pods(self, type_: str | None, items: list[Object]) -> None:
        if type_ is None:
            for gone in set(self._pods) - {_key(i) for i in items}:
                self._gone(self._pods.pop(gone))
        for item in items:
            key = _key(item)
            known = self._pods.get(key)
            if known is not None and known["metadata"]["uid"] != item["metadata"]["uid"]:
                self._gone(known)
            if type_ == "DELETED":
                if self._pods.pop(key, None) is not None:
                    self._gone(item)
            else:
                self._pods[key] = item
                self._touch(key)

    def _gone(self, pod: Object) -> None:
        """The object is gone. Its machine ends the processes when it hears of it: a lost machine does not."""
        if pod["spec"].get("nodeName") not in self._lost:
            self.validators.stop(pod["metadata"]["uid"])

    def _saw_claims(self, type_: str | None, items: list[Object]) -> None:
        if type_ is None:
            self._claims = {}
        for item in items:
            key = _key(item)
            if type_ == "DELETED":
                self._claims.pop(key, None)
                continue
            self._claims[key] = item
            if not item["spec"].get("volumeName"):
                self._touch(("claim:" + key[0], key[1]))
            else:
                for pod in self._pods.values():
                    if pod["metadata"]["namespace"] == key[0] and key[1] in _claims_of(pod):
                        self._touch(_key(pod))

    # -- working -----------------------------------------------------------------------------------------------------
    def _touch(self, key: Key) -> None:
        if key not in self._queued:
            self._queued.add(key)
            self._dirty.put_nowait(key)

    async def _work(self) -> None:
        while True:
            key = await self._dirty.get()
            self._queued.discard(key)
            if key in self._busy:
                asyncio.get_running_loop().call_later(0.02, self._touch, key)
                continue
            self._busy.add(key)
            try:
                if key[0].startswith("claim:"):
                    await self._provide((key[0].removeprefix("claim:"), key[1]))
                else:
                    await self._one(key)
            except (Refused, aiohttp.ClientError, TimeoutError, OSError) as error:
                code = getattr(error, "code", 0)
                if code not in (404, 409):
                    self.errors.append(f"{type(error).__name__}: {error}"[:200])
                asyncio.get_running_loop().call_later(0.2, self._touch, key)
            finally:
                self._busy.discard(key)

    async def _provide(self, key: Key) -> None:
        """A volume for a claim that has none; the real controller binds them."""
        claim = self._claims.get(key)
        if claim is None or claim["spec"].get("volumeName"):
            return
        machine = self.machine_of(key[0], (claim["metadata"].get("labels") or {}).get("jil.io/node", key[1]))
        if machine in self._lost:
            asyncio.get_running_loop().call_later(0.2, self._touch, ("claim:" + key[0], key[1]))
            return
        await self._wire.unless((409,), "POST", "/api/v1/persistentvolumes", machines.volume(claim, machine))

    async def _one(self, key: Key) -> None:
        pod = self._pods.get(key)
        if pod is None:
            return
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{key[0]}/pods/{key[1]}"
        machine = pod["spec"].get("nodeName")
        if machine is None:
            await self._schedule(pod, path)
            return
        if machine in self._lost or not machine.startswith("sim-node-"):
            return
        now = datetime.now(UTC)
        if meta.get("deletionTimestamp"):
            self.validators.stop(meta["uid"])
            life = self._life(pod, now)
            await self._wire.request("PATCH", f"{path}/status", {"status": ended(pod, life, now)}, MERGE)
            # A kubelet's last word: the object goes once every container has ended.
            await self._wire.request("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}})
            return
        found = self._report(pod, machine, now)
        for note in found.notes:
            await self._tell(pod, note)
        if essence(found.status) != essence(pod.get("status", {})):
            written = await self._wire.request("PATCH", f"{path}/status", {"status": found.status}, MERGE)
            # The watch may have been quicker with what came after this write: a deletion, say, that is told only once.
            known = self._pods.get(key, {}).get("metadata", {})
            if known.get("uid") == meta["uid"] and _version(known) < _version(written["metadata"]):
                self._pods[key] = written
        if found.again_in is not None:
            asyncio.get_running_loop().call_later(found.again_in, self._touch, key)

    async def _schedule(self, pod: Object, path: str) -> None:
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            await self._wire.request("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}})
            return
        now = datetime.now(UTC)
        fate: Fate | None = self._fate(pod)
        machine = self.machine_of(meta["namespace"], meta["labels"].get("jil.io/node", meta["name"]))
        if not isinstance(fate, Unschedulable) and machine in self._lost:
            fate = Unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint(s).")
            asyncio.get_running_loop().call_later(0.5, self._touch, _key(pod))
        if not isinstance(fate, Unschedulable) and not all(
            self._volume(meta["namespace"], claim) for claim in _claims_of(pod)
        ):
            # As with WaitForFirstConsumer: the scheduler says nothing while the volume is made. `_saw_claims` looks again.
            return
        if isinstance(fate, Unschedulable):
            found = report(pod, fate, self._life(pod, now), now)
            if essence(found.status) != essence(pod.get("status", {})):
                await self._wire.request("PATCH", f"{path}/status", {"status": found.status}, MERGE)
            for note in found.notes:
                await self._tell(pod, note)
            return
        target = {"apiVersion": "v1", "kind": "Node", "name": machine}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
        await self._wire.request("POST", f"{path}/binding", binding)

    def _report(self, pod: Object, machine: str, now: datetime) -> Report:
        uid = pod["metadata"]["uid"]
        life, fate = self._life(pod, now), self._fate(pod)
        if self._current.get(uid, Ready()) != fate:
            self._current[uid] = fate
            life.turn(now)
        volumes = [v for c in _claims_of(pod) if (v := self._volume(pod["metadata"]["namespace"], c))]
        guard = Guard.PASS if life.inits_passed else self.validators.guard(pod, machine, volumes)
        if guard is Guard.FAIL and not isinstance(fate, InitFailure):
            fate = InitFailure()
        address = self._pod_ips.setdefault(uid, f"198.51.{100 + next(self._ips) // 250 % 100}.{next(self._ips) % 250}")
        number = int(machine.removeprefix("sim-node-"))
        found = report(
            pod,
            fate,
            life,
            now,
            may_pass=guard is Guard.PASS,
            host_ip=machines.machine_ip(number),
            pod_ip=address,
        )
        names = {c["name"] for c in pod["spec"]["containers"]}
        if found.running & names:
            self.validators.start(pod, machine, volumes)
        else:
            self.validators.stop(uid)
        return found

    def _life(self, pod: Object, now: datetime) -> Life:
        uid = pod["metadata"]["uid"]
        if uid not in self._lives:
            self._lives[uid] = Life(now, now)
        return self._lives[uid]

    def _fate(self, pod: Object) -> Fate:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if (namespace, name) in self.fates:
            return self.fates[(namespace, name)]
        for (where, prefix), fate in tuple(self.fates.items()):
            if where == namespace and name.startswith(prefix + "-"):
                return fate
        return Ready()

    def _volume(self, namespace: str, claim: str) -> str | None:
        found: str | None = self._claims.get((namespace, claim), {}).get("spec", {}).get("volumeName")
        return found

    async def _tell(self, pod: Object, note: Note) -> None:
        """One Warning Event per pod and reason; a namespace that goes away takes none."""
        meta = pod["metadata"]
        told = (meta["uid"], note.reason, note.message)
        if told in self._told:
            return
        event = machines.warning(meta, note.reason, note.message, note.component, datetime.now(UTC))
        await self._wire.unless((403, 404), "POST", f"/api/v1/namespaces/{meta['namespace']}/events", event)
        self._told.add(told)


def _version(metadata: Object) -> int:
    """One API server's versions may be compared; its own caches do the same."""
    return int(metadata["resourceVersion"])


def _key(item: Object) -> Key:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _claims_of(pod: Object) -> list[str]:
    return [
        v["persistentVolumeClaim"]["claimName"] for v in pod["spec"].get("volumes", []) if "persistentVolumeClaim" in v
    ]
