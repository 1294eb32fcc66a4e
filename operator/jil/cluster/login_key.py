"""The key that pull logins are signed with: read from a mounted file, read again when it changes, never shown.

JWS in compact form (RFC 7515) with EdDSA over Ed25519 (RFC 8037). Signing is deterministic: the same claims and the same key
give the same token, which is how a token that somebody else put into a Secret is told from ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from jil.plan.pull_login import TYPE

_MAX_BYTES: Final = 64 * 1024


class LoginKeyError(Exception):
    """There is no usable key. The text says which file and what to do, and nothing of its content."""


def base64url(data: bytes) -> str:
    """Base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


class LoginKey:
    """The key in the PEM file ``path``: PKCS#8, Ed25519, unencrypted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._key: Ed25519PrivateKey | None = None

    def sign(self, claims: Mapping[str, object]) -> str:
        """The token. Raises LoginKeyError."""
        key = self._current()
        header = {"alg": "EdDSA", "kid": key_id(key), "typ": TYPE}
        signed = ".".join(base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        return f"{signed}.{base64url(key.sign(signed.encode('ascii')))}"

    def _current(self) -> Ed25519PrivateKey:
        try:
            stat = self._path.stat()
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if self._key is None or stamp != self._stamp:
                self._key = None
                self._key = _parse(self._path, self._path.read_bytes() if stat.st_size <= _MAX_BYTES else b"")
                self._stamp = stamp
        except OSError as error:
            raise LoginKeyError(
                f"the key file {self._path} for pull logins cannot be read ({error.strerror}): put a key into the Secret"
                " that chart value registries.nodeLogins.keySecret names (docs/registry.md, 'Node logins')"
            ) from None
        return self._key


def key_id(key: Ed25519PrivateKey) -> str:
    """The public key's thumbprint (RFC 7638): every reader of the key comes to the same name for it."""
    thumb = {"crv": "Ed25519", "kty": "OKP", "x": base64url(key.public_key().public_bytes_raw())}
    return base64url(hashlib.sha256(json.dumps(thumb, separators=(",", ":")).encode()).digest())


def _parse(path: Path, content: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # what the library says may quote the content
    if not isinstance(key, Ed25519PrivateKey):
        raise LoginKeyError(
            f"the key file {path} for pull logins holds no unencrypted Ed25519 key in PEM: make one with"
            " `openssl genpkey -algorithm ed25519`, and put it into the Secret that chart value"
            " registries.nodeLogins.keySecret names (docs/registry.md, 'Node logins')"
        )
    return key
