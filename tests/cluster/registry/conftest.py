"""Registries shared by the tests of this folder; every test uses repositories of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.cluster.registry import liar as liars
from tests.cluster.registry import rig


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Registry]:
    """Distribution with TLS and basic auth."""
    with rig.distribution(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def referrers_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Registry]:
    """A registry with the referrers API."""
    with rig.with_referrers(tmp_path_factory.mktemp("referrers")) as running:
        yield running


@pytest.fixture(params=["fallback tag", "referrers API"])
def either_registry(request: pytest.FixtureRequest) -> rig.Registry:
    """Each of the two, one after the other."""
    name = "registry" if request.param == "fallback tag" else "referrers_registry"
    found = request.getfixturevalue(name)
    assert isinstance(found, rig.Registry)
    return found


@pytest.fixture
async def liar() -> AsyncIterator[liars.Liar]:
    """A server that lies as the test tells it."""
    async with liars.running() as running:
        yield running


@pytest.fixture
async def other() -> AsyncIterator[liars.Liar]:
    """A second one: another host, as far as credentials are concerned."""
    async with liars.running() as running:
        yield running
