"""Fixtures that several layers share: a real control plane, one for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.controlplane import ControlPlane


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager on loopback, shared by all tests of the run (no kubelet).

    Every test uses names of its own. A test that stops, restarts or floods components belongs on a control plane of
    its own: ``with ControlPlane() as mine``, ready in 3-4 s.
    """
    with ControlPlane() as running:
        yield running
