"""Sigstore bundle with a public key: a DSSE envelope and a hint which key made it.

Keyless bundles (certificates of Fulcio) are another kind of trust that this project does not use. Entries of a
transparency log are not looked at, so nothing follows from them.
"""

from __future__ import annotations

from dataclasses import dataclass

from jil.trust.faults import malformed
from jil.trust.formats import dsse, strict_json

BUNDLE_MAX = 2 * 1024 * 1024
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
#: Spellings of earlier versions; a keyed envelope is the same in all of them.
MEDIA_TYPES = frozenset(
    {MEDIA_TYPE} | {f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3)}
)
_MATERIAL = frozenset({"publicKey"})
_MATERIAL_IGNORED = frozenset({"tlogEntries", "timestampVerificationData"})


@dataclass(frozen=True)
class Bundle:
    """The envelope inside, and the hint; neither is verified yet."""

    envelope: dsse.Envelope
    hint: str


def parse(data: bytes) -> Bundle:
    """The bundle whose JSON is ``data``. Raises Fault (Malformed, TooLarge)."""
    obj = strict_json.parse_object(data, what="the bundle", limit=BUNDLE_MAX)
    if "messageSignature" in obj:
        raise malformed("the bundle signs a blob (messageSignature), not an image: sign with `cosign sign`")
    required = frozenset({"mediaType", "verificationMaterial", "dsseEnvelope"})
    strict_json.only(obj, required=required, what="the bundle")
    if strict_json.a_string(obj["mediaType"], "mediaType") not in MEDIA_TYPES:
        raise malformed(f"the bundle's mediaType is not {MEDIA_TYPE} or an earlier one")
    material = strict_json.an_object(obj["verificationMaterial"], "verificationMaterial")
    if "certificate" in material or "x509CertificateChain" in material:
        raise malformed(
            "the bundle is signed by a certificate (keyless), and only keys of the policy count: cosign sign --key"
        )
    strict_json.only(material, required=_MATERIAL, optional=_MATERIAL_IGNORED, what="verificationMaterial")
    public_key = strict_json.an_object(material["publicKey"], "publicKey")
    strict_json.only(public_key, required=frozenset(), optional=frozenset({"hint"}), what="publicKey")
    hint = strict_json.a_string(public_key.get("hint", ""), "the hint", limit=256)
    envelope = dsse.of_json(obj["dsseEnvelope"])
    if hint and envelope.key_id and hint != envelope.key_id:
        raise malformed("the bundle's hint and its envelope's keyid name different keys")
    return Bundle(envelope, hint or envelope.key_id)
