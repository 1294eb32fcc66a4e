"""Which images are asked about at all, and what happens when the asking itself goes wrong."""

from __future__ import annotations

import pytest

from jil.api import kinds
from jil.observe.registry import Reference
from jil.trust.verdict import RefusalReason, Refused
from tests.unit.controller.test_release_trust import World, network

DIGEST = "@sha256:" + "0" * 64


@pytest.fixture
def world() -> World:
    """Everything empty but the network."""
    return World()


@pytest.mark.parametrize("repository", ["evil.example/jil/a", "registry.example.com/other/a", "jil/a"])
def test_i6_a_registry_that_nothing_may_come_from_is_not_spoken_to(world: World, repository: str) -> None:
    image = repository + DIGEST
    verdict = world.ask(world.release("r1", image))[image]
    assert isinstance(verdict, Refused)
    assert verdict.reason is RefusalReason.REPOSITORY_NOT_ALLOWED
    assert f"jilctl image inspect {image}" in verdict.message
    assert not world.registry.asked
    twin = world.image("a")
    world.ask(world.release("r1", twin))
    assert world.registry.asked == {twin: 1}


@pytest.mark.parametrize(
    "repository",
    ["registry.example.com/jil/" + "/".join(["long"] * 60), "my_registry:5000/jil/a"],
    ids=["longer than names may be", "underscore in the host"],
)
def test_a_name_that_no_registry_can_have_is_malformed(world: World, repository: str) -> None:
    image = repository + DIGEST
    with pytest.raises(ValueError, match="name"):
        Reference.parse(image)
    policy = network()
    policy["spec"]["trust"]["repositories"] = ["registry.example.com/jil/", "my_registry:5000/jil/"]
    world.put(kinds.JIL_NETWORK, policy)
    verdict = world.ask(world.release("r1", image))[image]
    assert isinstance(verdict, Refused)
    assert verdict.reason is RefusalReason.MALFORMED
    assert not world.registry.asked
