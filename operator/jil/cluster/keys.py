"""Key material of a node: made once, in CometBFT's own file formats, and fingerprinted.

Formats: CometBFT 0.38 privval/file.go and p2p/key.go (address = first 20 bytes of the SHA-256 of the public key).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class KeyRole(StrEnum):
    """The three identity Secrets of a node."""

    VALIDATOR = "validator"
    NODE = "node"
    CREDENTIALS = "credentials"


PASSWORDS = ("superuser-password", "app-password", "health-password", "cache-password")
VALIDATOR_FILE = "priv_validator_key.json"
NODE_FILE = "node_key.json"


def _ed25519() -> tuple[bytes, bytes]:
    """(32-byte seed, 32-byte public key)."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


def _private_json(seed: bytes, public: bytes) -> dict[str, str]:
    return {"type": "tendermint/PrivKeyEd25519", "value": base64.b64encode(seed + public).decode()}


def generate(role: KeyRole) -> dict[str, bytes]:
    """Fresh content of one identity Secret, file name -> bytes. Called once in the life of a node."""
    if role is KeyRole.CREDENTIALS:
        return {name: secrets.token_urlsafe(32).encode() for name in PASSWORDS}
    seed, public = _ed25519()
    if role is KeyRole.NODE:
        return {NODE_FILE: json.dumps({"priv_key": _private_json(seed, public)}).encode()}
    document = {
        "address": address_of(public),
        "pub_key": {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(public).decode()},
        "priv_key": _private_json(seed, public),
    }
    return {VALIDATOR_FILE: json.dumps(document).encode()}


def address_of(public: bytes) -> str:
    """Consensus address: 40 capital hex digits."""
    return hashlib.sha256(public).hexdigest()[:40].upper()


def fingerprint(data: Mapping[str, bytes]) -> str:
    """SHA-256 over the Secret's data in canonical JSON (sorted names, base64 values), lower-case hex."""
    canonical = {name: base64.b64encode(data[name]).decode() for name in sorted(data)}
    return hashlib.sha256(json.dumps(canonical, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class MalformedKeyError(ValueError):
    """A Secret that should hold a key holds something else."""


@dataclass(frozen=True)
class PublicFacts:
    """What may be known about an identity Secret; ``None`` where it does not apply to the role."""

    fingerprint: str
    public_key: str | None = None
    address: str | None = None
    peer_id: str | None = None


def public_facts(role: KeyRole, data: Mapping[str, bytes]) -> PublicFacts:
    """Reads the public half out of a Secret's data. Raises MalformedKeyError, never showing what was read."""
    mark = fingerprint(data)
    if role is KeyRole.CREDENTIALS:
        missing = [name for name in PASSWORDS if not data.get(name)]
        if missing:
            raise MalformedKeyError(f"the credentials lack {', '.join(missing)}")
        return PublicFacts(mark)
    name = VALIDATOR_FILE if role is KeyRole.VALIDATOR else NODE_FILE
    try:
        raw = base64.b64decode(json.loads(data[name])["priv_key"]["value"], validate=True)
    except (KeyError, ValueError, TypeError):
        raise MalformedKeyError(f"{name} is missing or is not a CometBFT key file") from None
    if len(raw) != 64:
        raise MalformedKeyError(f"the key in {name} has {len(raw)} bytes, an ed25519 key has 64")
    public = Ed25519PrivateKey.from_private_bytes(raw[:32]).public_key().public_bytes_raw()
    if public != raw[32:]:
        raise MalformedKeyError(f"the public half of the key in {name} does not belong to its private half")
    address = address_of(public)
    if role is KeyRole.NODE:
        return PublicFacts(mark, peer_id=address.lower())
    return PublicFacts(mark, public_key=base64.b64encode(public).decode(), address=address)
