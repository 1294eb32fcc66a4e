"""Simulated validator processes: their start guard, the sign state on their volume, their place in a simulated chain.

Keys and genesis are the ones that the operator made: they are read from the Secret and the ConfigMap that the pod
mounts. A process lives on its machine, not in the API: it goes on when its pod object is deleted behind its back.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from testbed.apiclient import ApiClient, ApiError
from tests.sim.chain import SimChain, View

Object = dict[str, Any]


class Guard(Enum):
    """What the start guard of a pod does now."""

    WAIT = "wait"
    PASS = "pass"
    FAIL = "fail"


@dataclass(frozen=True)
class _Running:
    chain: SimChain
    address: str
    machine: str
    volume: str
    node: tuple[str, str]


class SimValidators:
    """All validators of one simulated world. ``api`` None: pods pass their guards on a permit alone, and no chain runs.

    ``sign_states``: volume -> height that was signed last with it; a test may put an old snapshot there.
    """

    def __init__(self, api: ApiClient | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock
        self._lock = threading.RLock()
        self._running: dict[str, _Running] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self.chains: dict[str, SimChain] = {}
        self.sign_states: dict[str, int] = {}

    # -- for the simulated kubelet -----------------------------------------------------------------------------------
    def guard(self, pod: Object, machine: str, volumes: Sequence[str]) -> Guard:
        """What the real start guard would answer: the permit is for this pod, and the sign state is as it says."""
        if not any(c["name"] == "guard" for c in pod["spec"].get("initContainers", [])):
            return Guard.PASS
        raw = (pod["metadata"].get("annotations") or {}).get("jil.io/start-permit")
        permit = json.loads(raw) if raw else {}
        if permit.get("podUID") != pod["metadata"]["uid"]:
            return Guard.WAIT
        if self._api is None or not volumes:
            return Guard.PASS
        with self._lock:
            volume, uid = volumes[0], pod["metadata"]["uid"]
            if any(r.volume == volume and r.machine == machine for u, r in self._running.items() if u != uid):
                return Guard.FAIL  # the lock on the volume is held by a process on this machine
            if permit["mode"] == "create":
                self.sign_states.setdefault(volume, 0)
            state = self.sign_states.get(volume)
            return Guard.FAIL if state is None or state < permit.get("minHeight", 0) else Guard.PASS

    def start(self, pod: Object, machine: str, volumes: Sequence[str]) -> None:
        """The main container of a pod runs. Only validators matter here."""
        meta = pod["metadata"]
        if self._api is None or meta["labels"].get("app.kubernetes.io/name") != "validator" or not volumes:
            return
        with self._lock:
            if meta["uid"] in self._running:
                return
        # Not under the lock: an API server that does not answer would silence the health endpoints of all nodes.
        try:
            genesis, address = self._genesis_of(pod), self._key_of(pod)
        except ApiError as error:
            if error.code != 404:
                raise ConnectionError(str(error)) from error  # as one that did not answer: it is tried again
            return  # a Secret that is gone: a real kubelet could not mount it
        except (StopIteration, KeyError):
            return
        node = (meta["namespace"], meta["labels"]["jil.io/node"])
        with self._lock:
            chain = self._chain_of(genesis)
            self._running[meta["uid"]] = _Running(chain, address, machine, volumes[0], node)
            chain.start(address, meta["uid"], self._clock(), state_height=self.sign_states.get(volumes[0], 0))

    def stop(self, uid: str) -> None:
        """The process of this pod is gone; what it signed is on its volume."""
        with self._lock:
            running = self._running.pop(uid, None)
            if running is None:
                return
            # One moment for both: a block made in between would be signed and not be in the sign state.
            now = self._clock()
            running.chain.advance(now)
            process = running.chain.processes.get(uid)
            if process is not None:
                self.sign_states[running.volume] = process.signed
            running.chain.stop(uid, now)

    # -- for health endpoints and tests ------------------------------------------------------------------------------
    def view(self, namespace: str, node: str) -> tuple[str, View] | None:
        """(consensus address, what it says) of a JILNode's validator; None when no process of it runs."""
        with self._lock:
            for running in self._running.values():
                if running.node == (namespace, node):
                    seen = running.chain.view(running.address, self._clock())
                    return (running.address, seen) if seen is not None else None
        return None

    def address(self, namespace: str, node: str) -> str:
        """The consensus address of a running validator. Raises KeyError when none runs."""
        with self._lock:
            for running in self._running.values():
                if running.node == (namespace, node):
                    return running.address
        raise KeyError(f"no validator of {namespace}/{node} runs")

    def chain(self, network: str) -> SimChain:
        """The chain of a network whose chainId is the network's name, advanced to now."""
        with self._lock:
            self.chains[network].advance(self._clock())
            return self.chains[network]

    def cut(self, network: str, addresses: Sequence[str]) -> None:
        """These validators hear only each other."""
        with self._lock:
            self.chains[network].cut(addresses, self._clock())

    def heal(self, network: str) -> None:
        """The end of every partition."""
        with self._lock:
            self.chains[network].heal(self._clock())

    def violations(self) -> list[str]:
        """What must never happen: one key in two processes, a sign state that went back."""
        with self._lock:
            return [v for chain in self.chains.values() for v in chain.violations]

    def _chain_of(self, genesis: Object) -> SimChain:
        if genesis["chain_id"] not in self.chains:
            powers = {v["address"]: int(v["power"]) for v in genesis["validators"]}
            self.chains[genesis["chain_id"]] = SimChain(genesis["chain_id"], powers, self._clock())
        return self.chains[genesis["chain_id"]]

    def _genesis_of(self, pod: Object) -> Object:
        assert self._api is not None
        namespace = pod["metadata"]["namespace"]
        name = next(
            v["configMap"]["name"] for v in pod["spec"]["volumes"] if v["name"] == "genesis" and "configMap" in v
        )
        text = self._api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")["data"]["genesis.json"]
        genesis: Object = json.loads(text)
        return genesis

    def _key_of(self, pod: Object) -> str:
        assert self._api is not None
        namespace = pod["metadata"]["namespace"]
        name = next(
            v["secret"]["secretName"] for v in pod["spec"]["volumes"] if v["name"] == "validator-key" and "secret" in v
        )
        if (namespace, name) not in self._keys:
            data = self._api.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")["data"]
            key = json.loads(base64.b64decode(data["priv_validator_key.json"]))
            self._keys[(namespace, name)] = key["address"]
        return self._keys[(namespace, name)]
