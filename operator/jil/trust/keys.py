"""Public keys of the policy: one spelling per key, sound points only, and verification by each algorithm."""

from __future__ import annotations

import binascii
import hashlib
import re
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from jil.api.trust import KEY_ID_PATTERN
from jil.api.trust import KeyAlgorithm as Algorithm
from jil.trust import ed25519 as points
from jil.trust.formats import base64_strict

#: ASCII, so that no key can look like another one.
_KEY_ID = re.compile(KEY_ID_PATTERN.strip("^$"), re.ASCII)
PEM_MAX = 2048
_PEM = re.compile(
    r"-----BEGIN PUBLIC KEY-----\r?\n((?:[A-Za-z0-9+/=]{1,76}\r?\n)+)-----END PUBLIC KEY-----\s*", re.ASCII
)
#: Order of P-256.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class KeyFault(ValueError):  # noqa: N818 - a finding, as Fault is
    """A public key that no policy may hold: what is wrong with it."""


def is_key_id(text: str) -> bool:
    """Whether ``text`` may be the id of a key."""
    return _KEY_ID.fullmatch(text) is not None


def parse_public_key(pem: str, algorithm: Algorithm) -> bytes:
    """SubjectPublicKeyInfo in DER of the one PEM block ``PUBLIC KEY`` in ``pem``.

    Raises KeyFault when there is anything beside it, when the key is of another algorithm, is not in the one DER form
    of its value (explicit curve parameters, compressed points, other lengths), or is a point that no honest signer
    has: small order, or a coordinate of p or more (Ed25519).
    """
    if len(pem) > PEM_MAX:
        raise KeyFault(f"the PEM text has {len(pem)} characters, and {PEM_MAX} are allowed")
    match = _PEM.fullmatch(pem.lstrip("\r\n"))
    if match is None:
        raise KeyFault(
            "not one PEM block between -----BEGIN PUBLIC KEY----- and -----END PUBLIC KEY-----; "
            "`openssl pkey -in private.pem -pubout` or `cosign public-key` prints one"
        )
    try:
        der = binascii.a2b_base64("".join(match[1].split()).encode("ascii"), strict_mode=True)
    except binascii.Error as error:
        raise KeyFault(f"the PEM block is not base64: {error}") from None
    check_spki(der, algorithm)
    return der


def check_spki(der: bytes, algorithm: Algorithm) -> None:
    """Raises KeyFault unless ``der`` is the one encoding of a sound public key of ``algorithm``."""
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFault(f"not a public key in DER: {str(error)[:100]}") from None
    match key:
        case ed25519.Ed25519PublicKey():
            found = Algorithm.ED25519
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            found = Algorithm.ECDSA_P256
        case _:
            raise KeyFault("a key of another kind: Ed25519 and ECDSA on P-256 are known")
    if found is not algorithm:
        raise KeyFault(f"the key is {found}, not {algorithm}")
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != der:
        raise KeyFault("the key is not in the one DER form of its value (named curve, uncompressed point)")
    if found is Algorithm.ED25519 and not points.is_sound_key(der[-32:]):
        raise KeyFault("the point is of small order or not in its one form: no honest signer has such a key")


def hint(spki: bytes) -> str:
    """How sigstore names a key: base64 of the SHA-256 of its SubjectPublicKeyInfo. Never a reason to trust."""
    return base64_strict.encode(hashlib.sha256(spki).digest())


def verifies(spki: bytes, algorithm: Algorithm, message: bytes, signature: bytes, *, low_s: bool = False) -> bool:
    """Whether ``signature`` is that of ``message``: pure Ed25519, or ECDSA over SHA-256 in DER.

    ``low_s``: of the two values that every ECDSA signature has, only the one with S at most half the order holds, as
    JIL envelopes are made. Nothing here identifies a statement by the bytes of its signature, so for cosign, whose
    writers do not care, both hold.
    """
    key = _load(spki)
    try:
        if algorithm is Algorithm.ED25519 and isinstance(key, ed25519.Ed25519PublicKey):
            if len(signature) != 64 or int.from_bytes(signature[32:], "little") >= points.L:
                return False
            key.verify(signature, message)
            return True
        if algorithm is Algorithm.ECDSA_P256 and isinstance(key, ec.EllipticCurvePublicKey):
            r, s = decode_dss_signature(signature)
            # DER has one spelling for a value; what is not that spelling is another text with the same meaning.
            if encode_dss_signature(r, s) != signature or (low_s and s > P256_ORDER // 2):
                return False
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            return True
    except (InvalidSignature, ValueError):
        return False
    return False


def verifies_prehashed(spki: bytes, algorithm: Algorithm, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of ``message`` by Ed25519ph, which is what cosign makes with Ed25519 keys."""
    return algorithm is Algorithm.ED25519 and points.verify_prehashed(spki[-32:], message, signature)


def with_low_s(signature: bytes) -> bytes:
    """The ECDSA signature in DER with S at most half the order of P-256; equally valid, and the only one of its kind.

    Raises ValueError when ``signature`` is not DER.
    """
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, P256_ORDER - s))


@lru_cache(maxsize=1024)
def _load(spki: bytes) -> object:
    # Reading a key costs more than verifying with it, and a release has hundreds of signatures by the same few keys.
    return load_der_public_key(spki)
