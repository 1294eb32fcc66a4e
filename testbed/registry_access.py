"""What the local registry is entered with: a certificate authority of its own, a user with a password made by chance, and
the key by which the operator gives every node a login of its own.

The files live in the state folder, for their owner alone; they are made once and made anew before they expire. The registry's
container sees all of them but the issuer's private key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from testbed import binaries, paths
from testbed.certificates import Authority, ed25519_key
from testbed.processes import run

USER = "jil"
ISSUER_KEY = "issuer.pem"
"""Name of the private key's file, also in the Secret that the operator reads it from."""

_DAYS = 20
"""Certificates of the test bed last 30 days."""


@dataclass(frozen=True)
class NodeLogins:
    """What an operator needs to give its nodes logins at ``registry`` (host[:port]): the key (PEM) that signs them."""

    registry: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class RegistryAccess:
    """A folder with ca.crt, tls.crt, tls.key, htpasswd, password, issuers.json and denied; the registry's container mounts
    it."""

    folder: Path

    @property
    def issuer(self) -> Path:
        """The folder beside it, which nobody mounts, with the private key that nodes' logins are signed with."""
        return self.folder.with_name(f"{self.folder.name}-issuer")

    @property
    def ca(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "ca.crt"

    @property
    def password(self) -> str:
        """The user's password."""
        return (self.folder / "password").read_text()

    @property
    def basic(self) -> str:
        """User and password as an HTTP Authorization header has them, base64."""
        return base64.b64encode(f"{USER}:{self.password}".encode()).decode()

    @property
    def issuer_key(self) -> str:
        """The private key (PEM) that nodes' logins are signed with."""
        return (self.issuer / ISSUER_KEY).read_text()

    def deny(self, *nodes: str) -> None:
        """These node ids, and no others, are let in no more, from the registry's next request on."""
        part = self.folder / f"denied.{os.getpid()}"
        part.write_text("".join(f"{node}\n" for node in nodes))
        part.rename(self.folder / "denied")

    def trust(self) -> ssl.SSLContext:
        """TLS that trusts this registry and nobody else."""
        return ssl.create_default_context(cafile=str(self.ca))

    def docker_config(self, *addresses: str) -> str:
        """Docker's config.json with the login for these addresses; also the content of an image pull Secret."""
        return json.dumps({"auths": {address: {"auth": self.basic} for address in addresses}})

    def client_folder(self, *addresses: str) -> Path:
        """A folder for DOCKER_CONFIG or ``docker --config``: logged in at ``addresses``; the user's own is not touched."""
        folder = self.folder / "client"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / "config.json"
        text = self.docker_config(*addresses)
        if not file.exists() or file.read_text() != text:
            part = file.with_suffix(".part")
            part.touch(mode=0o600)
            part.write_text(text)
            part.rename(file)
        return folder


def current(host_name: str) -> RegistryAccess:
    """The access that there is; made when there is none, or when its certificates come to their end (1 s)."""
    final = paths.state() / "registry"
    access = RegistryAccess(final)
    if (final / "issuers.json").exists() and time.time() - access.ca.stat().st_mtime < _DAYS * 86400:
        return access
    program = binaries.htpasswd()
    shutil.rmtree(final, ignore_errors=True)
    shutil.rmtree(access.issuer, ignore_errors=True)
    with paths.FreshFolder(access.issuer) as folder:
        folder.chmod(0o700)
        public = ed25519_key(folder / ISSUER_KEY)
    with paths.FreshFolder(final) as folder:
        folder.chmod(0o700)
        authority = Authority(folder / "pki", "jil-testbed-registry")
        pair = authority.server("registry", [f"DNS:{host_name}", "DNS:localhost", "IP:127.0.0.1"])
        shutil.copyfile(authority.pair.certificate, folder / "ca.crt")
        shutil.copyfile(pair.certificate, folder / "tls.crt")
        (folder / "tls.key").touch(mode=0o600)
        (folder / "tls.key").write_bytes(pair.key.read_bytes())
        shutil.rmtree(folder / "pki")  # nobody is to get a second certificate
        (folder / "password").touch(mode=0o600)
        (folder / "password").write_text(secrets.token_urlsafe(24))
        line = run([program, USER], stdin=(folder / "password").read_text())
        (folder / "htpasswd").touch(mode=0o600)
        (folder / "htpasswd").write_text(line)
        (folder / "denied").touch()
        (folder / "issuers.json").write_text(json.dumps({"keys": [_public_jwk(public)]}))
    return access


def _public_jwk(public: bytes) -> dict[str, str]:
    """An Ed25519 key as JSON Web Key (RFC 8037), named by its thumbprint (RFC 7638) as the operator names it."""
    key = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public)}
    name = hashlib.sha256(json.dumps(key, separators=(",", ":")).encode()).digest()
    return {**key, "kid": _base64url(name), "alg": "EdDSA", "use": "sig"}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
