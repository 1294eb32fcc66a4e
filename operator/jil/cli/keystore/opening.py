"""Opening a key wherever it is, and giving it the name that the policy knows it by."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from jil.api.trust import KeyAlgorithm
from jil.cli import cluster
from jil.cli.exits import Exit, Stop
from jil.cli.keystore import pem, secrets, token
from jil.cli.keystore.source import KeySource, Where
from jil.trust.policy import Key, Policy


class PrivateKey(Protocol):
    """Something that signs."""

    @property
    def algorithm(self) -> KeyAlgorithm:
        """What it signs with."""
        ...

    @property
    def spki(self) -> bytes:
        """Its public key, SubjectPublicKeyInfo in DER."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Signature of the whole message; ECDSA over SHA-256 in DER, or pure Ed25519. Raises Stop (KEY)."""
        ...


@dataclass(frozen=True)
class NamedKey:
    """A private key and what the policy says of it; a `jil.trust.sign.Signer`."""

    private: PrivateKey
    entry: Key

    @property
    def key_id(self) -> str:
        """Id of the key in the policy."""
        return self.entry.id

    @property
    def algorithm(self) -> KeyAlgorithm:
        """What it signs with."""
        return self.private.algorithm

    @property
    def spki(self) -> bytes:
        """Its public key."""
        return self.private.spki

    def sign(self, message: bytes) -> bytes:
        """As the private key."""
        return self.private.sign(message)


def open_key(source: KeySource, context: cluster.Choice) -> PrivateKey:
    """The private key. Raises Stop (KEY), or (UNKNOWN) when the cluster that has it does not answer."""
    what = str(source)
    ask = partial(secrets.password, what)
    match source.where:
        case Where.PKCS11:
            return token.load(source)
        case Where.ENVIRONMENT:
            content = os.environ.get(source.name)
            if content is None:
                raise Stop(
                    f"the environment has no variable {source.name}: put the PEM text of the key there", Exit.KEY
                )
            return pem.load(content.encode(), what, ask)
        case Where.SECRET:
            namespace, _, name = source.name.partition("/")
            entry = source.attributes["entry"]
            data = cluster.secret(context, namespace, name)
            if entry not in data:
                has = ", ".join(sorted(data)) or "nothing"
                raise Stop(f"Secret {source.name} has no entry {entry!r}; it has {has}: add #ENTRY", Exit.KEY)
            return pem.load(data[entry], what, ask)
        case _:
            return pem.load(_read(source), what, ask)


def named(private: PrivateKey, policy: Policy) -> NamedKey:
    """The key with its entry in the policy, found by the public key. Stop (REFUSED): it has none."""
    for key in policy.keys:
        if key.spki == private.spki:
            return NamedKey(private, key)
    raise Stop(
        "the policy does not know this key, so nothing that it signs would count: add what `jilctl keys export` prints "
        "to spec.trust.keys of the JILNetwork",
        reason="UnknownKey",
    )


def _read(source: KeySource) -> bytes:
    try:
        mode = source.path.stat().st_mode
        if mode & 0o077:
            raise Stop(f"others can read {source.path}, a private key: chmod 600 {source.path}", Exit.KEY)
        return source.path.read_bytes()
    except OSError as error:
        raise Stop(f"cannot read the key {source.path}: {error.strerror}", Exit.KEY) from None
