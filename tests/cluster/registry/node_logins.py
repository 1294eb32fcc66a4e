"""A registry that lets nodes in by their own logins, beside people: the real program, with TLS, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jil.cluster.login_key import base64url, key_id
from tests.cluster.registry import rig


@dataclass(frozen=True)
class NodeLoginRegistry:
    """``registry`` has people's login; ``key`` is the issuer's private key, as the operator's file has it."""

    registry: rig.Registry
    key: Path
    folder: Path

    def deny(self, *nodes: str) -> None:
        """Only these are denied from now on."""
        _write(self.folder / "denied", "".join(f"{node}\n" for node in nodes))


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    os.replace(part, path)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[NodeLoginRegistry]:
    """Started, and ended afterwards."""
    key = Ed25519PrivateKey.generate()
    public = base64url(key.public_key().public_bytes_raw())
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": public, "kid": key_id(key), "alg": "EdDSA", "use": "sig"}
    (folder / "keys.json").write_text(json.dumps({"keys": [jwk]}))
    (folder / "issuer.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    _write(folder / "denied", "")
    more = {"keys": str(folder / "keys.json"), "denied": str(folder / "denied")}
    with rig.distribution(folder, node_logins=more) as registry:
        yield NodeLoginRegistry(registry, folder / "issuer.pem", folder)
