"""Private keys in PEM: read, made, written encrypted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from jil.api.trust import KeyAlgorithm
from jil.cli.exits import Exit, Stop

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class MemoryKey:
    """A private key in memory."""

    algorithm: KeyAlgorithm
    spki: bytes
    private: Private = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Pure Ed25519, or ECDSA over SHA-256 in DER."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))


def generate(algorithm: KeyAlgorithm) -> MemoryKey:
    """A new key."""
    if algorithm is KeyAlgorithm.ED25519:
        return _key(ed25519.Ed25519PrivateKey.generate(), "the new key")
    return _key(ec.generate_private_key(ec.SECP256R1()), "the new key")


def load(content: bytes, what: str, password: Callable[[], bytes]) -> MemoryKey:
    """The key in a PEM text; ``password`` is asked only when it is encrypted. Raises Stop (KEY)."""
    if b"ENCRYPTED SIGSTORE PRIVATE KEY" in content or b"ENCRYPTED COSIGN PRIVATE KEY" in content:
        raise Stop(
            f"{what} is in cosign's own format, which only cosign reads: make a PEM key with `jilctl keys generate`; "
            "cosign takes it too, by `openssl pkey -in KEY.pem` (unencrypted) and `cosign import-key-pair`",
            Exit.KEY,
        )
    if b"PUBLIC KEY-----" in content:
        raise Stop(f"{what} is a public key: signing needs the private one", Exit.KEY)
    encrypted = b"ENCRYPTED" in content
    try:
        found = load_pem_private_key(content, password() if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # What the library says may quote the content.
        why = "the password is wrong, or it is damaged" if encrypted else "it is not a private key in PEM"
        raise Stop(f"cannot open {what}: {why}", Exit.KEY) from None
    return _key(found, what)


def dump(key: MemoryKey, password: bytes | None) -> bytes:
    """PKCS#8 in PEM, encrypted when there is a password."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public(spki: bytes) -> str:
    """A public key in PEM."""
    return load_der_public_key(spki).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _key(found: object, what: str) -> MemoryKey:
    match found:
        case ed25519.Ed25519PrivateKey():
            algorithm = KeyAlgorithm.ED25519
        case ec.EllipticCurvePrivateKey() if isinstance(found.curve, ec.SECP256R1):
            algorithm = KeyAlgorithm.ECDSA_P256
        case _:
            raise Stop(f"{what} is a key of another kind: Ed25519 and ECDSA on P-256 are known", Exit.KEY)
    public = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return MemoryKey(algorithm, public, found)
