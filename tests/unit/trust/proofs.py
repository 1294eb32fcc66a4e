"""What is signed beside plain images: builds that are proven, and indexes of images."""

from __future__ import annotations

import json
from collections.abc import Mapping

from jil.api.trust import Track
from jil.trust.formats.release_manifest import digest_of
from jil.trust.sign import sign_provenance
from tests.unit.trust.scenario import (
    BUILDER,
    COMMIT,
    DAY,
    DIGEST,
    IMAGE_TYPE,
    INDEX_TYPE,
    NOW,
    REPOSITORY,
    Scenario,
    approved,
    manifest,
    policy,
    signed,
    with_rule,
)


def altered(envelope: bytes, old: str, new: str) -> bytes:
    """The envelope with other text in its payload and the same signature."""
    import base64

    value = json.loads(envelope)
    payload = base64.b64decode(value["payload"]).replace(old.encode(), new.encode())
    return json.dumps(value | {"payload": base64.b64encode(payload).decode()}).encode()


def provenance(**changes: object) -> bytes:
    """A builder's statement about the image."""
    values: dict[str, object] = {
        "repository": REPOSITORY,
        "digest": DIGEST,
        "source": "https://git.example.com/jil/transfers",
        "commit": COMMIT,
        "builder": "https://ci.example.com/builder",
        "finished": NOW - 2 * DAY,
    }
    signer = changes.pop("signer", BUILDER)
    return sign_provenance(signer, **(values | changes))  # type: ignore[arg-type]


def provenance_digest(envelope: bytes) -> str:
    """What an image statement names it by."""
    import base64

    return digest_of(base64.b64decode(json.loads(envelope)["payload"]))


def built(envelope: bytes, **changes: object) -> tuple[bytes, ...]:
    """A signature that names the provenance ``envelope``, an approval, and the provenance."""
    values: dict[str, object] = {"provenance_digest": provenance_digest(envelope)}
    return (signed(**(values | changes)), approved(), envelope)


PROVEN = Scenario(envelopes=built(provenance()), policy=with_rule(policy(), Track.TESTNET, provenance=True))


CHILD, FOREIGN = manifest("amd64"), manifest("foreign")


def index(*children: tuple[bytes, str]) -> bytes:
    """An index of images for linux."""
    entries = [
        {
            "mediaType": IMAGE_TYPE,
            "digest": digest_of(child),
            "size": len(child),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for child, architecture in children
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}).encode()


def of_index(manifest_bytes: bytes, children: Mapping[str, bytes]) -> Scenario:
    """A signed index."""
    digest = digest_of(manifest_bytes)
    base = Scenario(envelopes=(signed(digest=digest), approved(digest=digest)), platform="linux/amd64")
    return base.reads(manifest=manifest_bytes, digest=digest, media_type=INDEX_TYPE, children=children)


INDEX = of_index(index((CHILD, "amd64"), (manifest("arm64"), "arm64")), {digest_of(CHILD): CHILD})
