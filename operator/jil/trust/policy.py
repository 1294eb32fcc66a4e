"""The policy that decisions are made by: keys, one rule per track, repositories. Frozen values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from jil.api.network import Track


class Algorithm(StrEnum):
    """What a key signs with."""

    ED25519 = "Ed25519"
    ECDSA_P256 = "ECDSA-P256"


class Role(StrEnum):
    """What a key may do."""

    #: Signs images and releases for any track.
    SIGNER = "signer"
    #: Approves digests and releases.
    APPROVER = "approver"
    #: Signs images and releases for devnet only.
    CI = "ci"
    #: Signs provenance.
    BUILDER = "builder"


class Revocation(StrEnum):
    """What a revocation takes back."""

    #: Everything that the key ever signed: whoever has the key may have back-dated what he signed.
    COMPROMISED = "Compromised"
    #: What the key signed at ``revoked_at`` or later, by the time under the signature.
    AFTER = "After"


class Custody(StrEnum):
    """Where the private key is kept, as its owner declares it; from weak to strong."""

    FILE = "file"
    KMS = "kms"
    HSM = "hsm"

    def at_least(self, wanted: Custody) -> bool:
        """Whether this place is as strong as ``wanted`` or stronger."""
        order = tuple(Custody)
        return order.index(self) >= order.index(wanted)


@dataclass(frozen=True)
class Key:
    """One public key of the policy."""

    id: str
    algorithm: Algorithm
    #: SubjectPublicKeyInfo in DER, checked by `jil.trust.keys.parse_public_key`.
    spki: bytes
    #: The person or machine who holds the private key; two keys of one owner count once.
    owner: str
    roles: frozenset[Role]
    not_before: datetime | None = None
    not_after: datetime | None = None
    revoked_at: datetime | None = None
    revocation: Revocation = Revocation.COMPROMISED
    custody: Custody = Custody.FILE


@dataclass(frozen=True)
class TrackRule:
    """What an image needs on one track."""

    track: Track
    #: Owners whose keys signed the image, at least.
    signatures: int
    #: Owners, none of whom signed the image, whose keys approved it, at least.
    approvals: int
    #: Where the keys of the signatures must be kept, at least.
    custody: Custody = Custody.FILE
    #: How long a signature holds from its time on; None: for ever.
    max_age: timedelta | None = None
    #: Whether a builder's statement about this digest, repository and commit is needed.
    provenance: bool = False
    #: Repositories for this track, in place of those of the policy; those when empty.
    repositories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """All of it. Key ids and public keys are unique: `policy_of` refuses anything else."""

    keys: tuple[Key, ...]
    tracks: tuple[TrackRule, ...]
    #: Repositories that images may come from: exact, or every one below a prefix that ends with ``/``.
    repositories: tuple[str, ...]

    def rule(self, track: Track) -> TrackRule | None:
        """The rule of that track, or None when the policy has none."""
        return next((rule for rule in self.tracks if rule.track == track), None)

    def key(self, key_id: str) -> Key | None:
        """The key with exactly that id, or None."""
        return next((key for key in self.keys if key.id == key_id), None)
