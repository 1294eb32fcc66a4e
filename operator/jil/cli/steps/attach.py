"""Putting what was signed beside the image, in the format that was asked for."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum

from jil.api.trust import Track
from jil.cli.keystore.opening import NamedKey
from jil.observe.registry import NotInRegistry, Reference, RegistryClient, RegistryPush, media
from jil.trust import cosign, sign
from jil.trust.formats import bundle
from jil.trust.formats.statement import write_time

EMPTY_CONFIG = "application/vnd.oci.image.config.v1+json"


class Form(StrEnum):
    """Formats of an image's signature."""

    JIL = "jil"
    BUNDLE = "bundle"
    """Sigstore bundle, as cosign 3 writes it."""
    COSIGN = "cosign"
    """Tag ``sha256-<digest>.sig``, as cosign 2 writes it."""


async def envelope(push: RegistryPush, pinned: str, content: bytes) -> str:
    """Attach a DSSE envelope, or a bundle when it is one; returns the digest of the attachment."""
    if b'"verificationMaterial"' in content:
        return await push.attach(pinned, bundle.MEDIA_TYPE, [(bundle.MEDIA_TYPE, content)])
    return await push.attach(pinned, media.JIL_ARTIFACT, [(media.DSSE, content)])


async def signature(
    client: RegistryClient,
    pinned: str,
    key: NamedKey,
    form: Form,
    *,
    track: Track,
    commit: str,
    release: str | None,
    proof: str,
    now: datetime,
) -> str:
    """Sign ``pinned`` and attach that; returns the digest of what was attached."""
    reference = Reference.parse(pinned)
    digest = str(reference.digest)
    push = RegistryPush(client)
    if form is Form.JIL:
        made = sign.sign_image(
            key,
            repository=reference.repository,
            digest=digest,
            track=track,
            commit=commit,
            release=release,
            provenance_digest=proof,
            now=now,
        )
        return await envelope(push, pinned, made)
    annotations = {
        cosign.TRACK: str(track),
        cosign.COMMIT: commit,
        cosign.PROVENANCE: proof,
        cosign.REPOSITORY: reference.repository,
        cosign.TIMESTAMP: write_time(now),
    } | ({cosign.RELEASE: release} if release else {})
    if form is Form.BUNDLE:
        content = sign.cosign_bundle(key, digest=digest, annotations=annotations, spki=key.spki)
        notes = {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": cosign.SIGN_PREDICATE,
        }
        return await push.attach(pinned, bundle.MEDIA_TYPE, [(bundle.MEDIA_TYPE, content)], notes)
    simple = sign.cosign_simple(key, repository=reference.repository, digest=digest, annotations=annotations)
    return await _add_layer(client, reference, simple.payload, simple.signature)


async def _add_layer(client: RegistryClient, reference: Reference, payload: bytes, text: str) -> str:
    """One more layer of the ``.sig`` manifest. Two writers at once can lose one: the format has no remedy for it."""
    push = RegistryPush(client)
    image = f"{reference.repository}:{str(reference.digest).replace(':', '-')}.sig"
    try:
        found = await client.manifest(reference.at(await client.resolve(image)))
        layers = list(found.body["layers"] or ())
    except NotInRegistry:
        layers = []
    blob = await push.blob(image, payload, media.SIMPLE_SIGNING)
    layers.append(
        {
            "mediaType": blob.media_type,
            "digest": blob.digest,
            "size": blob.size,
            "annotations": {media.COSIGN_SIGNATURE: text},
        }
    )
    diff_ids = [layer["digest"] for layer in layers]
    config = json.dumps({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    settings = await push.blob(image, config, EMPTY_CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {"mediaType": settings.media_type, "digest": settings.digest, "size": settings.size},
        "layers": layers,
    }
    return await push.manifest(image, json.dumps(manifest).encode(), media.OCI_MANIFEST)
