"""A simulated world (real control plane, simulated kubelet) in which the real operator process is hurt on purpose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.lives import Lives
from tests.faults.rig import Rig


@pytest.fixture(scope="session")
def one_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One world for all tests, with the reference of undisturbed runs; every test asks for the scene that it needs."""
    with Lives() as lives, Rig(lives, tmp_path_factory.mktemp("faults")) as made:
        made.learn(runs=1)
        yield made
        assert made.chain_complains() == []


@pytest.fixture
def rig(one_rig: Rig) -> Rig:
    """The same, with one operator: a standby that a test before left alive would lead as soon as this one is hurt."""
    one_rig.b.kill()
    return one_rig
