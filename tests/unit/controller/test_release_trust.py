"""When registries are asked, what a verdict is kept for, and what a namespace may run because of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jil.api import kinds
from jil.api.allowlist import AllowedImage, BrokenGlass
from jil.api.network import JILNetwork
from jil.api.release import JILRelease
from jil.api.trust import Track
from jil.cluster.allowlist import AllowLists, ReleasePart
from jil.controller.deps import Deps
from jil.controller.jil_routes import JilRoutes
from jil.controller.release_trust import ReleaseTrust, Trust, namespaces_of
from jil.controller.release_verdicts import BACK_OFF, REFUSED_AGAIN, Terms, Verdicts, terms_of
from jil.engine.queue import Key
from jil.engine.store import Change, Store
from jil.observe.registry import RegistryLied, RegistryUnknown
from jil.trust.evidence import Evidence
from jil.trust.formats.release_manifest import digest_of
from jil.trust.sign import approve_image, approve_release, sign_image, sign_release
from jil.trust.verdict import RefusalReason, Refused, Unknown, Verified
from tests.unit.cluster.clocks import ManualClock
from tests.unit.trust.scenario import ALICE, BOB, IMAGE_TYPE, RELEASER, manifest
from tests.unit.trust.test_keys import pem

DAY = timedelta(days=1)
SPACE, NETWORK = "jil-ch", "net"


class Registry:
    """Gives what was put into it; ``asked`` counts."""

    def __init__(self) -> None:
        self.evidences: dict[str, Evidence] = {}
        self.trouble: Exception | None = None
        self.asked: Counter[str] = Counter()

    async def evidence(self, image: str) -> Evidence:
        self.asked[image] += 1
        if self.trouble is not None:
            raise self.trouble
        return self.evidences[image]


class World:
    """A store, a registry, a clock, and the two that are tested."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.registry = Registry()
        self.store = Store()
        self.version = 0
        self.records: list[Any] = []
        deps = SimpleNamespace(store=self.store, clock=self.clock, system_namespace="jil-system")
        self.lists = AllowLists(
            cast(Any, None), seen=lambda namespace: self.store.get(kinds.JIL_IMAGE_ALLOW_LIST, None, namespace)
        )
        self.deps = cast(Deps, deps)
        self.restart()
        self.put(kinds.NAMESPACE, {"metadata": {"name": SPACE, "labels": {"jil.io/network": NETWORK}}})
        self.put(kinds.JIL_NETWORK, network())
        self.want("r1")

    def restart(self) -> None:
        """A new process: what it knows stands in the store."""
        self.verdicts = Verdicts(
            self.registry, self.lists, self.clock, namespaces=lambda n: namespaces_of(self.store, n), jitter=lambda: 0.0
        )
        self.trust = ReleaseTrust(self.deps, self.verdicts, self.lists)

    def put(self, kind: kinds.Kind, obj: dict[str, Any]) -> None:
        """The watch brings an object."""
        self.version += 1
        meta = {"uid": obj["metadata"]["name"], "generation": 1} | obj["metadata"]
        self.store.put(kind, {**obj, "metadata": meta | {"resourceVersion": str(self.version)}})

    def want(self, release: str) -> None:
        """The namespace's jurisdiction."""
        spec = {"zone": "CH/FINMA", "network": NETWORK, "release": release}
        self.put(kinds.JIL_JURISDICTION, {"metadata": {"name": "main", "namespace": SPACE}, "spec": spec})

    def runs(self, release: str, image: str) -> None:
        """A node of the namespace runs the release, by its record."""
        self.put(kinds.JIL_NODE, {"metadata": {"name": "n1", "namespace": SPACE}, "spec": {}})
        spec = {"owner": {"namespace": SPACE, "name": "n1"}, "releases": [{"release": release, "images": {"a": image}}]}
        self.put(kinds.JIL_NODE_RECORD, {"metadata": {"name": "n1", "namespace": "jil-system"}, "spec": spec})

    def image(self, name: str, *, release: str = "r1", good: bool = True) -> str:
        """An image in the registry, signed and approved for the release on testnet."""
        data = manifest(name)
        digest, repository, now = digest_of(data), f"registry.example.com/jil/{name}", self.clock.now()
        common: dict[str, Any] = {"repository": repository, "digest": digest, "track": Track.TESTNET, "now": now}
        envelopes = (
            sign_image(RELEASER, commit="a" * 40, **common),
            approve_image(ALICE, release=release, expires=now + DAY, **common),
        )
        read = Evidence(repository, digest, IMAGE_TYPE, data, {}, envelopes if good else ())
        self.registry.evidences[f"{repository}@{digest}"] = read
        return f"{repository}@{digest}"

    def release(self, name: str, image: str, *, signed: bool = True, generation: int = 1) -> JILRelease:
        """A release whose components are all that image."""
        images = {part: {"image": image} for part in ("database", "cache", "broker", "validator", "health")}
        spec: dict[str, Any] = {"version": "1.0.0", "broker": {"flavour": "kafka"}, "images": images}
        bare = JILRelease.parse({"metadata": {"name": name}, "spec": spec}).spec
        common: dict[str, Any] = {"name": name, "spec": bare, "track": Track.TESTNET, "now": self.clock.now()}
        sealed = [sign_release(RELEASER, **common), approve_release(ALICE, expires=self.clock.now() + DAY, **common)]
        spec["envelopes"] = [envelope.decode() for envelope in sealed] if signed else []
        self.put(kinds.JIL_RELEASE, {"metadata": {"name": name, "generation": generation}, "spec": spec})
        return JILRelease.parse(self.store.get(kinds.JIL_RELEASE, None, name) or {})

    @property
    def network(self) -> JILNetwork:
        """The network as the store has it."""
        return JILNetwork.parse(self.store.get(kinds.JIL_NETWORK, None, NETWORK) or {})

    @property
    def terms(self) -> Terms:
        """Its terms."""
        terms = terms_of(self.network)
        assert terms is not None
        return terms

    def ask(self, release: JILRelease) -> dict[str, Any]:
        """Asks the registry for what is due; the verdicts by image."""
        return {image: known.verdict for image, known in asyncio.run(self.verdicts.ask(self.terms, release)).items()}

    def standing(self, release: JILRelease) -> Trust:
        """How it stands."""
        return self.trust.standing(self.network, release).trust

    def publish(self) -> ReleasePart:
        """The part of the namespace's list, which comes back by watch."""
        part = self.trust.part(SPACE, self.network, self.terms)
        spec = part.into(self.lists.read(SPACE))
        self.put(kinds.JIL_IMAGE_ALLOW_LIST, {"metadata": {"name": SPACE}, "spec": spec.wire()})
        return part


def network(**key: Any) -> dict[str, Any]:
    """A testnet; ``key``: fields of the releaser's key."""
    keys = [
        {"id": "release-2026", "publicKey": pem(RELEASER.spki), "owner": "pipeline", "roles": ["signer"], **key},
        {"id": "alice-1", "publicKey": pem(ALICE.spki), "owner": "alice", "roles": ["approver"]},
        {"id": "bob-1", "publicKey": pem(BOB.spki), "owner": "bob", "roles": ["approver"]},
    ]
    for entry, algorithm in zip(keys, ("Ed25519", "Ed25519", "ECDSA-P256"), strict=True):
        entry["algorithm"] = algorithm
    trust = {
        "keys": keys,
        "tracks": [{"track": "testnet", "approvals": 1}],
        "repositories": ["registry.example.com/jil/"],
    }
    member = {"nodeId": "CH-ZUG-01", "zone": "CH/FINMA", "founder": True, "namespace": SPACE}
    spec = {
        "chainId": NETWORK,
        "track": "testnet",
        "genesis": {"time": "2026-01-01T00:00:00Z"},
        "members": [member],
        "trust": trust,
    }
    return {"metadata": {"name": NETWORK}, "spec": spec}


@pytest.fixture
def world() -> World:
    """Everything empty but the network."""
    return World()


def test_a_verified_image_is_asked_about_once_and_not_after_a_restart(world: World) -> None:
    image = world.image("a")
    release = world.release("r1", image)
    assert world.standing(release) is Trust.UNKNOWN, "nobody asked yet"
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
    world.put(kinds.JIL_NODE, {"metadata": {"name": "n1", "namespace": SPACE}, "spec": {}})
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
