"""Images and releases in a real registry, judged by the real operator: what a test changes is one argument."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jil.api.release import ReleaseSpec
from jil.api.trust import Track
from jil.observe.registry import RegistryClient, RegistryPush, media
from jil.trust.sign import approve_image, approve_release, sign_image, sign_release
from testbed.apiclient import ApiError
from tests.cluster.registry.liar import Liar
from tests.cluster.registry.rig import Registry, push_image
from tests.sim.world import JIL, World
from tests.unit.trust.scenario import ALICE, ALICE_TOO, BOB, CI, RELEASER, AnySigner
from tests.unit.trust.test_keys import pem

_numbers = itertools.count(1)
COMMIT = "5f3c" * 10
LIAR = "liar.example.com"
"""How images of the registry that lies are called; the operator's settings say where it is."""
LIARS_LOGIN = base64.b64encode(b"node:s3cr3t-of-the-liar").decode()
"""What the operator shows it when it asks."""
DAY = timedelta(days=1)
READ_AGAIN_S = 200.0
"""A reading that did not get its answers in time, on a machine that stands still, is tried again after a minute or two."""


def now() -> datetime:
    """The operator's clock is the real one."""
    return datetime.now(UTC).replace(microsecond=0)


def key(signer: AnySigner, owner: str, *roles: str, **more: Any) -> dict[str, Any]:
    """An entry of spec.trust.keys."""
    entry = {"id": signer.key_id, "algorithm": signer.algorithm.value, "publicKey": pem(signer.spki), "owner": owner}
    return entry | {"roles": list(roles)} | more


def trust(registry: Registry, **changes: Mapping[str, Any]) -> dict[str, Any]:
    """spec.trust; ``changes``: id of a key (``-`` as ``_``) -> fields to set."""
    keys = [
        key(RELEASER, "pipeline", "signer", custody="hsm"),
        key(ALICE, "alice@example.com", "approver"),
        key(ALICE_TOO, "alice@example.com", "approver", "signer", custody="hsm"),
        key(BOB, "bob@example.com", "approver"),
        key(CI, "ci", "ci"),
    ]
    for entry in keys:
        entry |= dict(changes.get(entry["id"].replace("-", "_"), {}))
    return {
        "keys": keys,
        "tracks": [
            {"track": "devnet", "approvals": 0},
            {"track": "testnet", "approvals": 1},
            {"track": "mainnet", "approvals": 2, "custody": "hsm"},
        ],
        "repositories": [f"{registry.host}/test/", f"{LIAR}/victim/"],
    }


@dataclass(frozen=True)
class Image:
    """An image in the registry."""

    repository: str
    digest: str

    @property
    def name(self) -> str:
        """REPOSITORY@DIGEST."""
        return f"{self.repository}@{self.digest}"


#: Makes the envelopes of an image in a release.
Attach = Callable[[Image, str], Iterable[bytes]]
#: Makes the envelopes of a release.
Seal = Callable[[str, ReleaseSpec], Iterable[bytes]]


def signed(image: Image, signer: AnySigner = RELEASER, **changes: Any) -> bytes:
    """A signature for testnet."""
    values = {"repository": image.repository, "digest": image.digest, "track": Track.TESTNET, "commit": COMMIT}
    return sign_image(signer, **({"now": now() - DAY} | values | changes))


def approved(image: Image, release: str, signer: AnySigner = ALICE, **changes: Any) -> bytes:
    """An approval for testnet."""
    values = {"repository": image.repository, "digest": image.digest, "track": Track.TESTNET, "release": release}
    return approve_image(signer, **({"now": now() - DAY, "expires": now() + DAY} | values | changes))


def good_image(image: Image, release: str) -> list[bytes]:
    """What testnet asks for."""
    return [signed(image), approved(image, release)]


def good_release(name: str, spec: ReleaseSpec) -> list[bytes]:
    """What testnet asks for."""
    common: dict[str, Any] = {"name": name, "spec": spec, "track": Track.TESTNET, "now": now() - DAY}
    return [sign_release(RELEASER, **common), approve_release(ALICE, expires=now() + DAY, **common)]


@dataclass(frozen=True)
class Place:
    """One network with one jurisdiction and one node that wants one release."""

    network: str
    namespace: str
    release: str
    node: str
    node_id: str
    image: Image


class Rig:
    """The world, the registry, and what is made in them."""

    def __init__(self, world: World, registry: Registry, liar: Liar, storage: Liar) -> None:
        self.world = world
        self.registry = registry
        self.liar = liar
        #: Another server, which the liar may redirect to.
        self.storage = storage

    def push(self, attach: Callable[[Image], Iterable[bytes]], **manifest: Any) -> Image:
        """An image that nobody has, with what is attached to it."""

        async def go() -> Image:
            async with RegistryClient(self.registry.access) as client:
                push = RegistryPush(client)
                repository = self.registry.repository()
                image = Image(repository, await push_image(push, repository, **manifest))
                for envelope in attach(image):
                    await push.attach(image.name, media.JIL_ARTIFACT, [(media.DSSE, envelope)])
                return image

        return asyncio.run(go())

    def attach(self, image: Image, envelope: bytes) -> None:
        """One more envelope."""

        async def go() -> None:
            async with RegistryClient(self.registry.access) as client:
                await RegistryPush(client).attach(image.name, media.JIL_ARTIFACT, [(media.DSSE, envelope)])

        asyncio.run(go())

    def place(
        self,
        attach: Attach = good_image,
        seal: Seal = good_release,
        *,
        track: str = "testnet",
        policy: Mapping[str, Any] | None = None,
        change: Callable[[dict[str, Any]], Any] = lambda spec: None,
        image: Image | Callable[[str], Image] | None = None,
    ) -> Place:
        """Network, jurisdiction, release and node, all new; one image stands for every component.

        ``change``: what happens to the release's spec after it was sealed. ``image``: in place of one that is pushed, or
        what makes it when the name of the release is known.
        """
        number = next(_numbers)
        release, network, namespace = f"trust-r{number}", f"trust-{number}", f"jil-trust-{number}"
        node_id = f"CH-TRU-{number:02d}"
        if callable(image):
            image = image(release)
        image = image or self.push(lambda made: attach(made, release))
        world = self.world
        member = {"nodeId": node_id, "zone": "CH/FINMA", "founder": True, "namespace": namespace}
        world.api.create(
            f"{JIL}/jilnetworks",
            {
                "apiVersion": "jil.io/v1alpha1",
                "kind": "JILNetwork",
                "metadata": {"name": network},
                "spec": {
                    "chainId": network,
                    "track": track,
                    "genesis": {"time": "2026-01-01T00:00:00Z"},
                    "members": [member],
                    "trust": dict(policy if policy is not None else trust(self.registry)),
                },
            },
        )
        self.release(release, image, seal, change)
        world.jurisdiction(namespace, network, release=release)
        world.node(namespace, node_id.lower(), node_id)
        return Place(network, namespace, release, node_id.lower(), node_id, image)

    def release(
        self,
        name: str,
        image: Image,
        seal: Seal = good_release,
        change: Callable[[dict[str, Any]], Any] = lambda s: None,
    ) -> None:
        """A JILRelease all of whose components are ``image``."""
        images = {part: {"image": image.name} for part in ("database", "cache", "broker", "validator", "health")}
        spec: dict[str, Any] = {"version": "1.0.0", "broker": {"flavour": "kafka"}, "images": images}
        envelopes = [envelope.decode() for envelope in seal(name, ReleaseSpec.model_validate(spec))]
        change(spec)
        body = {
            "apiVersion": "jil.io/v1alpha1",
            "kind": "JILRelease",
            "metadata": {"name": name},
            "spec": spec | {"envelopes": envelopes},
        }
        self.world.api.create(f"{JIL}/jilreleases", body)

    # -- what became of it -------------------------------------------------------------------------------------------
    def status(self, release: str) -> dict[str, Any]:
        """Status of a JILRelease."""
        found: dict[str, Any] = self.world.api.get(f"{JIL}/jilreleases/{release}").get("status", {})
        return found

    def condition(self, release: str) -> dict[str, Any]:
        """The condition ImageTrust of a JILRelease."""
        return next((c for c in self.status(release).get("conditions", []) if c["type"] == "ImageTrust"), {})

    def reasons(self, release: str) -> set[str]:
        """Reasons of all that is refused in a release."""
        return {row["reason"] for row in self.status(release).get("images", []) if row["verdict"] == "Refused"}

    def workloads(self, namespace: str) -> list[str]:
        """Names of all workloads and pods in a namespace."""
        found = []
        for path in ("apis/apps/v1", "api/v1"):
            kinds = ("statefulsets", "deployments") if "apps" in path else ("pods",)
            for kind in kinds:
                items = self.world.api.get(f"/{path}/namespaces/{namespace}/{kind}")["items"]
                found += [item["metadata"]["name"] for item in items]
        return found

    def allow_list(self, namespace: str) -> dict[str, Any]:
        """Spec of the namespace's list; {} when there is none."""
        try:
            found: dict[str, Any] = self.world.api.get(f"{JIL}/jilimageallowlists/{namespace}")["spec"]
        except ApiError as error:
            if error.code != 404:
                raise
            return {}
        return found

    def events(self, namespace: str, name: str) -> list[str]:
        """Notes of the Events about an object, each after its reason."""
        items = self.world.api.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")["items"]
        return [f"{item['reason']}: {item['note']}" for item in items if item.get("regarding", {}).get("name") == name]

    def until_verified(self, place: Place) -> None:
        """Until the node has been let start: its release is verified and its workloads are there."""
        self.world.until(
            lambda: self.condition(place.release).get("status") == "True" and self.workloads(place.namespace),
            f"release {place.release} to be verified and taken up: {json.dumps(self._said(place.release))}",
            READ_AGAIN_S,
        )

    def until_refused(self, place: Place) -> None:
        """Until the node says that its release may not run, and so does the release: each status is written apart."""
        self.world.until(
            lambda: (
                self.world.condition(place.namespace, place.node, "ImageTrust").get("reason") == "ImageRefused"
                and self.reasons(place.release)
            ),
            f"release {place.release} to be refused: {json.dumps(self._said(place.release))}",
            READ_AGAIN_S,
        )

    def _said(self, release: str) -> Any:
        try:
            return self.status(release)
        except (ApiError, OSError) as error:
            return str(error)
