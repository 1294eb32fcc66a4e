"""An image that is admitted on testnet, as a value: a refusal is this with one thing changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from jil.api.trust import Track
from jil.trust.decide import decide
from jil.trust.evidence import Evidence
from jil.trust.formats.release_manifest import digest_of
from jil.trust.policy import Custody, Key, Policy, Role, TrackRule
from jil.trust.sign import EcdsaSigner, Ed25519Signer, approve_image, sign_image
from jil.trust.verdict import Refused, Verified

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
REPOSITORY = "registry.example.com/jil/transfers"
RELEASE = "jil-1-4-0"
COMMIT = "5f3c" * 10
IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"

AnySigner = Ed25519Signer | EcdsaSigner


@cache
def ed25519_signer(key_id: str) -> Ed25519Signer:
    """The same key for the same name, in every run."""
    return Ed25519Signer(key_id, ed25519.Ed25519PrivateKey.from_private_bytes(key_id.encode().ljust(32, b".")))


@cache
def ecdsa_signer(key_id: str) -> EcdsaSigner:
    """The same key for the same name, in every run."""
    return EcdsaSigner(key_id, ec.derive_private_key(int.from_bytes(key_id.encode().ljust(31, b".")), ec.SECP256R1()))


def key_of(signer: AnySigner, owner: str, *roles: Role, **changes: Any) -> Key:
    """The policy's entry for a signer."""
    return Key(signer.key_id, signer.algorithm, signer.spki, owner, frozenset(roles), **changes)


RELEASER, ALICE, BOB = ed25519_signer("release-2026"), ed25519_signer("alice-1"), ecdsa_signer("bob-1")
ALICE_TOO, CI, BUILDER = ecdsa_signer("alice-2"), ed25519_signer("ci-1"), ecdsa_signer("builder-1")
#: Not in the policy.
MALLORY = ed25519_signer("mallory-1")
SIGNERS: Mapping[str, AnySigner] = {
    signer.key_id: signer for signer in (RELEASER, ALICE, BOB, ALICE_TOO, CI, BUILDER, MALLORY)
}


def policy(**changes: Any) -> Policy:
    """Testnet asks for one approval, mainnet for two and keys in an HSM, devnet for none."""
    return replace(
        Policy(
            keys=(
                key_of(RELEASER, "pipeline", Role.SIGNER, custody=Custody.HSM),
                key_of(ALICE, "alice@example.com", Role.APPROVER),
                key_of(ALICE_TOO, "alice@example.com", Role.APPROVER, Role.SIGNER),
                key_of(BOB, "bob@example.com", Role.APPROVER),
                key_of(CI, "ci", Role.CI),
                key_of(BUILDER, "builder", Role.BUILDER),
            ),
            tracks=(
                TrackRule(Track.DEVNET, signatures=1, approvals=0),
                TrackRule(Track.TESTNET, signatures=1, approvals=1),
                TrackRule(Track.MAINNET, signatures=1, approvals=2, custody=Custody.HSM),
            ),
            repositories=("registry.example.com/jil/",),
        ),
        **changes,
    )


def with_key(base: Policy, key_id: str, **changes: Any) -> Policy:
    """``base`` with one key changed."""
    return replace(base, keys=tuple(replace(key, **changes) if key.id == key_id else key for key in base.keys))


def with_rule(base: Policy, track: Track, **changes: Any) -> Policy:
    """``base`` with one track's rule changed."""
    return replace(
        base, tracks=tuple(replace(rule, **changes) if rule.track is track else rule for rule in base.tracks)
    )


def manifest(name: str = "transfers", **changes: Any) -> bytes:
    """Manifest of an image; another name, other bytes."""
    value = {"schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": {"digest": name}, "layers": []}
    return json.dumps(value | changes).encode()


MANIFEST = manifest()
DIGEST = digest_of(MANIFEST)


def signed(signer: AnySigner = RELEASER, **changes: Any) -> bytes:
    """A signature of the image for testnet."""
    values: dict[str, Any] = {
        "repository": REPOSITORY,
        "digest": DIGEST,
        "track": Track.TESTNET,
        "commit": COMMIT,
        "now": NOW - DAY,
    }
    return sign_image(signer, **(values | changes))


def approved(signer: AnySigner = ALICE, **changes: Any) -> bytes:
    """An approval of the image for testnet."""
    values: dict[str, Any] = {
        "repository": REPOSITORY,
        "digest": DIGEST,
        "track": Track.TESTNET,
        "release": RELEASE,
        "now": NOW - DAY,
        "expires": NOW + 30 * DAY,
    }
    return approve_image(signer, **(values | changes))


@dataclass(frozen=True)
class Scenario:
    """Everything that a decision is made of."""

    envelopes: tuple[bytes, ...] = field(default_factory=lambda: (signed(), approved()))
    policy: Policy = field(default_factory=policy)
    track: Track = Track.TESTNET
    release: str = RELEASE
    platform: str | None = None
    now: datetime = NOW
    repository: str = REPOSITORY
    evidence: Evidence = field(default_factory=lambda: Evidence(REPOSITORY, DIGEST, IMAGE_TYPE, MANIFEST))

    @property
    def image(self) -> str:
        """What is asked about."""
        return f"{self.repository}@{self.evidence.digest}"

    def decide(self) -> Verified | Refused:
        """The verdict."""
        evidence = self.evidence if self.evidence.envelopes else replace(self.evidence, envelopes=self.envelopes)
        return decide(
            self.image,
            evidence,
            self.policy,
            track=self.track,
            release=self.release,
            platform=self.platform,
            now=self.now,
        )

    def but(self, **changes: Any) -> Scenario:
        """The same with one thing changed."""
        return replace(self, **changes)

    def reads(self, **changes: Any) -> Scenario:
        """The same with other evidence."""
        return replace(self, evidence=replace(self.evidence, **changes))


Twin = Callable[[Scenario], Scenario]
