"""An operator in the test's own loop, operators as processes, and what the API server's audit log says of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from jil.api import kinds
from jil.cluster.access import Access, from_kubeconfig
from jil.engine.runtime import Runtime
from jil.engine.settings import Settings
from testbed.controlplane import ControlPlane
from tests.cluster.engine import tiny

ROOT = Path(__file__).parents[3]
LEASE = "jil-operator"


def make_lease(control_plane: ControlPlane, namespace: str) -> None:
    """What the chart installs: an empty Lease, so that the first start waits for nobody."""
    path = kinds.LEASE.path(namespace=namespace)
    control_plane.admin.create(path, {**kinds.LEASE.head(LEASE, namespace), "spec": {}})


def make_intent(control_plane: ControlPlane, namespace: str, name: str, **data: str) -> None:
    """A ConfigMap that the tiny operator acts on."""
    body = {**kinds.CONFIG_MAP.head(name, namespace), "data": data}
    body["metadata"] = {"name": name, "namespace": namespace, "labels": {"tiny": "intent"}}
    control_plane.admin.create(kinds.CONFIG_MAP.path(namespace=namespace), body)


def get(control_plane: ControlPlane, kind: kinds.Kind, namespace: str, name: str) -> dict[str, Any]:
    """The live object, {} when there is none."""
    path = kind.path(namespace=namespace, name=name)
    return control_plane.admin.get(path) if control_plane.admin.exists(path) else {}


async def until(what: str, condition: Callable[[], object], seconds: float = 30.0) -> float:
    """Real seconds until the condition holds; the operator goes on meanwhile. Fails after ``seconds``."""
    begun = time.monotonic()
    while not await asyncio.to_thread(condition):
        took = time.monotonic() - begun
        assert took < seconds, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


def settings(namespace: str, **more: Any) -> Settings:
    """Ordinary settings, a free port, the test's namespace as the system's."""
    return Settings(system_namespace=namespace, pod_name="test", http_host="127.0.0.1", http_port=0, **more)


@asynccontextmanager
async def operator(
    namespace: str, way_in: Access | Path, *, wait: bool = True, **more: Any
) -> AsyncIterator[tuple[Runtime, asyncio.Task[int]]]:
    """The tiny operator running in this loop; leading, unless ``wait`` is False. Stopped in order at the end."""
    access = from_kubeconfig(way_in) if isinstance(way_in, Path) else way_in
    async with Runtime(settings(namespace, **more), tiny.watches(namespace), way_in=access) as runtime:
        running = asyncio.create_task(runtime.run({"ConfigMap": tiny.Tiny(runtime)}, tiny.ROUTES))
        try:
            if wait:
                await until("the operator leads", lambda: runtime.elector.leading)
            yield runtime, running
        finally:
            runtime.stop()
            await running


def writes(control_plane: ControlPlane, since: int, *, namespace: str, user: str | None = None) -> list[dict[str, Any]]:
    """Write requests in ``namespace`` by the operator (or by ``user``) since a position, Leases left out."""
    found = []
    for entry in control_plane.audit_entries(since):
        reference = entry.get("objectRef") or {}
        if entry["verb"] not in ("create", "update", "patch", "delete", "deletecollection"):
            continue
        if reference.get("namespace") != namespace or reference.get("resource") == "leases":
            continue
        mine = entry["user"]["username"] == user if user else entry.get("userAgent", "").startswith("jil-operator/")
        if mine:
            found.append(entry)
    return found


def moment(entry: dict[str, Any]) -> float:
    """When the API server received a request, Unix seconds."""
    return datetime.fromisoformat(entry["requestReceivedTimestamp"].replace("Z", "+00:00")).timestamp()


class Process:
    """The tiny operator as a process of its own, as a user of its own (system:masters)."""

    def __init__(self, control_plane: ControlPlane, namespace: str, user: str, **environ: str) -> None:
        self.user = user
        self._control_plane = control_plane
        self._namespace = namespace
        kubeconfig = control_plane.kubeconfig_for_user(user, ["system:masters"])
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in end)
        self.child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("tiny.py"))],
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}",
                "JIL_KUBECONFIG": str(kubeconfig),
                "JIL_SYSTEM_NAMESPACE": namespace,
                "JIL_POD_NAME": user,
                "JIL_HTTP_HOST": "127.0.0.1",
                "JIL_HTTP_PORT": "0",
                "TINY_NAMESPACE": namespace,
                **environ,
            },
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def leads(self) -> bool:
        """Whether the Lease names this process."""
        assert self.child.poll() is None, self.output()
        return holder(self._control_plane, self._namespace).startswith(self.user + "_")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.child.send_signal(number)

    def output(self) -> str:
        """What it has written so far."""
        self.log.seek(0)
        return self.log.read()[-6000:]

    def lines(self) -> Iterator[dict[str, Any]]:
        """Its log lines."""
        for line in self.output().splitlines():
            if line.startswith("{"):
                yield json.loads(line)

    def end(self) -> None:
        """Make sure that it is gone."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        self.child.wait(10)
        self.log.close()


def holder(control_plane: ControlPlane, namespace: str) -> str:
    """Who holds the Lease; "" when nobody."""
    lease = get(control_plane, kinds.LEASE, namespace, LEASE)
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
