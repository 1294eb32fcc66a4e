"""The policy that decisions are made by: keys, one rule per track, repositories. Frozen values, no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jil.api.trust import Custody, Revocation, Track, TrustKey, TrustSpec
from jil.api.trust import KeyAlgorithm as Algorithm
from jil.api.trust import KeyRole as Role
from jil.trust.formats import canonical
from jil.trust.keys import KeyFault, parse_public_key

__all__ = ["Algorithm", "Custody", "InvalidPolicy", "Key", "Policy", "Revocation", "Role", "TrackRule"]

#: Version of the rules of decision: a verdict of other rules is no verdict, so it is part of every hash.
DECISION = "jil.io/trust-decision/v1"


class InvalidPolicy(ValueError):  # noqa: N818 - it is a state of the network's spec as much as an error
    """A policy that nothing may be decided by; ``problems`` has one line per fault."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("spec.trust: " + "; ".join(problems))


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


def policy_of(spec: TrustSpec) -> Policy:
    """The policy that a JILNetwork's ``spec.trust`` states.

    Raises InvalidPolicy with every fault that the API server cannot see: a public key that is none, is of another
    algorithm, is unsound, or stands there twice under different ids (one person would count as two).
    """
    problems: list[str] = []
    keys: list[Key] = []
    seen: dict[bytes, str] = {}
    for entry in spec.keys:
        try:
            key = _key(entry)
        except KeyFault as fault:
            problems.append(f"keys[{entry.id}].publicKey: {fault}")
            continue
        other = seen.setdefault(key.spki, key.id)
        if other != key.id:
            problems.append(f"keys[{key.id}].publicKey: it is that of {other} too: one key has one id and one owner")
        keys.append(key)
    if problems:
        raise InvalidPolicy(tuple(problems))
    return Policy(
        keys=tuple(keys),
        tracks=tuple(
            TrackRule(
                track=rule.track,
                signatures=rule.signatures,
                approvals=rule.approvals,
                custody=rule.custody,
                max_age=None if rule.max_age_days is None else timedelta(days=rule.max_age_days),
                provenance=rule.provenance,
                repositories=rule.repositories,
            )
            for rule in spec.tracks
        ),
        repositories=spec.repositories,
    )


def policy_hash(policy: Policy) -> str:
    """``sha256:`` and 64 hex digits: another policy, or other rules of decision, has another one.

    The order of keys, roles, tracks and repositories does not matter, as it decides nothing.
    """
    value: dict[str, Any] = {
        "decision": DECISION,
        "keys": sorted((_hashed_key(key) for key in policy.keys), key=lambda key: str(key["id"])),
        "tracks": sorted((_hashed_rule(rule) for rule in policy.tracks), key=lambda rule: str(rule["track"])),
        "repositories": sorted(policy.repositories),
    }
    return "sha256:" + hashlib.sha256(canonical.encode(value)).hexdigest()


def _key(entry: TrustKey) -> Key:
    return Key(
        id=entry.id,
        algorithm=entry.algorithm,
        spki=parse_public_key(entry.public_key, entry.algorithm),
        owner=entry.owner,
        roles=frozenset(entry.roles),
        not_before=entry.not_before,
        not_after=entry.not_after,
        revoked_at=entry.revoked_at,
        revocation=entry.revocation,
        custody=entry.custody,
    )


def _hashed_key(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "algorithm": key.algorithm,
        "spki": key.spki.hex(),
        "owner": key.owner,
        "roles": sorted(key.roles),
        "notBefore": _moment(key.not_before),
        "notAfter": _moment(key.not_after),
        "revokedAt": _moment(key.revoked_at),
        "revocation": key.revocation,
        "custody": key.custody,
    }


def _hashed_rule(rule: TrackRule) -> dict[str, Any]:
    return {
        "track": rule.track,
        "signatures": rule.signatures,
        "approvals": rule.approvals,
        "custody": rule.custody,
        "maxAgeSeconds": None if rule.max_age is None else int(rule.max_age.total_seconds()),
        "provenance": rule.provenance,
        "repositories": sorted(rule.repositories),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
