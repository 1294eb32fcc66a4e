"""The real operator beside a control plane on which the charts are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping

from testbed.controlplane import ControlPlane
from testbed.processes import end, spawn_bound, tail
from tests.cluster.charts import rig
from tests.unit.charts.rendering import CHARTS
from tests.waiting import PATIENCE_S, eventually


class Operator:
    """The operator as a process, with the token of the chart's ServiceAccount."""

    def __init__(self, cluster: ControlPlane, log: str, settings: Mapping[str, str] | None = None) -> None:
        self._kubeconfig = cluster.kubeconfig_for_service_account(rig.SYSTEM, "jil-operator")
        self._log = cluster.folder / log
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(CHARTS.parent / "operator"),
            "JIL_KUBECONFIG": str(self._kubeconfig),
            "JIL_HTTP_PORT": "0",
            "JIL_POD_NAME": "operator",
            **self._settings,
        }
        command = [sys.executable, "-m", "jil.controller"]
        self._process = spawn_bound(command, self._log, environment)

    def stop(self) -> None:
        """In order, so that the next one need not wait for the Lease."""
        if self._process is not None:
            end(self._process, 90)
            self._process = None

    def eventually(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
        try:
            eventually(condition, what, seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{tail(self._log, 4000)}") from late
