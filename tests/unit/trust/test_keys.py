"""Public keys: one spelling, sound points; signatures: one spelling where ours are made."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from jil.trust import ed25519 as points
from jil.trust import keys
from jil.trust.keys import KeyFault, parse_public_key
from jil.trust.policy import Algorithm
from tests.unit.trust.scenario import ALICE, BOB, RELEASER

ED_PREFIX = bytes.fromhex("302a300506032b6570032100")


def pem(der: bytes, label: str = "PUBLIC KEY") -> str:
    """One block."""
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


GOOD_ED, GOOD_EC = pem(RELEASER.spki), pem(BOB.spki)


def spki(key: Any, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    """DER of a public key."""
    return bytes(key.public_bytes(Encoding.DER, form))


@pytest.mark.parametrize(
    ("text", "algorithm", "der"),
    [
        (GOOD_ED, Algorithm.ED25519, RELEASER.spki),
        (GOOD_EC, Algorithm.ECDSA_P256, BOB.spki),
        (GOOD_EC.replace("\n", "\r\n"), Algorithm.ECDSA_P256, BOB.spki),
        ("\n" + GOOD_ED.rstrip("\n"), Algorithm.ED25519, RELEASER.spki),
    ],
)
def test_a_public_key_is_read(text: str, algorithm: Algorithm, der: bytes) -> None:
    assert parse_public_key(text, algorithm) == der


COMPRESSED = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + ec.derive_private_key(
    7, ec.SECP256R1()
).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


@pytest.mark.parametrize(
    ("text", "algorithm", "says"),
    [
        ("", Algorithm.ED25519, "not one PEM block"),
        ("text before\n" + GOOD_ED, Algorithm.ED25519, "not one PEM block"),
        (GOOD_ED + GOOD_EC, Algorithm.ED25519, "not one PEM block"),
        (pem(RELEASER.spki, "PRIVATE KEY"), Algorithm.ED25519, "not one PEM block"),
        (GOOD_ED.replace("MCow", "MC*w"), Algorithm.ED25519, "not one PEM block"),
        (GOOD_ED.replace("=", ""), Algorithm.ED25519, "not base64"),
        (GOOD_ED + " " * 3000, Algorithm.ED25519, "2048 are allowed"),
        (GOOD_ED, Algorithm.ECDSA_P256, "the key is Ed25519"),
        (GOOD_EC, Algorithm.ED25519, "the key is ECDSA-P256"),
        (pem(RELEASER.spki + b"\0"), Algorithm.ED25519, "not"),
        (pem(RELEASER.spki[:-1]), Algorithm.ED25519, "not a public key"),
        (pem(COMPRESSED), Algorithm.ECDSA_P256, "one DER form"),
        (pem(spki(ec.derive_private_key(7, ec.SECP384R1()).public_key())), Algorithm.ECDSA_P256, "another kind"),
        (pem(spki(ec.derive_private_key(7, ec.SECP256K1()).public_key())), Algorithm.ECDSA_P256, "another kind"),
    ],
)
def test_another_text_is_refused(text: str, algorithm: Algorithm, says: str) -> None:
    with pytest.raises(KeyFault, match=says):
        parse_public_key(text, algorithm)


def test_an_rsa_key_is_refused() -> None:
    numbers = rsa.RSAPublicNumbers(65537, (1 << 2047) + (1 << 1000) + 1)
    with pytest.raises(KeyFault, match="another kind"):
        parse_public_key(pem(spki(numbers.public_key())), Algorithm.ECDSA_P256)


#: The points of order 1, 2, 4, 4, 8, 8, 8, 8 in their canonical encoding.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
#: y of p or more, a sign for x = 0, and a y that no point has.
NOT_CANONICAL = [
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0200000000000000000000000000000000000000000000000000000000000000",
]


@pytest.mark.parametrize("encoded", SMALL_ORDER + NOT_CANONICAL)
def test_ed25519_points_that_no_honest_signer_has_are_refused(encoded: str) -> None:
    with pytest.raises(KeyFault):
        parse_public_key(pem(ED_PREFIX + bytes.fromhex(encoded)), Algorithm.ED25519)


def test_an_ed25519_point_with_a_small_part_is_refused() -> None:
    """The key of an honest signer plus a point of order 2 verifies half of his signatures."""
    honest, two = points._decode(RELEASER.spki[-32:]), points._decode(bytes.fromhex(SMALL_ORDER[1]))
    assert honest is not None
    assert two is not None
    mixed = points._encode(points._add(honest, two))
    assert points.is_sound_key(points._encode(honest))
    assert not points.is_sound_key(mixed)


def test_the_library_alone_would_accept_a_key_of_small_order() -> None:
    """Why `is_sound_key` exists: with the neutral point, one signature holds for every message."""
    neutral = bytes.fromhex(SMALL_ORDER[0])
    for message in (b"one", b"two"):
        ed25519.Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), message)


def test_an_s_of_l_or_more_is_refused_by_the_library_and_by_us() -> None:
    signature = RELEASER.sign(b"message")
    s = int.from_bytes(signature[32:], "little") + points.L
    malleated = signature[:32] + s.to_bytes(32, "little")
    assert keys.verifies(RELEASER.spki, Algorithm.ED25519, b"message", signature)
    assert not keys.verifies(RELEASER.spki, Algorithm.ED25519, b"message", malleated)
    with pytest.raises(InvalidSignature):
        ed25519.Ed25519PublicKey.from_public_bytes(RELEASER.spki[-32:]).verify(malleated, b"message")


def ecdsa_parts() -> tuple[bytes, bytes]:
    """The same ECDSA signature with low and with high S."""
    low = keys.with_low_s(BOB.sign(b"message"))
    r, s = decode_dss_signature(low)
    return low, encode_dss_signature(r, keys.P256_ORDER - s)


def test_of_the_two_forms_of_an_ecdsa_signature_ours_has_one() -> None:
    low, high = ecdsa_parts()
    verify = {form: keys.verifies(BOB.spki, Algorithm.ECDSA_P256, b"message", form) for form in (low, high)}
    assert verify == {low: True, high: True}, "cosign makes either"
    assert keys.verifies(BOB.spki, Algorithm.ECDSA_P256, b"message", low, low_s=True)
    assert not keys.verifies(BOB.spki, Algorithm.ECDSA_P256, b"message", high, low_s=True)
    assert keys.with_low_s(high) == low


@pytest.mark.parametrize(
    "change",
    [
        lambda der: der + b"\0",
        lambda der: b"\x30\x81" + der[1:],
        lambda der: der[:3] + bytes([der[3] + 1]) + b"\0" + der[4:],
        lambda der: b"",
        lambda der: encode_dss_signature(0, 0),
        lambda der: der[:-1],
    ],
)
def test_an_ecdsa_signature_in_another_der_is_refused(change: Any) -> None:
    low, _ = ecdsa_parts()
    assert not keys.verifies(BOB.spki, Algorithm.ECDSA_P256, b"message", change(low))


def test_a_key_verifies_by_its_own_algorithm_only() -> None:
    assert not keys.verifies(ALICE.spki, Algorithm.ECDSA_P256, b"message", ALICE.sign(b"message"))
    assert not keys.verifies(BOB.spki, Algorithm.ED25519, b"message", BOB.sign(b"message"))
    assert not keys.verifies_prehashed(BOB.spki, Algorithm.ECDSA_P256, b"message", bytes(64))


@settings(max_examples=10, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=64), flip=st.integers(0, 511))
def test_our_arithmetic_agrees_with_the_library_on_pure_ed25519(seed: bytes, message: bytes, flip: int) -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = bytearray(private.sign(message))
    assert points.verify_pure(public, message, bytes(signature))
    assert not points.verify_prehashed(public, message, bytes(signature))
    signature[flip // 8] ^= 1 << flip % 8
    assert not points.verify_pure(public, message, bytes(signature))


def test_prehashed_ed25519_is_that_of_rfc_8032() -> None:
    """RFC 8032 part 7.3."""
    public = bytes.fromhex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf")
    signature = bytes.fromhex(
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
        "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
    )
    assert points.verify_prehashed(public, b"abc", signature)
    assert not points.verify_prehashed(public, b"abd", signature)
    assert not points.verify_pure(public, b"abc", signature)
