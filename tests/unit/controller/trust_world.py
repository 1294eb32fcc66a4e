"""A store, a registry and a clock, and what is judged and published by them."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from jil.api import kinds
from jil.api.network import JILNetwork
from jil.api.release import JILRelease
from jil.api.trust import Track
from jil.cluster.allowlist import AllowLists, ReleasePart
from jil.controller.deps import Deps
from jil.controller.release_trust import ReleaseTrust, Trust, namespaces_of
from jil.controller.release_verdicts import Terms, Verdicts, terms_of
from jil.engine.store import Store
from jil.trust.evidence import Evidence
from jil.trust.formats.release_manifest import digest_of
from jil.trust.sign import approve_image, approve_release, sign_image, sign_release
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

    def runs(self, release: str, image: str, network: str = NETWORK) -> None:
        """A node of the namespace runs the release, by its record."""
        self.put(kinds.JIL_NODE, {"metadata": {"name": "n1", "namespace": SPACE}, "spec": {}})
        releases = [{"release": release, "images": {"a": image}}]
        spec = {"owner": {"namespace": SPACE, "name": "n1"}, "network": network, "releases": releases}
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
