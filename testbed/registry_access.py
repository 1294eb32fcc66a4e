"""What the local registry is entered with: a certificate authority of its own, a user, and a password made by chance.

The files live in the state folder, for their owner alone; they are made once and made anew before they expire.
"""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from testbed import binaries, paths
from testbed.certificates import Authority
from testbed.processes import run

USER = "jil"

_DAYS = 20
"""Certificates of the test bed last 30 days."""


@dataclass(frozen=True)
class RegistryAccess:
    """A folder with ca.crt, tls.crt, tls.key, htpasswd and password; the registry's container mounts it."""

    folder: Path

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
    if (final / "htpasswd").exists() and time.time() - access.ca.stat().st_mtime < _DAYS * 86400:
        return access
    program = binaries.htpasswd()
    shutil.rmtree(final, ignore_errors=True)
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
    return access
