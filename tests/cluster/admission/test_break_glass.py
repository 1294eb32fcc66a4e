"""BreakGlass through the real operator, with its own token and all guards in force: in, out, and not twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from testbed.apiclient import ApiError
from testbed.processes import spawn_bound, tail
from tests.cluster.admission.conftest import Guarded, allow
from tests.cluster.admission.objects import ALLOWED, SPACE, image, path, pod
from tests.cluster.charts import rig
from tests.unit.charts.rendering import CHARTS

OPERATIONS = f"/apis/jil.io/v1alpha1/namespaces/{SPACE}/jiloperations"
DIGEST, SHORT = (f"sha256:{letter * 64}" for letter in ("e", "9"))


class Operator:
    """The operator as a process, with the token of the chart's ServiceAccount."""

    def __init__(self, guarded: Guarded) -> None:
        self._cluster = guarded.cluster
        self._kubeconfig = guarded.cluster.kubeconfig_for_service_account(rig.SYSTEM, "jil-operator")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(CHARTS.parent / "operator"),
            "JIL_KUBECONFIG": str(self._kubeconfig),
            "JIL_HTTP_PORT": "0",
            "JIL_POD_NAME": "operator",
        }
        command = [sys.executable, "-m", "jil.controller"]
        self._process = spawn_bound(command, self._cluster.folder / "break-glass.log", environment)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def eventually(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        try:
            rig.eventually(condition, what, seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{tail(self._cluster.folder / 'break-glass.log', 4000)}") from late


@pytest.fixture
def operator(guarded: Guarded) -> Iterator[Operator]:
    allow(guarded, SPACE, ALLOWED)
    made = Operator(guarded)
    made.start()
    yield made
    made.kill()


def admitted(guarded: Guarded, digest: str = DIGEST) -> bool:
    try:
        guarded.admin.create(f"{path('Pod', SPACE)}?dryRun=All", pod("broken-glass", image(digest)))
    except ApiError as error:
        if error.code != 403:
            raise
        return False
    return True


def wanted(name: str, digest: str, seconds: float) -> dict[str, Any]:
    until = (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
    return {
        "apiVersion": "jil.io/v1alpha1",
        "kind": "JILOperation",
        "metadata": {"name": name},
        "spec": {
            "type": "BreakGlass",
            "requestId": name.upper(),
            "requestedBy": "admin",
            "reason": "the signer is down",
            "breakGlass": {"digest": digest, "until": until.isoformat().replace("+00:00", "Z")},
        },
    }


def test_i6_a_broken_glass_opens_closes_in_time_and_never_opens_again(guarded: Guarded, operator: Operator) -> None:
    admin, body = guarded.admin, wanted("inc-1", DIGEST, 3600)

    def phase(name: str) -> str | None:
        found: str | None = admin.get(f"{OPERATIONS}/{name}").get("status", {}).get("phase")
        return found

    assert not admitted(guarded)
    admin.create(OPERATIONS, body)
    operator.eventually(lambda: admitted(guarded), "the digest to be let in")
    # By now the operator is at work, so this one is taken up long before its time is over.
    admin.create(OPERATIONS, wanted("inc-2", SHORT, 20))
    operator.eventually(lambda: admitted(guarded, SHORT), "the second digest to be let in")
    operator.eventually(lambda: phase("inc-1") == "Active", "the status to say so")
    events = f"/apis/events.k8s.io/v1/namespaces/{SPACE}/events"
    operator.eventually(
        lambda: any(e["reason"] == "BreakGlassOpen" and e["type"] == "Warning" for e in admin.get(events)["items"]),
        "the Event",
    )

    # Ended early by its deletion, and the same command applied again by Git: it ran.
    admin.delete(f"{OPERATIONS}/inc-1")
    operator.eventually(lambda: not admitted(guarded), "the glass to be whole")
    admin.create(OPERATIONS, body)
    operator.eventually(lambda: phase("inc-1") == "Succeeded", "the second object to be told that it ran")
    assert not admitted(guarded)
    conditions = admin.get(f"{OPERATIONS}/inc-1")["status"]["conditions"]
    assert {c["type"]: c["reason"] for c in conditions} == {"SpecValid": "Valid", "Ready": "AlreadyRan"}

    operator.eventually(lambda: not admitted(guarded, SHORT), "the second glass to be whole when its time is over")
    operator.eventually(lambda: phase("inc-2") == "Succeeded", "the status to say so")
    for name in ("inc-1", "inc-2"):
        admin.delete(f"{OPERATIONS}/{name}")
