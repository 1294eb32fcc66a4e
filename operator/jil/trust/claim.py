"""What one good signature says about an image, whatever format it came in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from jil.api.trust import Track
from jil.trust import keys
from jil.trust.faults import Fault
from jil.trust.policy import Algorithm, Key
from jil.trust.verdict import RefusalReason


@dataclass(frozen=True)
class Claim:
    """``key`` signed exactly this. None: the signature does not say."""

    key: Key
    #: ``jil``, ``cosign`` or ``bundle``.
    format: str
    #: Digests that the signature is about; a statement of in-toto may have several subjects.
    digests: frozenset[str]
    track: Track
    repository: str | None = None
    release: str | None = None
    commit: str | None = None
    provenance: str | None = None
    signed_at: datetime | None = None


def verify_named(key: Key | None, key_id: str, algorithm: Algorithm, message: bytes, signature: bytes) -> Key:
    """The key that an envelope names, when it signed ``message``. Raises Fault (UnknownKey, BadSignature)."""
    if key is None:
        raise Fault(RefusalReason.UNKNOWN_KEY, "keys", f"it is signed by {key_id}, which the policy does not know")
    rule = f"keys[{key.id}].publicKey"
    if key.algorithm is not algorithm:
        text = f"it says that {key.id} signs by {algorithm}, and the policy says {key.algorithm}"
        raise Fault(RefusalReason.BAD_SIGNATURE, rule, text)
    if not keys.verifies(key.spki, key.algorithm, message, signature, low_s=True):
        text = f"it is not what {key.id} signed: altered after signing, or signed by another key of that name"
        raise Fault(RefusalReason.BAD_SIGNATURE, rule, text)
    return key


def verify_any(candidates: Iterable[Key], hint: str, message: bytes, signature: bytes) -> Key:
    """The key of the policy that signed ``message``, for formats that name none under the signature.

    ``hint`` (of sigstore; may be empty) only makes a better message: trust never depends on it. Both schemes of
    Ed25519 hold: cosign 3.1 signs by Ed25519ph and verifies pure Ed25519. Their messages are told apart by RFC 8032
    itself, so a signature of one is never one of the other. Raises Fault (UnknownKey, BadSignature).
    """
    hinted: Key | None = None
    for key in candidates:
        if keys.verifies(key.spki, key.algorithm, message, signature):
            return key
        if hint and keys.hint(key.spki) == hint:
            hinted = key
    for key in candidates:
        if keys.verifies_prehashed(key.spki, key.algorithm, message, signature):
            return key
    if hinted is not None:
        text = f"it is not what {hinted.id} signed: altered after signing"
        raise Fault(RefusalReason.BAD_SIGNATURE, f"keys[{hinted.id}].publicKey", text)
    text = "no key of the policy made it: signed by another key, or altered after signing"
    raise Fault(RefusalReason.UNKNOWN_KEY, "keys", text)
