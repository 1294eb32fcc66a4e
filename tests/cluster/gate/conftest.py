"""A network of four validators for every test, on the shared control plane."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from testbed.controlplane import ControlPlane
from tests.cluster.gate.rig import Network

_numbers = itertools.count(1)


@pytest.fixture
async def network(control_plane: ControlPlane) -> AsyncIterator[Network]:
    """Four validators that all sign; system namespace, node namespace and user are this test's own."""
    number = next(_numbers)
    system, nodes = f"gate-system-{number}", f"gate-nodes-{number}"
    for name in (system, nodes):
        control_plane.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
    made = Network(control_plane, nodes, system, user=f"gate-operator-{number}")
    await made.make()
    yield made
    await made.close()
    for name in (system, nodes):
        control_plane.admin.delete(f"/api/v1/namespaces/{name}")
