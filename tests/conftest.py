"""Fixtures that several layers share: a real control plane, one for the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from testbed.controlplane import ControlPlane

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--keep``: for a look at what a test left behind."""
    text = "keep what the run made: the kind cluster, and the files of the shared control plane (told where)"
    parser.addoption("--keep", action="store_true", help=text)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """For ``-n 2 --dist loadscope``: what shares a rig runs in one process, in order."""
    return _ByRig(config, log) if config.getvalue("dist") == "loadscope" else None


class _ByRig(LoadScopeScheduling):
    """xdist's own groups (``--dist loadgroup``) are names appended to node ids, which pytest 9 does not let be changed."""

    def _split_scope(self, nodeid: str) -> str:
        return rig_of(nodeid)


def rig_of(nodeid: str) -> str:
    """A folder below tests/cluster has its rig in its conftest.py; elsewhere a file is the unit."""
    path = Path(nodeid.partition("::")[0])
    shares = path.parent.parent.name == "cluster" and (ROOT / path.parent / "conftest.py").exists()
    return str(path.parent if shares else path)


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager on loopback, shared by all tests of the run (no kubelet).

    Every test uses names of its own. A test that stops, restarts or floods components belongs on a control plane of
    its own: ``with ControlPlane() as mine``, ready in 3-4 s.
    """
    with ControlPlane(keep=request.config.getoption("--keep")) as running:
        yield running
