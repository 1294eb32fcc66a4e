"""Which images are asked about at all, and what happens when the asking itself goes wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from jil.api import kinds
from jil.api.allowlist import JILImageAllowList
from jil.api.release import JILRelease
from jil.controller.release_trust import namespaces_of
from jil.controller.release_verdicts import BACK_OFF
from jil.observe.registry import Reference
from jil.trust.verdict import RefusalReason, Refused, Unknown, Verified
from tests.unit.controller.test_release import Rig
from tests.unit.controller.trust_world import NETWORK, SPACE, World, network

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


def test_i6_too_little_that_counts_is_unknown_while_something_attached_is_not_there(world: World) -> None:
    """A copy of a registry may be late; an image that has enough without it does not wait for it."""
    image, whole = world.image("a"), world.registry.evidences[world.image("a")]
    lost = replace(whole, missing=("registry.example.com/jil/a@sha256:5c...: not there",))
    release = world.release("r1", image)
    world.registry.evidences[image] = replace(lost, envelopes=whole.envelopes[:1])
    verdict = world.ask(release)[image]
    assert isinstance(verdict, Unknown)
    assert (
        "does not have all that is attached to it (registry.example.com/jil/a@sha256:5c...: not there)"
        in verdict.message
    )
    world.registry.evidences[image] = lost
    world.clock.forward(BACK_OFF[0].total_seconds())
    assert isinstance(world.ask(release)[image], Verified)


def test_a_fault_of_the_operator_in_one_image_leaves_the_others_their_verdicts_and_is_raised_in_the_end(
    world: World,
) -> None:
    good, bad = world.image("good"), world.image("bad")
    del world.registry.evidences[bad]  # its KeyError is nothing that a registry client may raise
    world.release("r1", good)
    raw = world.store.get(kinds.JIL_RELEASE, None, "r1")
    assert raw is not None
    raw["spec"]["images"]["health"]["image"] = bad
    world.put(kinds.JIL_RELEASE, raw)
    release = JILRelease.parse(raw)
    found = world.ask(release)
    assert isinstance(found[good], Verified)
    assert isinstance(found[bad], Unknown)
    assert "fault of the operator itself (KeyError)" in found[bad].message
    assert [type(bug) for bug in world.verdicts.bugs("r1")] == [KeyError]
    assert not world.verdicts.bugs("r1"), "told once"
    world.ask(release)
    assert world.registry.asked[bad] == 1, "asked for again with back-off"
    world.clock.forward(BACK_OFF[0].total_seconds())
    world.ask(release)
    assert world.registry.asked[bad] == 2


async def test_a_pass_with_such_a_fault_writes_lists_and_status_and_then_fails() -> None:
    rig = Rig()
    rig.release("r1", rig.image("a"))
    rig.registry.evidences.clear()
    with pytest.raises(KeyError):
        await rig.reconcile()
    assert rig.live(SPACE).digests == {}
    assert rig.ready == "TrustUnknown"
    assert (await rig.reconcile()).requeue_after, "and then waits for its back-off"


def test_lists_are_parsed_once_per_version_and_not_once_per_image(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = world.image("a")
    world.ask(world.release("r1", image))
    world.publish()
    spaces = [SPACE, "jil-b", "jil-c"]
    stored = world.store.get(kinds.JIL_IMAGE_ALLOW_LIST, None, SPACE)
    assert stored is not None
    for name in spaces[1:]:
        labels = {"jil.io/network": NETWORK}
        world.put(kinds.NAMESPACE, {"metadata": {"name": name, "labels": labels}})
        jurisdiction = world.store.get(kinds.JIL_JURISDICTION, SPACE, "main") or {}
        world.put(kinds.JIL_JURISDICTION, jurisdiction | {"metadata": {"name": "main", "namespace": name}})
        world.put(kinds.JIL_IMAGE_ALLOW_LIST, stored | {"metadata": {"name": name}})
    assert set(namespaces_of(world.store, NETWORK)) == set(spaces)
    world.restart()
    parse, parsed = JILImageAllowList.parse, Counter[str]()

    def counted(obj: dict[str, Any]) -> JILImageAllowList:
        parsed[obj["metadata"]["name"]] += 1
        return parse(obj)

    monkeypatch.setattr(JILImageAllowList, "parse", counted)
    terms = world.terms

    def look() -> int:
        found = [world.verdicts.image(terms, "r1", f"registry.example.com/jil/{n}{DIGEST}") for n in range(200)]
        assert found == [None] * 200
        return sum(parsed.values())

    assert look() <= len(spaces)
    assert look() <= len(spaces)
    before = Counter(parsed)
    world.put(kinds.JIL_IMAGE_ALLOW_LIST, stored | {"metadata": {"name": "jil-c"}})
    look()
    assert parsed - before == {"jil-c": 1}, "another version is read again"
    known = world.verdicts.image(terms, "r1", image)
    assert known is not None
    assert isinstance(known.verdict, Verified)
    assert world.registry.asked == {image: 1}
    world.put(kinds.JIL_NETWORK, network(revokedAt="2026-01-01T00:00:00Z"))
    assert world.verdicts.image(world.terms, "r1", image) is None, "by another policy nothing is known"
