"""Private keys behind PKCS#11: an HSM, a smart card, or SoftHSM, which is a file and protects like one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jil.api.trust import KeyAlgorithm
from jil.cli.exits import Exit, Stop
from jil.cli.keystore import secrets
from jil.cli.keystore.source import KeySource

MODULE = "JIL_PKCS11_MODULE"
# CKA_EC_PARAMS: the named curve prime256v1 (RFC 5480), and edwards25519 as PKCS#11 3.0 part 2.3.5 spells it.
_P256 = bytes.fromhex("06082a8648ce3d030107")
_EDWARDS = (b"\x13\x0cedwards25519", bytes.fromhex("06032b6570"))


@dataclass(frozen=True)
class TokenKey:
    """A private key that stays in its token."""

    algorithm: KeyAlgorithm
    spki: bytes
    source: KeySource

    def sign(self, message: bytes) -> bytes:
        """Opens a session for each signature: a token that is pulled out is noticed. Raises Stop (KEY)."""
        pkcs11 = _library()
        with _session(self.source) as session:
            private = _object(session, self.source, pkcs11.constants.ObjectClass.PRIVATE_KEY)
            with _explained(self.source):
                if self.algorithm is KeyAlgorithm.ED25519:
                    return bytes(private.sign(message, mechanism=pkcs11.Mechanism.EDDSA))
                raw = private.sign(hashlib.sha256(message).digest(), mechanism=pkcs11.Mechanism.ECDSA)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


def load(source: KeySource) -> TokenKey:
    """The key that a ``pkcs11:`` source names. Raises Stop (KEY)."""
    if not source.name:
        raise Stop(
            f"{source}: which key? add ;object=LABEL (`jilctl keys list --key ...` shows the labels)", Exit.USAGE
        )
    pkcs11 = _library()
    with _session(source) as session:
        _object(session, source, pkcs11.constants.ObjectClass.PRIVATE_KEY)
        public = _object(session, source, pkcs11.constants.ObjectClass.PUBLIC_KEY)
        algorithm, spki = _public(public, source)
    return TokenKey(algorithm, spki, source)


def labels(source: KeySource) -> list[str]:
    """Labels of the private keys in a token, sorted."""
    pkcs11 = _library()
    with _session(source) as session, _explained(source):
        wanted = {pkcs11.Attribute.CLASS: pkcs11.constants.ObjectClass.PRIVATE_KEY}
        return sorted(str(key.label) for key in session.get_objects(wanted))


def generate(source: KeySource, algorithm: KeyAlgorithm) -> TokenKey:
    """Make a key in the token, never to leave it. Raises Stop (KEY); an object of that label is never replaced."""
    if not source.name:
        raise Stop(f"{source}: how shall the key be called? add ;object=LABEL", Exit.USAGE)
    pkcs11 = _library()
    if source.name in labels(source):
        raise Stop(f"{source} is there already: choose another label, keys are never overwritten", Exit.KEY)
    kind = pkcs11.KeyType.EC_EDWARDS if algorithm is KeyAlgorithm.ED25519 else pkcs11.KeyType.EC
    curve = _EDWARDS[0] if algorithm is KeyAlgorithm.ED25519 else _P256
    private = {pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: True}
    with _session(source, write=True) as session, _explained(source):
        domain = session.create_domain_parameters(kind, {pkcs11.Attribute.EC_PARAMS: curve}, local=True)
        domain.generate_keypair(
            store=True,
            label=source.name,
            id=os.urandom(8),
            private_template=private,
            **({"mechanism": pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN} if algorithm is KeyAlgorithm.ED25519 else {}),
        )
    return load(source)


def _public(key: Any, source: KeySource) -> tuple[KeyAlgorithm, bytes]:
    pkcs11 = _library()
    curve, point = bytes(key[pkcs11.Attribute.EC_PARAMS]), bytes(key[pkcs11.Attribute.EC_POINT])
    encoding = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        # The point comes wrapped in an OCTET STRING of one length byte: both are shorter than 128 bytes.
        if curve == _P256:
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[-65:])
            return KeyAlgorithm.ECDSA_P256, public.public_bytes(*encoding)
        if curve in _EDWARDS:
            return KeyAlgorithm.ED25519, ed25519.Ed25519PublicKey.from_public_bytes(point[-32:]).public_bytes(*encoding)
    except ValueError:
        raise Stop(f"{source}: the token gives no readable public key", Exit.KEY) from None
    raise Stop(f"{source} is a key of another kind: Ed25519 and ECDSA on P-256 are known", Exit.KEY)


def _object(session: Any, source: KeySource, kind: Any) -> Any:
    pkcs11 = _library()
    try:
        return session.get_key(object_class=kind, label=source.name)
    except pkcs11.exceptions.NoSuchKey:
        what = "private" if kind is pkcs11.constants.ObjectClass.PRIVATE_KEY else "public"
        raise Stop(
            f"there is no {what} key {source.name!r} in that token: `jilctl keys list --key ...` shows what there is",
            Exit.KEY,
        ) from None
    except pkcs11.exceptions.MultipleObjectsReturned:
        raise Stop(f"{source}: several keys have that label: rename all but one", Exit.KEY) from None


@contextmanager
def _session(source: KeySource, *, write: bool = False) -> Iterator[Any]:
    pkcs11 = _library()
    module = source.attributes.get("module-path") or os.environ.get(MODULE)
    if not module:
        raise Stop(f"{source}: which module? add ?module-path=/path/to/module.so or set {MODULE}", Exit.USAGE)
    label = source.attributes["token"]
    with _explained(source):
        try:
            token = pkcs11.lib(module).get_token(token_label=label)
        except pkcs11.exceptions.NoSuchToken:
            raise Stop(f"{module} has no token {label!r}: is it plugged in and initialised?", Exit.KEY) from None
        except (RuntimeError, OSError):
            raise Stop(f"{module} is no PKCS#11 module, or is not there", Exit.KEY) from None
        pin = secrets.pin(f"token {label!r}", source.attributes.get("pin-source"))
        session = token.open(user_pin=pin, rw=write)
    with session:
        yield session


@contextmanager
def _explained(source: KeySource) -> Iterator[None]:
    pkcs11 = _library()
    try:
        yield
    except (pkcs11.exceptions.PinIncorrect, pkcs11.exceptions.PinLenRange, pkcs11.exceptions.PinInvalid):
        raise Stop(f"{source}: the PIN is wrong; some tokens lock after a few tries", Exit.KEY) from None
    except pkcs11.exceptions.PinLocked:
        raise Stop(f"{source}: the PIN is locked: its security officer can unlock it", Exit.KEY) from None
    except pkcs11.exceptions.PKCS11Error as error:
        raise Stop(f"{source}: the token says {type(error).__name__}", Exit.KEY) from None


def _library() -> Any:
    try:
        import pkcs11
    except ImportError:
        raise Stop("keys in a token need python-pkcs11: pip install 'jil-operator[pkcs11]'", Exit.KEY) from None
    return pkcs11
