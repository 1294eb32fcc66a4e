"""What images may run: the trust policy of a JILNetwork, and the tracks that it sets rules for.

Shapes and bounds only. What a signature is, and whether one satisfies a policy, is decided elsewhere.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from annotated_types import Ge, Le, Len
from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from jil.api.fields import ListMap, ListSet, SpecModel, format_rule
from jil.api.rules import Rule, immutable

KEYS_MAX = 64
REPOSITORIES_MAX = 64


class Track(StrEnum):
    """How carefully images are approved before they run."""

    DEVNET = "devnet"
    TESTNET = "testnet"
    MAINNET = "mainnet"


class KeyAlgorithm(StrEnum):
    """What a key signs with."""

    ED25519 = "Ed25519"
    ECDSA_P256 = "ECDSA-P256"


class KeyRole(StrEnum):
    """What a key may do."""

    SIGNER = "signer"
    APPROVER = "approver"
    CI = "ci"
    BUILDER = "builder"


class Custody(StrEnum):
    """Where a private key is kept, as its owner declares it; from weak to strong."""

    FILE = "file"
    KMS = "kms"
    HSM = "hsm"


class Revocation(StrEnum):
    """What the revocation of a key takes back."""

    COMPROMISED = "Compromised"
    AFTER = "After"


#: Small letters only: two ids or owners that people take for the same one are the same one.
KEY_ID_PATTERN = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"
OWNER_PATTERN = "^[a-z0-9]([a-z0-9._@+-]{0,126}[a-z0-9])?$"
PEM_PATTERN = r"^-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=]{1,76}\n){1,8}-----END PUBLIC KEY-----\n?$"
#: ``registry.example.com/jil/transfers``, or everything below ``registry.example.com/jil/``.
REPOSITORY_PATTERN = "^[a-z0-9]+([._-][a-z0-9]+)*(:[0-9]{1,5})?((/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)+/?|/)$"
#: How the SubjectPublicKeyInfo of each algorithm begins, in base64: object identifiers, before the key itself.
SPKI_BEGINS = {
    KeyAlgorithm.ED25519: "MCowBQYDK2VwAyEA",
    KeyAlgorithm.ECDSA_P256: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
}

KeyId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=KEY_ID_PATTERN),
    format_rule(
        KEY_ID_PATTERN,
        "id of a key must be at most 63 lower-case letters, digits, '.', '_' and '-', beginning and ending with a "
        "letter or digit, such as release-2026.",
    ),
]
KeyOwner = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=OWNER_PATTERN),
    format_rule(
        OWNER_PATTERN,
        "owner must be a person or machine in lower case, such as alice@example.com: two keys of one owner count once.",
    ),
]
PublicKeyPem = Annotated[
    str,
    StringConstraints(max_length=512, pattern=PEM_PATTERN),
    format_rule(
        PEM_PATTERN,
        "publicKey must be one public key in PEM, from '-----BEGIN PUBLIC KEY-----' to '-----END PUBLIC KEY-----' "
        "(jilctl keys export prints it); never a private key.",
    ),
]
Repository = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, pattern=REPOSITORY_PATTERN),
    format_rule(
        REPOSITORY_PATTERN,
        "a repository must be HOST[:PORT]/PATH without tag and digest, such as registry.example.com/jil/transfers; one "
        "that ends with '/' stands for every repository below it.",
    ),
]


class TrustKey(SpecModel):
    """One public key, who holds it and what it may do."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            " && ".join(
                f"(self.algorithm != '{algorithm}' || "
                f"self.publicKey.startsWith('-----BEGIN PUBLIC KEY-----\\n{begin}'))"
                for algorithm, begin in SPKI_BEGINS.items()
            ),
            "publicKey is not a key of the algorithm that stands beside it: correct one of the two.",
            "'publicKey of key ' + self.id + ' is not a key of algorithm ' + self.algorithm + ': correct one of the "
            "two.'",
        ),
        Rule(
            "!has(self.notBefore) || !has(self.notAfter) || self.notBefore < self.notAfter",
            "the window of a key ends before it begins: notBefore must be earlier than notAfter.",
            "'the window of key ' + self.id + ' ends before it begins: notBefore must be earlier than notAfter.'",
        ),
        Rule(
            "!('ci' in self.roles) || !('signer' in self.roles || 'approver' in self.roles)",
            "role ci is for a pipeline that signs for devnet alone: it must not stand beside signer or approver.",
            "'key ' + self.id + ' has role ci, which is for a pipeline that signs for devnet alone: it must not stand "
            "beside signer or approver.'",
        ),
        Rule(
            "!has(oldSelf.revokedAt) || (has(self.revokedAt) && self.revokedAt <= oldSelf.revokedAt)",
            "a revocation cannot be taken back or moved to a later time: make a new key with a new id, and sign again.",
            "'the revocation of key ' + self.id + ' cannot be taken back or moved to a later time: make a new key with "
            "a new id, and sign again.'",
        ),
        Rule(
            "oldSelf.revocation != 'Compromised' || !has(oldSelf.revokedAt) || self.revocation == 'Compromised'",
            "a key that was revoked as Compromised stays so: what it signed before may be back-dated.",
            "'key ' + self.id + ' was revoked as Compromised and stays so: what it signed before may be back-dated.'",
        ),
    )

    id: KeyId = Field(description="Id of the key, named by signatures and verdicts; unique in the policy.")
    # Immutable without a rule of its own: it must fit the public key, which never changes.
    algorithm: KeyAlgorithm = Field(description="What the key signs with.")
    public_key: Annotated[
        PublicKeyPem,
        immutable("publicKey of a key", "Signatures name the key by its id: add a key with another id."),
    ] = Field(description="Public key in PEM (SubjectPublicKeyInfo). Immutable for its id.")
    owner: KeyOwner = Field(
        description="Person or machine who holds the private key, in lower case; two keys of one owner count once."
    )
    roles: Annotated[tuple[KeyRole, ...], Len(1, 4), ListSet()] = Field(
        description="signer: signs images and releases; approver: approves them; ci: signs for devnet only; builder: "
        "signs provenance."
    )
    not_before: AwareDatetime | None = Field(
        default=None, description="What the key signed earlier does not count; no limit when unset."
    )
    not_after: AwareDatetime | None = Field(
        default=None, description="What the key signed later does not count; no limit when unset."
    )
    revoked_at: AwareDatetime | None = Field(
        default=None, description="When the key was revoked; never taken back, only moved to an earlier time."
    )
    revocation: Revocation = Field(
        default=Revocation.COMPROMISED,
        description="What revokedAt takes back. Compromised: all that the key ever signed, because its thief can "
        "back-date. After: what it signed at revokedAt or later.",
    )
    custody: Custody = Field(
        default=Custody.FILE,
        description="Where the private key is kept, as its owner declares it: file, kms or hsm. Nobody can prove it "
        "from a signature.",
    )


#: Approvals that a track has at least, whatever a policy says.
APPROVALS_MIN = {Track.DEVNET: 0, Track.TESTNET: 1, Track.MAINNET: 2}


class TrackRule(SpecModel):
    """What an image needs in order to run on one track."""

    rules: ClassVar[tuple[Rule, ...]] = tuple(
        Rule(
            f"self.track != '{track}' || self.approvals >= {least}",
            f"track {track} must have at least {least} approval{'s' if least > 1 else ''}: raise approvals.",
        )
        for track, least in APPROVALS_MIN.items()
        if least
    )

    track: Track = Field(description="The track that this is about.")
    signatures: Annotated[int, Ge(1), Le(8)] = Field(
        default=1, description="Owners whose keys (role signer, on devnet also ci) signed the image, at least."
    )
    approvals: Annotated[int, Ge(0), Le(16)] = Field(
        description="Owners whose keys (role approver) approved the image and who did not sign it, at least: 0 or more "
        "on devnet, 1 on testnet, 2 on mainnet."
    )
    custody: Custody = Field(
        default=Custody.FILE, description="Where the keys that sign must be kept at least: file, kms or hsm."
    )
    max_age_days: Annotated[int, Ge(1), Le(3650)] | None = Field(
        default=None, description="Days for which a signature holds from its own time on; for ever when unset."
    )
    provenance: bool = Field(
        default=False,
        description="Whether a statement by a key of role builder about this digest, repository and commit is needed.",
    )
    repositories: Annotated[tuple[Repository, ...], Len(0, REPOSITORIES_MAX), ListSet()] = Field(
        default=(), description="Repositories allowed on this track, in place of those of the policy; those when empty."
    )

    @model_validator(mode="after")
    def _least(self) -> Self:
        if self.approvals < APPROVALS_MIN[self.track]:
            raise ValueError(f"track {self.track} must have at least {APPROVALS_MIN[self.track]} approvals")
        return self


def _enough(count: str, roles: str) -> str:
    return f"self.tracks.all(t, self.keys.filter(k, {roles}).size() >= t.{count})"


class TrustSpec(SpecModel):
    """Who may sign and approve images, and what each track asks for."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.keys.all(k, self.keys.exists_one(o, o.publicKey == k.publicKey))",
            "two keys have the same publicKey under different ids: one key has one id and one owner. Remove one.",
        ),
        Rule(
            _enough("signatures", "'signer' in k.roles || ('ci' in k.roles && t.track == 'devnet')"),
            "a track asks for more signatures than there are keys that may give one: add keys with role signer.",
        ),
        Rule(
            _enough("approvals", "'approver' in k.roles"),
            "a track asks for more approvals than there are keys with role approver: add keys with that role.",
        ),
        Rule(
            "self.tracks.all(t, !t.provenance || self.keys.exists(k, 'builder' in k.roles))",
            "a track asks for provenance and no key has role builder: add the key that your builds are signed with.",
        ),
    )

    keys: Annotated[tuple[TrustKey, ...], Len(1, KEYS_MAX), ListMap("id")] = Field(
        description="Public keys that signatures, approvals and provenance are checked with."
    )
    tracks: Annotated[tuple[TrackRule, ...], Len(1, len(Track)), ListMap("track")] = Field(
        description="What each track asks for; the network's own track must be among them."
    )
    repositories: Annotated[tuple[Repository, ...], Len(1, REPOSITORIES_MAX), ListSet()] = Field(
        description="Repositories that images may come from: exact, or everything below one that ends with '/'."
    )

    def rule(self, track: Track) -> TrackRule | None:
        """The rule of that track, or None when the policy has none: then nothing may run on it."""
        return next((rule for rule in self.tracks if rule.track == track), None)

    def repositories_of(self, track: Track) -> tuple[str, ...]:
        """Repositories allowed on that track: its own list where it has one, else that of the policy."""
        rule = self.rule(track)
        return rule.repositories if rule is not None and rule.repositories else self.repositories
