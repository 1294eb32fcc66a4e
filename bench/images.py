"""Signed images on a real registry, the policy that admits them, and a release of all of them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from jil.api.release import ReleaseSpec
from jil.api.trust import Track
from jil.observe.registry import RegistryClient, RegistryPush, media
from jil.trust import cosign
from jil.trust.sign import (
    EcdsaSigner,
    Ed25519Signer,
    approve_image,
    approve_release,
    cosign_simple,
    sign_image,
    sign_release,
)
from tests.cluster.registry.rig import Registry, push_image

PARTS = ("database", "cache", "broker", "validator", "health")
AT_ONCE = 16
COMMIT = "5f3c" * 10
_DAY = timedelta(days=1)
_SIGNATURE_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True)
class Keys:
    """A pipeline's key, an approver's, and the key of a pipeline that uses cosign."""

    pipeline: Ed25519Signer
    approver: EcdsaSigner
    cosign: EcdsaSigner

    @classmethod
    def fresh(cls) -> Keys:
        """New ones."""
        made = [EcdsaSigner(name, ec.generate_private_key(ec.SECP256R1())) for name in ("approver-1", "cosign-1")]
        return cls(Ed25519Signer("pipeline-1", ed25519.Ed25519PrivateKey.generate()), *made)

    def policy(self, host: str) -> dict[str, Any]:
        """spec.trust of a JILNetwork: devnet asks for a signature, testnet for an approval too."""
        people = ((self.pipeline, "signer"), (self.approver, "approver"), (self.cosign, "signer"))
        keys = [
            {
                "id": signer.key_id,
                "algorithm": signer.algorithm.value,
                "publicKey": public_pem(signer),
                "owner": signer.key_id,
                "roles": [role],
            }
            for signer, role in people
        ]
        tracks = [{"track": "devnet", "approvals": 0}, {"track": "testnet", "approvals": 1}]
        return {"keys": keys, "tracks": tracks, "repositories": [f"{host}/test/"]}


def public_pem(signer: Ed25519Signer | EcdsaSigner) -> str:
    """SubjectPublicKeyInfo."""
    key = serialization.load_der_public_key(signer.spki)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def now() -> datetime:
    """Whole seconds: the operator's clock is the real one."""
    return datetime.now(UTC).replace(microsecond=0)


def push(registry: Registry, keys: Keys, release: str, count: int, *, with_cosign: bool) -> list[str]:
    """``count`` images, each different, with one cosign signature or with a JIL signature and an approval."""
    attach = _cosign_signature if with_cosign else _envelopes

    async def go() -> list[str]:
        limit = asyncio.Semaphore(AT_ONCE)
        async with RegistryClient(registry.access) as client:

            async def one() -> str:
                async with limit:
                    to, repository = RegistryPush(client), registry.repository()
                    image = f"{repository}@{await push_image(to, repository)}"
                    await attach(to, keys, image, release)
                    return image

            return list(await asyncio.gather(*(one() for _ in range(count))))

    return asyncio.run(go())


async def _envelopes(to: RegistryPush, keys: Keys, image: str, release: str) -> None:
    repository, _, digest = image.partition("@")
    signed = sign_image(
        keys.pipeline, repository=repository, digest=digest, track=Track.TESTNET, commit=COMMIT, now=now() - _DAY
    )
    approved = approve_image(
        keys.approver,
        repository=repository,
        digest=digest,
        track=Track.TESTNET,
        release=release,
        now=now() - _DAY,
        expires=now() + _DAY,
    )
    for envelope in (signed, approved):
        await to.attach(image, media.JIL_ARTIFACT, [(media.DSSE, envelope)])


async def _cosign_signature(to: RegistryPush, keys: Keys, image: str, release: str) -> None:
    repository, _, digest = image.partition("@")
    annotations = {cosign.TRACK: "devnet", cosign.RELEASE: release}
    made = cosign_simple(keys.cosign, repository=repository, digest=digest, annotations=annotations)
    layer = await to.blob(repository, made.payload, _SIGNATURE_LAYER)
    config = await to.blob(repository, b"{}", _CONFIG)
    body = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": config.digest, "size": config.size},
        "layers": [
            {
                "mediaType": _SIGNATURE_LAYER,
                "digest": layer.digest,
                "size": layer.size,
                "annotations": {_SIGNATURE: made.signature},
            }
        ],
    }
    tag = digest.replace(":", "-") + ".sig"
    await to.manifest(f"{repository}:{tag}", json.dumps(body).encode(), media.OCI_MANIFEST)


def release(keys: Keys, name: str, images: list[str], *, with_cosign: bool) -> dict[str, Any]:
    """A signed JILRelease of these images: five parts of the node and one service for each of the others."""
    services = [{"name": f"svc-{number:03d}", "image": {"image": image}} for number, image in enumerate(images[5:])]
    spec: dict[str, Any] = {
        "version": "1.0.0",
        "broker": {"flavour": "kafka"},
        "images": {part: {"image": image} for part, image in zip(PARTS, images, strict=False)},
        "services": services,
    }
    track = Track.DEVNET if with_cosign else Track.TESTNET
    common: dict[str, Any] = {"name": name, "spec": ReleaseSpec.model_validate(spec), "track": track}
    envelopes = [sign_release(keys.pipeline, now=now() - _DAY, **common)]
    if not with_cosign:
        envelopes.append(approve_release(keys.approver, now=now() - _DAY, expires=now() + _DAY, **common))
    head = {"apiVersion": "jil.io/v1alpha1", "kind": "JILRelease", "metadata": {"name": name}}
    return head | {"spec": spec | {"envelopes": [envelope.decode() for envelope in envelopes]}}


def docker_config(host: str, user: str, password: str) -> str:
    """A config.json with one login."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    return json.dumps({"auths": {host: {"auth": auth}}})


def per_second(call: Callable[[], object], clock: Callable[[], float], seconds: float = 1.0) -> float:
    """Calls per second of one thread."""
    began, count = clock(), 0
    while (took := clock() - began) < seconds:
        for _ in range(20):
            call()
        count += 20
    return count / took
