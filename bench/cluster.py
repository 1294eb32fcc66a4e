"""The rig: a control plane sized for many objects, namespaces and networks to fill, operators whose cost can be read."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from testbed.apiclient import ApiClient, ApiError
from testbed.controlplane import ETCD, ControlPlane
from testbed.ports import free_ports
from testbed.processes import end, spawn_bound
from tests.waiting import until_served

ROOT = Path(__file__).resolve().parents[1]
SYSTEM = "jil-system"
JIL = "/apis/jil.io/v1alpha1"
CORE = "/api/v1/namespaces"
DIGEST = "sha256:" + "ab" * 32
PER_NETWORK = 20
PER_NAMESPACE = 10
_TICKS = os.sysconf("SC_CLK_TCK")


class LargeControlPlane(ControlPlane):
    """etcd with room for 80,000 children (8 GiB instead of 2), controllers with more workers."""

    def __init__(self) -> None:
        super().__init__(
            # 20,000 cluster IPs and more.
            service_cidr="10.0.0.0/12",
            apiserver_flags=["--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000"],
            controller_flags=[
                "--concurrent-statefulset-syncs=20",
                "--concurrent-deployment-syncs=20",
                "--concurrent-replicaset-syncs=20",
                "--pvclaimbinder-sync-period=5s",
                # The one simulated machine sends no heartbeats: after a minute it would be lost, and every pod with it.
                "--controllers=*,-node-lifecycle-controller",
            ],
        )

    def _arguments(self, name: str) -> list[str]:
        more = ["--quota-backend-bytes=8589934592"] if name == ETCD else []
        return [*super()._arguments(name), *more]


@dataclass(frozen=True)
class Place:
    """One JILNode to be: everything that has to be there before it is."""

    network: str
    namespace: str
    name: str
    node_id: str

    @property
    def path(self) -> str:
        """Of the JILNode."""
        return f"{JIL}/namespaces/{self.namespace}/jilnodes/{self.name}"

    def manifest(self) -> dict[str, Any]:
        """A minimal JILNode."""
        return {
            "apiVersion": "jil.io/v1alpha1",
            "kind": "JILNode",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {"nodeId": self.node_id, "region": "bench", "country": "CH", "datacenter": "bench-1"},
        }


class Operator:
    """One operator process; its cost is read from /proc and its own metrics."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def cpu(self) -> float:
        """User and system CPU seconds so far."""
        return cpu_of(self.process.pid)

    def rss(self) -> float:
        """Resident memory, MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"process {self.process.pid} has no VmRSS: it has ended, see {self.log}")

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the series of ``name`` that have these labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.partition("{")[0].partition(" ")[0] == name and all(each in line for each in wanted)
        )

    def end(self, grace: float = 30.0) -> None:
        """SIGTERM, later SIGKILL; ``grace`` 0 is a crash."""
        end(self.process, grace)


def cpu_of(pid: int) -> float:
    """User and system CPU seconds of a running process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Rig:
    """A control plane with CRDs, one release, simulated kubelets; ``places`` makes room for nodes."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane, self.folder = plane, folder
        self.api: ApiClient = plane.client(user="bench", groups=["system:masters"], agent="bench")
        self._operators = 0
        self._places = 0
        (self._health_port,) = free_ports(1)

    def prepare(self) -> None:
        """CRDs, namespaces, the release; starts the kubelets."""
        self._namespace(SYSTEM, {})
        crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
        for crd in crds:
            self.api.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}", crd)
        until_served(self.api, crds)
        image = {"image": f"registry.example/jil/bench@{DIGEST}"}
        spec = {
            "version": "1.0.0",
            "broker": {"flavour": "kafka"},
            "images": dict.fromkeys(("database", "cache", "broker", "validator", "health"), image),
            "services": [{"name": "transfers", "image": image, "needs": ["database"]}],
        }
        body = {"apiVersion": "jil.io/v1alpha1", "kind": "JILRelease", "metadata": {"name": "r1"}, "spec": spec}
        self.api.create(f"{JIL}/jilreleases", body)
        lease = {"metadata": {"name": "jil-operator"}, "spec": {}}
        self.api.create(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases", lease)
        self._pods = spawn_bound(
            [sys.executable, "-m", "bench.pods", str(self.plane.kubeconfig), str(self._health_port)],
            self.folder / "pods.log",
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}"},
        )

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far of everything on the rig but operators, by name."""
        pids = self.plane.pids() | {"simulated kubelets": self._pods.pid}
        return {name: cpu_of(pid) for name, pid in pids.items()}

    def close(self) -> None:
        """Ends the kubelets; operators are ended by who started them, or with this process."""
        end(self._pods, 1.0)

    def places(self, count: int) -> list[Place]:
        """Networks of 20 members (one founder), namespaces of 10 nodes, with their jurisdictions."""
        made: list[Place] = []
        while len(made) < count:
            number = self._places // PER_NETWORK
            self._places += PER_NETWORK
            places = [self._place(number, member) for member in range(PER_NETWORK)]
            members = [
                {"nodeId": p.node_id, "zone": "CH/FINMA", "namespace": p.namespace, "founder": p is places[0]}
                for p in places
            ]
            network = {"chainId": places[0].network, "track": "devnet", "genesis": {"time": "2026-01-01T00:00:00Z"}}
            self.api.create(
                f"{JIL}/jilnetworks",
                {
                    "apiVersion": "jil.io/v1alpha1",
                    "kind": "JILNetwork",
                    "metadata": {"name": places[0].network},
                    "spec": network | {"members": members, "disruption": {"allowHalt": True}},
                },
            )
            for namespace in sorted({p.namespace for p in places}):
                self.jurisdiction(namespace, network=places[0].network, release="r1")
            made += places
        return made[:count]

    def jurisdiction(self, namespace: str, *, network: str, release: str) -> None:
        """A namespace that is set up, with the jurisdiction that wants the release."""
        self._namespace(namespace, _labels(network))
        self.api.create(
            f"{JIL}/namespaces/{namespace}/jiljurisdictions",
            {
                "apiVersion": "jil.io/v1alpha1",
                "kind": "JILJurisdiction",
                "metadata": {"name": "main", "namespace": namespace},
                "spec": {"zone": "CH/FINMA", "network": network, "release": release},
            },
        )

    @staticmethod
    def _place(network: int, member: int) -> Place:
        serial = network * PER_NETWORK + member
        letters = "".join(
            chr(ord("A") + digit) for digit in (serial // 67600 % 26, serial // 2600 % 26, serial // 100 % 26)
        )
        node_id = f"CH-{letters}-{serial % 100:02d}"
        namespace = f"bench-{network}-{member // PER_NAMESPACE}"
        return Place(f"bench-{network}", namespace, node_id.lower(), node_id)

    def create(self, places: list[Place]) -> None:
        """POST the JILNodes."""
        for place in places:
            self.api.create(place.path.rpartition("/")[0], place.manifest())

    def ready(self, *namespaces: str) -> int:
        """How many JILNodes are Ready, of these namespaces or of all."""
        paths = [f"{JIL}/namespaces/{namespace}/jilnodes" for namespace in namespaces] or [f"{JIL}/jilnodes"]
        nodes = [node for path in paths for node in self.api.get(path)["items"]]
        return sum(node.get("status", {}).get("phase") == "Ready" for node in nodes)

    def until_ready(self, count: int, seconds: float) -> float:
        """Seconds until that many nodes are Ready. Raises TimeoutError with how far it came."""
        pause = max(0.1, count / 200)  # asking lists them all: the API server has other things to do
        wanted = f"{count} nodes to be Ready"
        return until(lambda: self.ready() >= count, wanted, seconds, pause=pause, now=lambda: f"{self.ready()}")

    def operator(self, **settings: str) -> Operator:
        """Starts an operator with its ordinary settings."""
        (port,) = free_ports(1)
        self._operators += 1
        log = self.folder / f"operator-{self._operators}.log"
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "operator"),
            "JIL_KUBECONFIG": str(self.plane.kubeconfig),
            "JIL_SYSTEM_NAMESPACE": SYSTEM,
            "JIL_POD_NAME": f"operator-{self._operators}",
            "JIL_HEALTH_URL": f"http://127.0.0.1:{self._health_port}/{{namespace}}/{{name}}",
            "JIL_HTTP_HOST": "127.0.0.1",
            "JIL_HTTP_PORT": str(port),
            **settings,
        }
        return Operator(spawn_bound([sys.executable, "-m", "jil.controller"], log, env=environment), port, log)

    def leading(self, operator: Operator, seconds: float = 120) -> float:
        """Seconds until it leads."""

        def leads() -> bool:
            if operator.process.poll() is not None:
                raise RuntimeError(f"the operator has ended: {operator.log.read_text()[-2000:]}")
            return "leading with fencing number" in operator.log.read_text()

        return until(leads, "the operator to lead", seconds)

    def requests(self, since: int) -> list[dict[str, Any]]:
        """Audit log entries of operators since a position of the log, Leases and watches left out."""
        found = []
        for entry in self.plane.audit_entries(since):
            agent = entry.get("userAgent", "")
            ours = agent.startswith(("jil-operator/", "kopf/"))
            lease = (entry.get("objectRef") or {}).get("resource") == "leases"
            if ours and not lease and entry["verb"] != "watch":
                found.append(entry)
        return found

    def _namespace(self, name: str, labels: dict[str, str]) -> None:
        try:
            self.api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        except ApiError as error:
            if error.code != 409:
                raise


def _labels(network: str) -> dict[str, str]:
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"jil.io/network": network, "jil.io/jurisdiction": "main"} | restricted


def is_write(entry: dict[str, Any]) -> bool:
    """Whether an audit entry changed something."""
    return entry["verb"] in ("create", "update", "patch", "delete", "deletecollection")


def is_creation(entry: dict[str, Any]) -> bool:
    """Whether an audit entry made something that was not there."""
    return is_write(entry) and entry.get("responseStatus", {}).get("code") == 201


def moment_of(entry: dict[str, Any]) -> float:
    """When an audit entry's request was answered, as a Unix time."""
    return datetime.fromisoformat(entry["stageTimestamp"].replace("Z", "+00:00")).timestamp()


def is_sample(entry: dict[str, Any]) -> bool:
    """Heights and lag, written once in a while: no part of "0 writes at rest"."""
    return "jil-operator-samples" in entry.get("requestURI", "")


def until(
    condition: Callable[[], object], what: str, seconds: float, *, pause: float = 0.1, now: Callable[[], str] = str
) -> float:
    """Seconds until the condition holds. Raises TimeoutError, with ``now()`` for how far it came."""
    began = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - began
        except OSError:
            pass  # a server that is too busy to accept: the deadline decides
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"waited {seconds:.0f} s for {what} ({now()})")
        time.sleep(pause)


@contextmanager
def rig() -> Iterator[Rig]:
    """A rig of its own, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="jil-bench-") as folder, LargeControlPlane() as plane:
        made = Rig(plane, Path(folder))
        made.prepare()
        try:
            yield made
        finally:
            made.close()
