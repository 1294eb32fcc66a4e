"""The key that pull logins are signed with, and the tokens that it makes."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from jil.cluster.login_key import LoginKey, LoginKeyError, key_id

#: RFC 8037, appendix A: a key and its thumbprint.
RFC_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_token_is_a_compact_jws_whose_signature_the_public_key_confirms(tmp_path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    (tmp_path / "issuer.pem").write_bytes(pem(private))
    token = LoginKey(tmp_path / "issuer.pem").sign({"sub": "CH-ZUG-01", "exp": 1})
    header, payload, signature = token.split(".")
    assert "=" not in token
    assert json.loads(decoded(header)) == {"alg": "EdDSA", "kid": key_id(private), "typ": "jil-pull+jwt"}
    assert json.loads(decoded(payload)) == {"sub": "CH-ZUG-01", "exp": 1}
    private.public_key().verify(decoded(signature), f"{header}.{payload}".encode())


def test_the_key_id_is_the_thumbprint_of_rfc_8037() -> None:
    assert key_id(Ed25519PrivateKey.from_private_bytes(RFC_SEED)) == RFC_THUMBPRINT


def test_a_key_that_is_replaced_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "issuer.pem"
    path.write_bytes(pem(Ed25519PrivateKey.generate()))
    key = LoginKey(path)
    before = key.sign({})
    assert key.sign({}) == before
    (tmp_path / "next").write_bytes(pem(Ed25519PrivateKey.generate()))
    os.replace(tmp_path / "next", path)
    assert key.sign({}) != before


def test_what_is_no_key_is_named_with_the_remedy_and_never_shown(tmp_path: Path) -> None:
    secret = "c2VjcmV0LXNlY3JldA"
    wrong = {
        "missing": None,
        "empty": b"",
        "text": f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n".encode(),
        "encrypted": pem(Ed25519PrivateKey.generate(), b"password"),
        "P-256": pem(ec.generate_private_key(ec.SECP256R1())),
        "public": Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "huge": b"x" * 100_000,
    }
    for what, content in wrong.items():
        path = tmp_path / what
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(LoginKeyError) as refused:
            LoginKey(path).sign({})
        text = str(refused.value)
        assert str(path) in text, what
        assert "registries.nodeLogins.keySecret" in text, what
        assert secret not in text, what


def test_a_key_that_is_gone_is_not_used_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "issuer.pem"
    path.write_bytes(pem(Ed25519PrivateKey.generate()))
    key = LoginKey(path)
    key.sign({})
    path.unlink()
    with pytest.raises(LoginKeyError):
        key.sign({})
