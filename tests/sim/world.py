"""One simulated world: a real control plane, simulated kubelet and endpoints, and the real operator as a process."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from testbed.apiclient import ApiClient, ApiError
from testbed.controlplane import ControlPlane
from testbed.processes import spawn_bound
from tests.sim.health import Document, SimHealth, document
from tests.sim.kubelet import HEARTBEAT_S, SimKubelet
from tests.sim.validators import SimValidators
from tests.waiting import PATIENCE_S, comes_true, until_served

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "ab" * 32
SYSTEM = "jil-system"
JIL = "/apis/jil.io/v1alpha1"


def image(name: str) -> dict[str, str]:
    return {"image": f"registry.example/jil/{name}@{DIGEST}"}


def release(name: str = "r1", services: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "jil.io/v1alpha1",
        "kind": "JILRelease",
        "metadata": {"name": name},
        "spec": {
            "version": "0.1.0",
            "broker": {"flavour": "kafka"},
            "images": {c: image(c) for c in ("database", "cache", "broker", "validator", "health")},
            "services": services
            if services is not None
            else [{"name": "transfers", "image": image("node"), "needs": ["database"]}],
        },
    }


def condition_of(node: dict[str, Any], type_: str) -> dict[str, Any]:
    """A condition of an object that was read once: beside phase and other conditions of the same moment."""
    conditions = node.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == type_), {})


class World:
    """``with World(control_plane) as world``. Namespaces, CRDs, one network with the members that are asked for."""

    def __init__(
        self,
        control_plane: ControlPlane,
        logs: Path,
        env: dict[str, str] | None = None,
        *,
        machines: int = 1,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """``env``: settings of the operators that are started, beside those of the world. ``machines``: how many
        simulated Kubernetes nodes there are, each with a heartbeat every ``heartbeat_s``."""
        self.plane = control_plane
        self.api: ApiClient = control_plane.client(user="tester", groups=["system:masters"], agent="sim-world")
        kubelet = control_plane.client(user="sim-kubelet", groups=["system:masters"], agent="sim-kubelet")
        self.validators = SimValidators(kubelet)
        self.kubelet = SimKubelet(kubelet, machine_count=machines, validators=self.validators, heartbeat_s=heartbeat_s)
        self.health = SimHealth(self._node_says)
        self.logs = logs
        self.env = env or {}
        self.operators: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> World:
        self.ensure_namespace(SYSTEM)
        self._ensure_lease()
        crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
        for crd in crds:
            self.api.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}", crd)
        until_served(self.api, crds)
        self.kubelet.start()
        self.health.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.operators:
            self.kill(process)
        self.health.__exit__()
        self.kubelet.stop()
        # I1 over everything that happened in this world, whatever its tests were about.
        assert self.validators.violations() == []

    def _node_says(self, namespace: str, name: str) -> Document | None:
        """The health document of a node, None when no health pod of it is ready."""
        components = self.kubelet.components(namespace, name)
        if not components.get("health", False):
            return None
        return document(components, self.validators.view(namespace, name), datetime.now(UTC))

    def _ensure_lease(self) -> None:
        """An empty Lease, as the chart brings one: a first operator need not wait out a leader that never was."""
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "jil-operator", "namespace": SYSTEM},
        }
        try:
            self.api.create(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases", body)
        except ApiError as error:
            if error.code != 409:
                raise

    # -- objects -----------------------------------------------------------------------------------------------------
    def ensure_namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        try:
            self.api.create("/api/v1/namespaces", body)
        except ApiError as error:
            if error.code != 409:
                raise

    def network(self, name: str, members: list[dict[str, Any]], *, allow_halt: bool = True) -> None:
        body = {
            "apiVersion": "jil.io/v1alpha1",
            "kind": "JILNetwork",
            "metadata": {"name": name},
            "spec": {
                "chainId": name,
                "track": "devnet",
                "genesis": {"time": "2026-01-01T00:00:00Z"},
                "members": members,
                "disruption": {"allowHalt": allow_halt},
            },
        }
        self.api.create(f"{JIL}/jilnetworks", body)

    def release(self, name: str = "r1", services: list[dict[str, Any]] | None = None) -> None:
        self.api.create(f"{JIL}/jilreleases", release(name, services))

    def jurisdiction(self, namespace: str, network: str, zone: str = "CH/FINMA", release: str = "r1") -> None:
        """Namespace with its labels, and the JILJurisdiction ``main`` in it."""
        labels = {
            "jil.io/network": network,
            "jil.io/jurisdiction": "main",
            "jil.io/image-trust": "required",
            "pod-security.kubernetes.io/enforce": "restricted",
        }
        self.ensure_namespace(namespace, labels)
        body = {
            "apiVersion": "jil.io/v1alpha1",
            "kind": "JILJurisdiction",
            "metadata": {"name": "main", "namespace": namespace},
            "spec": {"zone": zone, "network": network, "release": release, "compliance": {"transferLimit": "100"}},
        }
        self.api.create(f"{JIL}/namespaces/{namespace}/jiljurisdictions", body)

    def node(self, namespace: str, name: str, node_id: str, **spec: Any) -> dict[str, Any]:
        body = {
            "apiVersion": "jil.io/v1alpha1",
            "kind": "JILNode",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"nodeId": node_id, "region": "ch-zug", "country": "CH", "datacenter": "zug-1", **spec},
        }
        self.api.create(f"{JIL}/namespaces/{namespace}/jilnodes", copy.deepcopy(body))
        return body

    def get_node(self, namespace: str, name: str) -> dict[str, Any]:
        return self.api.get(f"{JIL}/namespaces/{namespace}/jilnodes/{name}")

    def patch_node(self, namespace: str, name: str, spec: dict[str, Any]) -> None:
        path = f"{JIL}/namespaces/{namespace}/jilnodes/{name}"
        self.api.request("PATCH", path, {"spec": spec}, content_type="application/merge-patch+json")

    def record(self, node_id: str) -> dict[str, Any]:
        return self.api.get(f"{JIL}/namespaces/{SYSTEM}/jilnoderecords/{node_id.lower()}")

    def phase(self, namespace: str, name: str) -> str | None:
        found: str | None = self.get_node(namespace, name).get("status", {}).get("phase")
        return found

    def condition(self, namespace: str, name: str, type_: str) -> dict[str, Any]:
        return condition_of(self.get_node(namespace, name), type_)

    # -- the operator ------------------------------------------------------------------------------------------------
    def operator(self, *, kubeconfig: Path | None = None, **env: str) -> subprocess.Popen[bytes]:
        """Starts the real operator outside the cluster. Its log is a file of its own."""
        number = len(self.operators)
        process = spawn_bound(
            [sys.executable, "-m", "jil.controller"],
            self.logs / f"operator-{number}.log",
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "operator"),
                "JIL_KUBECONFIG": str(kubeconfig or self.plane.kubeconfig),
                "JIL_SYSTEM_NAMESPACE": SYSTEM,
                "JIL_POD_NAME": f"operator-{number}",
                "JIL_HEALTH_URL": self.health.url,
                "JIL_LOG_LEVEL": "info",
                "JIL_HTTP_PORT": "0",
                "JIL_HEALTH_INTERVAL": "0.5",
                **self.env,
                **env,
            },
        )
        self.operators.append(process)
        return process

    @staticmethod
    def kill(process: subprocess.Popen[bytes], sig: int = signal.SIGKILL) -> None:
        if process.poll() is None:
            process.send_signal(sig)
            process.wait(timeout=90)

    def log(self, number: int = 0) -> str:
        return (self.logs / f"operator-{number}.log").read_text(errors="replace")

    # -- waiting -----------------------------------------------------------------------------------------------------
    def until(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
        """Polls the real API until ``condition`` holds; fails with what was waited for and the operator's last words."""
        held, last = comes_true(condition, seconds, pause=0.1, forgiven=(ApiError, OSError, KeyError))
        if not held:
            tails = "\n".join(self.log(n)[-3000:] for n in range(len(self.operators)))
            raise AssertionError(f"waited {seconds:.0f} s for {what}{last}\n{tails}")

    def until_ready(self, namespace: str, name: str, seconds: float = PATIENCE_S) -> None:
        self.until(lambda: self.phase(namespace, name) == "Ready", f"{namespace}/{name} to be Ready", seconds)
