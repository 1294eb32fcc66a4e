"""Fixtures of the cluster layer: a namespace of its own for every test on the shared control plane."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from testbed.controlplane import ControlPlane

_numbers = itertools.count(1)


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace on the shared control plane, deleted (not awaited) afterwards."""
    name = f"test-{next(_numbers)}"
    control_plane.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    control_plane.admin.delete(f"/api/v1/namespaces/{name}")
