"""A small certificate authority on the ``openssl`` program (3.0 or newer), for rigs that live for minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.processes import run

_DAYS = "30"
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class KeyPair:
    """Paths of a PEM certificate and its PEM private key."""

    certificate: Path
    key: Path


class Authority:
    """A CA whose files live in ``folder`` (mode 0700)."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.pair = KeyPair(folder / "ca.crt", folder / "ca.key")
        usage = ["basicConstraints=critical,CA:true", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign"]
        self._make(self.pair, f"/CN={name}", usage, signed=False)

    def client(self, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """A client certificate: Kubernetes reads CN as the user and every O as a group."""
        pair = self._pair(f"client-{user}")
        subject = "".join(f"/O={_escape(group)}" for group in groups) + f"/CN={_escape(user)}"
        self._make(pair, subject, ["keyUsage=critical,digitalSignature", "extendedKeyUsage=clientAuth"])
        return pair

    def server(self, name: str, alternatives: Sequence[str]) -> KeyPair:
        """A server certificate; ``alternatives`` are entries such as ``DNS:localhost`` and ``IP:127.0.0.1``."""
        pair = self._pair(f"server-{name}")
        usage = ["keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth"]
        self._make(pair, f"/CN={_escape(name)}", [*usage, "subjectAltName=" + ",".join(alternatives)])
        return pair

    def _pair(self, name: str) -> KeyPair:
        safe = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)
        return KeyPair(self.folder / f"{safe}.crt", self.folder / f"{safe}.key")

    def _make(self, pair: KeyPair, subject: str, extensions: Sequence[str], signed: bool = True) -> None:
        # -config /dev/null: the host's openssl.cnf must not add extensions of its own.
        command: list[str | Path] = ["openssl", "req", "-x509", "-config", "/dev/null", *_CURVE, "-days", _DAYS]
        command += ["-subj", subject, "-keyout", pair.key, "-out", pair.certificate]
        for extension in extensions:
            command += ["-addext", extension]
        if signed:
            command += ["-CA", self.pair.certificate, "-CAkey", self.pair.key]
        run(command, timeout_s=30)
        pair.key.chmod(0o600)


def signing_key(private: Path, public: Path) -> None:
    """An EC key pair for service-account tokens (ES256)."""
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], timeout_s=30)
    run(["openssl", "ec", "-in", private, "-pubout", "-out", public], timeout_s=30)
    private.chmod(0o600)


def ed25519_key(private: Path) -> bytes:
    """Makes an Ed25519 key in PEM (PKCS#8, unencrypted) and returns the 32 bytes of its public half."""
    private.touch(mode=0o600)
    run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], timeout_s=30)
    der = private.with_suffix(".der")
    run(["openssl", "pkey", "-in", private, "-pubout", "-outform", "DER", "-out", der], timeout_s=30)
    public = der.read_bytes()[-32:]
    der.unlink()
    return public


def _escape(value: str) -> str:
    """openssl's -subj takes '/' and '+' as separators."""
    return value.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")
