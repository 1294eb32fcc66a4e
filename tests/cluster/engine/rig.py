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
from testbed.apiclient import ApiError
from testbed.controlplane import ControlPlane
from tests.cluster.engine import tiny
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[3]
LEASE = "jil-operator"
#: What one look at the API server may take on a busy machine.
_LOOK_S = 0.5


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
    try:
        return control_plane.admin.get(kind.path(namespace=namespace, name=name))
    except ApiError as error:
        if error.code != 404:
            raise
        return {}


async def until(what: str, condition: Callable[[], object], seconds: float = PATIENCE_S) -> float:
    """Waits until the condition holds; the operator goes on meanwhile. Fails after ``seconds``.

    Returns the seconds that it took, without those for which the machine or the API server stood still: what a look took
    beyond half a second is nothing that the operator could have made better.
    """
    begun, hindered, over, last = time.monotonic(), 0.0, False, ""
    while not over:
        looked = time.monotonic()
        over = looked - begun >= seconds
        try:
            if await asyncio.to_thread(condition):
                return time.monotonic() - begun - hindered - max(0.0, time.monotonic() - looked - _LOOK_S)
        except (ApiError, OSError) as error:
            last = f" (last error: {error})"
        await asyncio.sleep(0.05)
        hindered += max(0.0, time.monotonic() - looked - _LOOK_S)
    raise AssertionError(f"{what}: not within {seconds:g} s{last}")


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
        # Opened twice: a place that is read from must not be the place that the child writes to.
        self._sink = tempfile.NamedTemporaryFile("ab")  # noqa: SIM115 (closed in end)
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
            stdout=self._sink,
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
        """The end of what it has written so far."""
        return self._written()[-6000:]

    def lines(self) -> Iterator[dict[str, Any]]:
        """Its log lines; one that is just being written is none yet."""
        for line in self._written().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                yield json.loads(line)

    def said(self, words: str) -> bool:
        """Whether a log line has these words."""
        return any(words in line["message"] for line in self.lines())

    def end(self) -> None:
        """Make sure that it is gone."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        self.child.wait(60)
        self._sink.close()

    def _written(self) -> str:
        return Path(self._sink.name).read_text(errors="replace")


def holder(control_plane: ControlPlane, namespace: str) -> str:
    """Who holds the Lease; "" when nobody."""
    lease = get(control_plane, kinds.LEASE, namespace, LEASE)
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
