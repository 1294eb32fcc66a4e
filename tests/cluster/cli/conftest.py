"""jilctl beside a real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cli.desk import Desk
from tests.cluster.registry import rig


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Registry]:
    """Distribution with TLS and basic auth."""
    with rig.distribution(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, registry: rig.Registry) -> Desk:
    """Keys and a policy of the test's own."""
    return Desk.make(tmp_path, registry)
