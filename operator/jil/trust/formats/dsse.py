"""DSSE, the Dead Simple Signing Envelope v1.0.2, with exactly one signature.

What is signed is PAE(payloadType, payload): the type is under the signature, so a statement of one kind is never one of
another kind. The bytes that were verified are the bytes that are parsed, once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jil.trust.faults import malformed
from jil.trust.formats import base64_strict, strict_json

ENVELOPE_MAX = 1024 * 1024
#: What a media type may be spelled with (RFC 6838), at most 127 characters.
_TYPE_MAX = 127


@dataclass(frozen=True)
class Envelope:
    """One signed payload."""

    payload_type: str
    payload: bytes
    #: Which key claims to have signed; "" when the envelope does not say.
    key_id: str
    signature: bytes

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return pae(self.payload_type, self.payload)


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: ``DSSEv1``, length and bytes of the type, length and bytes of the payload."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def parse(data: bytes) -> Envelope:
    """The envelope whose JSON is ``data``. Raises Fault (Malformed, TooLarge).

    Base64 is that of the DSSE specification, standard or URL-safe, but only in its one padded form.
    """
    return of_json(strict_json.parse(data, what="the envelope", limit=ENVELOPE_MAX))


def of_json(value: object) -> Envelope:
    """As `parse`, from JSON that was parsed already (the inside of a sigstore bundle)."""
    obj = strict_json.an_object(value, "the envelope")
    strict_json.only(obj, required=frozenset({"payloadType", "payload", "signatures"}), what="the envelope")
    payload_type = strict_json.a_string(obj["payloadType"], "payloadType", limit=_TYPE_MAX)
    if not payload_type.isascii() or not payload_type.isprintable():
        raise malformed("payloadType is not printable ASCII")
    signatures = strict_json.a_list(obj["signatures"], "signatures")
    if len(signatures) != 1:
        raise malformed(f"the envelope has {len(signatures)} signatures: exactly one is allowed")
    entry = strict_json.an_object(signatures[0], "the signature")
    strict_json.only(entry, required=frozenset({"sig"}), optional=frozenset({"keyid"}), what="the signature")
    return Envelope(
        payload_type=payload_type,
        payload=base64_strict.decode(obj["payload"], what="payload", url_safe_too=True),
        key_id=strict_json.a_string(entry.get("keyid", ""), "keyid", limit=256),
        signature=base64_strict.decode(entry["sig"], what="sig", url_safe_too=True),
    )


def to_json(envelope: Envelope) -> dict[str, Any]:
    """The envelope as a JSON object; without ``keyid`` when it names no key."""
    signature = {"keyid": envelope.key_id} if envelope.key_id else {}
    return {
        "payload": base64_strict.encode(envelope.payload),
        "payloadType": envelope.payload_type,
        "signatures": [signature | {"sig": base64_strict.encode(envelope.signature)}],
    }


def serialize(envelope: Envelope) -> bytes:
    """The envelope as JSON text, always the same for the same envelope."""
    return json.dumps(to_json(envelope), separators=(",", ":"), sort_keys=True).encode("ascii")
