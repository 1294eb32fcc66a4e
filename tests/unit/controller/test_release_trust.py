"""When registries are asked, what a verdict is kept for, and what a namespace may run because of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jil.api import kinds
from jil.api.allowlist import AllowedImage, BrokenGlass
from jil.api.conditions import Reason
from jil.api.release import JILRelease
from jil.controller.jil_routes import JilRoutes
from jil.controller.release_trust import Trust, namespaces_of
from jil.controller.release_verdicts import BACK_OFF, REFUSED_AGAIN, terms_of
from jil.engine.queue import Key
from jil.engine.store import Change
from jil.observe.registry import RegistryLied, RegistryUnknown
from jil.trust.verdict import RefusalReason, Refused, Unknown, Verified
from tests.unit.controller.trust_world import DAY, NETWORK, SPACE, World, network
from tests.unit.trust.scenario import RELEASER
from tests.unit.trust.test_keys import pem


@pytest.fixture
def world() -> World:
    """Everything empty but the network."""
    return World()


def test_a_verified_image_is_asked_about_once_and_not_after_a_restart(world: World) -> None:
    image = world.image("a")
    release = world.release("r1", image)
    assert world.standing(release) is Trust.UNKNOWN, "nobody asked yet"
    assert world.trust.standing(world.network, release).finding.reason is Reason.VERIFYING
    assert isinstance(world.ask(release)[image], Verified)
    assert world.standing(release) is Trust.VERIFIED
    world.publish()
    for _ in range(3):
        world.clock.forward(3600)
        world.restart()
        assert world.standing(release) is Trust.VERIFIED
        world.ask(release)
    assert world.registry.asked == {image: 1}


def test_a_verdict_ends_with_the_approval_that_it_needs(world: World) -> None:
    image = world.image("a")
    release = world.release("r1", image)
    world.ask(release)
    world.clock.forward(DAY.total_seconds())
    assert world.standing(release) is not Trust.VERIFIED
    verdict = world.ask(release)[image]
    assert isinstance(verdict, Refused)
    assert verdict.reason is RefusalReason.APPROVAL_EXPIRED


def test_a_refused_image_is_looked_at_again_and_at_once_when_the_release_changes(world: World) -> None:
    image = world.image("a", good=False)
    release = world.release("r1", image)
    assert isinstance(world.ask(release)[image], Refused)
    assert world.standing(release) is Trust.REFUSED
    world.image("a")
    world.ask(release)
    assert world.registry.asked[image] == 1
    world.clock.forward(REFUSED_AGAIN.total_seconds())
    assert isinstance(world.ask(release)[image], Verified)
    world.restart()
    bad = world.image("b", good=False)
    world.ask(world.release("r2", bad))
    world.ask(world.release("r2", bad, generation=2))
    assert world.registry.asked[bad] == 2


def test_an_unknown_image_is_asked_about_with_back_off_and_its_history_is_told(world: World) -> None:
    image = world.image("a")
    release = world.release("r1", image)
    world.registry.trouble = RegistryUnknown("registry.example.com does not answer")
    began, pauses = world.clock.now(), []
    for _ in range(10):
        assert isinstance(world.ask(release)[image], Unknown)
        known = world.verdicts.image(world.terms, "r1", image)
        assert known is not None
        assert known.since == began
        assert known.next_try is not None
        pauses.append((known.next_try - world.clock.now()).total_seconds())
        world.ask(release)  # too early: nobody is asked
        world.clock.forward(pauses[-1])
    assert pauses[:4] == [5, 10, 20, 40]
    assert max(pauses) == BACK_OFF[1].total_seconds()
    assert world.registry.asked[image] == 10
    assert world.standing(release) is Trust.UNKNOWN
    world.registry.trouble = None
    assert isinstance(world.ask(release)[image], Verified)


def test_a_registry_that_names_a_time_is_left_alone_until_then(world: World) -> None:
    image = world.image("a")
    release = world.release("r1", image)
    world.registry.trouble = RegistryUnknown("429", retry_after=300)
    world.ask(release)
    known = world.verdicts.image(world.terms, "r1", image)
    assert known is not None
    assert known.next_try == world.clock.now() + timedelta(seconds=300)


def test_a_registry_that_lies_is_refused_with_its_reason(world: World) -> None:
    image = world.image("a")
    release = world.release("r1", image)
    world.registry.trouble = RegistryLied("it serves other bytes", RefusalReason.REGISTRY_LIED)
    verdict = world.ask(release)[image]
    assert isinstance(verdict, Refused)
    assert verdict.reason is RefusalReason.REGISTRY_LIED
    assert f"jilctl image inspect {image}" in verdict.message


def test_i6_another_policy_is_another_question(world: World) -> None:
    image = world.image("a")
    release = world.release("r1", image)
    world.ask(release)
    world.publish()
    world.put(kinds.JIL_NETWORK, network(revokedAt="2026-01-01T00:00:00Z"))
    assert world.standing(release) is Trust.REFUSED, "the release's own envelopes need no registry"
    verdict = world.ask(release)[image]
    assert isinstance(verdict, Refused)
    assert verdict.reason is RefusalReason.KEY_REVOKED
    assert world.registry.asked[image] == 2


def test_a_policy_that_cannot_be_used_admits_nothing_and_says_why(world: World) -> None:
    release = world.release("r1", world.image("a"))
    broken = network(publicKey=pem(RELEASER.spki[:12] + bytes(31) + b"\x80"))
    world.put(kinds.JIL_NETWORK, broken)
    standing = world.trust.standing(world.network, release)
    assert standing.trust is Trust.UNKNOWN
    assert not standing.admits
    assert "keys[release-2026].publicKey" in standing.finding.message


def test_a_network_without_a_policy_goes_on_as_before(world: World) -> None:
    plain = network()
    del plain["spec"]["trust"]
    plain["spec"]["track"] = "devnet"
    world.put(kinds.JIL_NETWORK, plain)
    release = world.release("r1", world.image("a"), signed=False)
    standing = world.trust.standing(world.network, release)
    assert standing.admits
    assert (standing.finding.status, standing.finding.reason) == ("False", "NoPolicy")
    assert terms_of(world.network) is None


def test_the_list_has_what_is_verified_and_nothing_else(world: World) -> None:
    good, bad = world.image("good"), world.image("bad", good=False)
    world.ask(world.release("r1", good))
    assert set(world.publish().digests) == {good.partition("@")[2]}
    world.want("r2")
    world.ask(world.release("r2", bad))
    part = world.publish()
    assert part.digests == {}, "nobody runs r1, and r2 is refused"
    assert {entry.verdict for entry in part.verdicts} == {"Refused"}


def test_i6_a_release_that_runs_stays_in_the_list_when_it_is_refused_and_goes_when_nobody_runs_it(world: World) -> None:
    image, other = world.image("a"), world.image("b", release="r2")
    release = world.release("r1", image)
    world.ask(release)
    world.publish()
    world.runs("r1", image)
    world.put(kinds.JIL_NETWORK, network(revokedAt="2026-01-01T00:00:00Z"))
    world.ask(release)
    digest = image.partition("@")[2]
    first = world.publish().digests[digest]
    assert first.kept_since is not None
    world.clock.forward(60)
    assert world.publish().digests[digest] == first, "since when is not moved"
    assert world.trust.admitted_before(SPACE, release, validator=True)
    world.put(kinds.JIL_NETWORK, network())
    world.want("r2")
    world.ask(world.release("r2", other))
    world.runs("r2", other)
    assert set(world.publish().digests) == {other.partition("@")[2]}
    world.restart()
    assert not world.trust.admitted_before(SPACE, release, validator=True)


def test_i6_a_release_made_anew_under_the_same_name_was_not_admitted_before(world: World) -> None:
    image = world.image("a")
    release = world.release("r1", image)
    world.ask(release)
    world.publish()
    world.runs("r1", image)
    assert world.trust.admitted_before(SPACE, release, validator=True)
    raw = world.store.get(kinds.JIL_RELEASE, None, "r1")
    assert raw is not None
    spec = {**raw["spec"], "services": [{"name": "extra", "image": {"image": image}, "command": ["sh"]}]}
    world.put(kinds.JIL_RELEASE, {"metadata": {"name": "r1", "uid": "another"}, "spec": spec})
    anew = JILRelease.parse(world.store.get(kinds.JIL_RELEASE, None, "r1") or {})
    world.ask(anew)
    assert world.standing(anew) is Trust.REFUSED
    assert not world.trust.admitted_before(SPACE, anew, validator=True), "its digests are known, its content is not"


def test_a_policy_that_is_newer_than_the_nodes_keeps_what_the_records_say(world: World) -> None:
    image = world.image("a", good=False)
    release = world.release("r1", image, signed=False)
    world.runs("r1", image)
    assert world.trust.admitted_before(SPACE, release, validator=True), "there is no list yet"
    world.ask(release)
    part = world.publish()
    assert part.digests[image.partition("@")[2]].kept_since is not None
    assert world.trust.admitted_before(SPACE, release, validator=True)


def test_what_is_published_again_is_the_same(world: World) -> None:
    release = world.release("r1", world.image("a"))
    world.ask(release)
    world.publish()
    before = world.lists.read(SPACE)
    world.clock.forward(600)
    world.ask(release)
    world.publish()
    assert world.lists.read(SPACE) == before


def test_i6_a_jurisdiction_of_another_network_than_the_label_of_its_namespace_brings_nothing_in(world: World) -> None:
    assert namespaces_of(world.store, NETWORK) == [SPACE]
    spec = {"zone": "CH/FINMA", "network": "laxer", "release": "r1"}
    world.put(kinds.JIL_JURISDICTION, {"metadata": {"name": "mine", "namespace": SPACE}, "spec": spec})
    assert namespaces_of(world.store, "laxer") == []
    world.put(kinds.NAMESPACE, {"metadata": {"name": "no-label"}})
    world.put(kinds.JIL_JURISDICTION, {"metadata": {"name": "mine", "namespace": "no-label"}, "spec": spec})
    assert namespaces_of(world.store, "laxer") == []


def test_i6_a_list_of_another_network_is_made_anew_by_the_policy_of_the_label_and_forgets_what_it_let_in(
    world: World,
) -> None:
    """From before the label counted: a JILJurisdiction of a laxer network had it made, and glass broken in it."""
    good, theirs = world.image("a"), world.image("b", good=False)
    world.ask(world.release("r1", good))
    world.ask(world.release("r2", theirs, signed=False))
    ours = world.publish().into(None)
    digest = theirs.partition("@")[2]
    until = world.clock.now() + DAY
    glass = BrokenGlass(digest=digest, operation="op", until=until, requested_by="eve")
    entry = AllowedImage(image=theirs, releases=("r2",))
    laxer = ours.model_copy(update={"network": "laxer", "digests": {digest: entry}, "break_glass": (glass,)})
    spec = {"zone": "CH/FINMA", "network": "laxer", "release": "r2"}
    world.put(kinds.JIL_JURISDICTION, {"metadata": {"name": "main", "namespace": SPACE}, "spec": spec})
    world.put(kinds.JIL_IMAGE_ALLOW_LIST, {"metadata": {"name": SPACE}, "spec": laxer.wire()})
    metadata = {"name": "n1-cache", "namespace": SPACE, "labels": {"jil.io/node": "n1"}}
    template = {"spec": {"containers": [{"name": "main", "image": theirs}]}}
    world.runs("r2", theirs, network="laxer")
    world.put(kinds.DEPLOYMENT, {"metadata": metadata, "spec": {"template": template}})
    assert namespaces_of(world.store, NETWORK) == [SPACE]
    assert namespaces_of(world.store, "laxer") == []
    world.publish()
    made = world.lists.read(SPACE)
    assert made is not None
    assert (made.network, dict(made.digests), made.break_glass) == (NETWORK, {}, ())


def test_i6_a_revocation_reaches_a_namespace_whose_jurisdiction_was_deleted(world: World) -> None:
    image = world.image("a")
    world.ask(world.release("r1", image))
    world.publish()
    world.store.remove(kinds.JIL_JURISDICTION, world.store.list(kinds.JIL_JURISDICTION)[0])
    assert namespaces_of(world.store, NETWORK) == [SPACE]
    routes = JilRoutes(world.store, system_namespace="jil-system").table()
    revoked = network(revokedAt="2026-01-01T00:00:00Z")
    change = Change(kinds.JIL_NETWORK, network(), revoked)
    assert Key("JILRelease", None, "r1") in set(routes[kinds.JIL_NETWORK](change))
    world.put(kinds.JIL_NETWORK, revoked)
    assert world.publish().digests == {}


def test_i6_a_list_that_cannot_be_read_does_not_say_that_a_release_was_admitted_before(world: World) -> None:
    release = world.release("r1", world.image("a"))
    assert world.trust.admitted_before(SPACE, release, validator=True), "there is no list yet"
    world.put(kinds.JIL_IMAGE_ALLOW_LIST, {"metadata": {"name": SPACE}, "spec": {"network": 7}})
    assert not world.trust.admitted_before(SPACE, release, validator=True)


def test_i6_what_the_workloads_of_a_node_between_two_releases_carry_stays_in_the_list_until_they_are_gone(
    world: World,
) -> None:
    one, two, three = (world.image(name, release=f"r{number}") for number, name in enumerate("abc", 1))
    for name, image in (("r1", one), ("r2", two), ("r3", three)):
        world.ask(world.release(name, image))
    world.runs("r1", one)
    world.want("r2")
    world.publish()
    metadata = {"name": "n1-cache", "namespace": SPACE, "labels": {"jil.io/node": "n1"}}
    foreign = world.image("foreign")
    containers = [{"name": "main", "image": image} for image in (two, foreign)]
    workload = {"metadata": metadata, "spec": {"template": {"spec": {"containers": containers}}}}
    world.put(kinds.DEPLOYMENT, workload)
    world.want("r3")
    part = world.publish()
    assert set(part.digests) == {image.partition("@")[2] for image in (one, two, three)}, "foreign was never let in"
    kept = part.digests[two.partition("@")[2]]
    assert kept.kept_since is not None
    world.clock.forward(60)
    assert world.publish() == part, "since when is not moved"
    world.store.remove(kinds.DEPLOYMENT, world.store.list(kinds.DEPLOYMENT)[0])
    assert set(world.publish().digests) == {image.partition("@")[2] for image in (one, three)}
