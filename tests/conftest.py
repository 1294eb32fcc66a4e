"""Fixtures that several layers share: a real control plane, one for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.controlplane import ControlPlane


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--keep``: for a look at what a test left behind."""
    text = "keep what the run made: the kind cluster, and the files of the shared control plane (told where)"
    parser.addoption("--keep", action="store_true", help=text)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For ``-n 2 --dist loadgroup``: what shares a rig runs in one process, in order.

    A folder below tests/cluster has its rig in its conftest.py; elsewhere a file is the unit.
    """
    for item in items:
        shares = (item.path.parent / "conftest.py").exists() and item.path.parent.parent.name == "cluster"
        item.add_marker(pytest.mark.xdist_group(str(item.path.parent if shares else item.path)))


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager on loopback, shared by all tests of the run (no kubelet).

    Every test uses names of its own. A test that stops, restarts or floods components belongs on a control plane of
    its own: ``with ControlPlane() as mine``, ready in 3-4 s.
    """
    with ControlPlane(keep=request.config.getoption("--keep")) as running:
        yield running
