"""What was found about one image or release: verified, refused by which rule, or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RefusalReason(StrEnum):
    """Why an image or a release may not run; closed, because conditions, Events, metrics and exit codes carry it.

    The order is the order of telling: of several faults the one furthest down is nearest to admission, so it is the
    one that is reported. The first ones are what any well-kept repository has lying about: attestations, signatures of
    other people, signatures for an earlier track.
    """

    #: No signature of any known format is attached.
    UNSIGNED = "Unsigned"
    #: A statement of another kind: an attestation, an SBOM. Nobody signed the image with it.
    NOT_A_SIGNATURE = "NotASignature"
    #: The signature names, or verifies with, no key of the policy.
    UNKNOWN_KEY = "UnknownKey"
    #: Not the format it claims to be: JSON, base64, unknown or missing fields, not canonical.
    MALFORMED = "Malformed"
    #: A good signature by a key without the role that this needs.
    WRONG_ROLE = "WrongRole"
    #: A good signature for another track.
    WRONG_TRACK = "WrongTrack"
    #: A good signature or approval for another release.
    WRONG_RELEASE = "WrongRelease"
    #: The named key did not sign these bytes: altered after signing, or another scheme.
    BAD_SIGNATURE = "BadSignature"
    #: A good signature for another digest.
    WRONG_SUBJECT = "WrongSubject"
    #: A good signature for another repository.
    WRONG_REPOSITORY = "WrongRepository"
    #: A good signature of a release whose content is another one now: a service or an image was added or swapped.
    RELEASE_CHANGED = "ReleaseChanged"
    #: Signed before the key's notBefore or after its notAfter.
    KEY_OUTSIDE_WINDOW = "KeyOutsideWindow"
    #: The key is revoked, and with it this signature.
    KEY_REVOKED = "KeyRevoked"
    #: Signed in the future: a clock is wrong, or the signature lies about its time.
    FROM_THE_FUTURE = "FromTheFuture"
    #: Signed longer ago than the track allows.
    TOO_OLD = "TooOld"
    #: The key is kept in a weaker place than the track asks for.
    WEAK_CUSTODY = "WeakCustody"
    #: No provenance of an allowed builder with this digest, repository and commit.
    NO_PROVENANCE = "NoProvenance"
    #: Good signatures, but of fewer owners than the track asks for.
    TOO_FEW_SIGNATURES = "TooFewSignatures"
    #: The approval has expired.
    APPROVAL_EXPIRED = "ApprovalExpired"
    #: Who signed cannot approve.
    APPROVER_IS_SIGNER = "ApproverIsSigner"
    #: Two approvals of one owner count once.
    SAME_APPROVER = "SameApprover"
    #: Approvals of fewer owners than the track asks for.
    TOO_FEW_APPROVALS = "TooFewApprovals"
    #: The policy has no rule for the track.
    TRACK_NOT_CONFIGURED = "TrackNotConfigured"
    #: Images of this repository may not run at all.
    REPOSITORY_NOT_ALLOWED = "RepositoryNotAllowed"
    #: What the digest names is not an image or an index of images.
    WRONG_MEDIA_TYPE = "WrongMediaType"
    #: A manifest, payload or envelope above its limit.
    TOO_LARGE = "TooLarge"
    #: More signatures than anybody needs.
    TOO_MANY_SIGNATURES = "TooManySignatures"
    #: The index has no image for the platform.
    PLATFORM_MISSING = "PlatformMissing"
    #: Bytes do not have the digest that they were asked for by.
    REGISTRY_LIED = "RegistryLied"


@dataclass(frozen=True)
class Verified:
    """The image (or release) may run: ``keys`` signed it, ``approvers`` approved it, for the track asked about."""

    #: Digest of the image, or of the release's canonical manifest: ``sha256:`` and 64 hex digits.
    digest: str
    #: Ids of the policy's keys whose signatures counted, sorted.
    keys: tuple[str, ...]
    #: Owners whose approvals counted, sorted.
    approvers: tuple[str, ...]
    #: Formats that counted: ``jil``, ``cosign``, ``bundle``; sorted.
    formats: tuple[str, ...]
    #: When the oldest signature that counted was made; None when none of them says so under its signature (cosign).
    signed_at: datetime | None
    #: When the verdict must be asked for again because an approval expires or a signature gets too old; None: never.
    valid_until: datetime | None
    #: Digests of the platform images inside an index; of the image itself when it is no index; () of a release.
    platforms: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """The image (or release) may not run."""

    digest: str
    reason: RefusalReason
    #: Path of the rule in the policy, such as ``tracks[mainnet].approvals``; ``format`` and ``limits`` are built in.
    rule: str
    #: One sentence: which image, what is wrong, and the command that shows more.
    message: str
    #: Not empty when something attached is missing from the registry that might change this: then whoever reads registries
    #: calls it Unknown, in these words.
    in_doubt: str = ""


@dataclass(frozen=True)
class Unknown:
    """Nothing can be said: the registry did not answer. Made by who reads the registry, never in this package."""

    digest: str
    message: str


Verdict = Verified | Refused | Unknown
