"""Where the API server is and who we are: the pod's ServiceAccount, or a kubeconfig file.

Token and CA files of a pod are rotated under a running process, so both are read again: ``token()`` at most once a
minute, ``ssl_context()`` when the CA file changes. A key that stands inside a kubeconfig is kept in memory only.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from jil.cluster.client_certificate import ClientCertificate

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Seconds between two looks at the files. Projected tokens live an hour and are replaced at 80 %.
REREAD_SECONDS = 60.0


class AccessError(Exception):
    """No way to reach an API server is configured, or the configuration cannot be used."""


@dataclass(frozen=True)
class Access:
    """``server`` is a URL without a trailing slash; of ``token`` and ``token_file`` at most one is set."""

    server: str
    ca_file: Path | None = None
    ca_data: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    client_certificate: ClientCertificate | None = None
    insecure: bool = False


def find(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """The pod's ServiceAccount, unless a kubeconfig path is given. Raises AccessError with what is missing."""
    if kubeconfig:
        return from_kubeconfig(Path(kubeconfig), context)
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return in_cluster(os.environ, SERVICE_ACCOUNT)
    raise AccessError(
        "no Kubernetes API server is configured: run in a pod, or set JIL_KUBECONFIG to the path of a kubeconfig file"
    )


def in_cluster(environ: Mapping[str, str], folder: Path) -> Access:
    """Access by the ServiceAccount that is mounted at ``folder``."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    for name in ("token", "ca.crt"):
        if not (folder / name).is_file():
            raise AccessError(f"{folder / name} is missing: the pod needs automountServiceAccountToken: true")
    host = f"[{host}]" if ":" in host else host
    return Access(f"https://{host}:{port}", ca_file=folder / "ca.crt", token_file=folder / "token")


def from_kubeconfig(path: Path, context: str | None = None) -> Access:
    """Access by ``path``: client certificates and tokens, as files or inline. Exec plugins are jilctl's business."""
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise AccessError(
            f"kubeconfig {path} cannot be read: {error.strerror}; JIL_KUBECONFIG must name a file that this user may read"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AccessError(f"kubeconfig {path} is not YAML: {error}") from error
    try:
        return _access(path, document, context)
    except (AttributeError, TypeError, binascii.Error, UnicodeDecodeError) as error:
        # Lists where there should be maps, data that is no base64: nothing that a fault of ours would look like.
        raise AccessError(
            f"kubeconfig {path} has not the shape of one: {error}; kubectl config view --kubeconfig {path} says where"
        ) from error


def _access(path: Path, document: dict[str, Any], context: str | None) -> Access:
    name = context or document.get("current-context") or ""
    chosen = _entry(document, "contexts", name, path).get("context") or {}
    cluster = _entry(document, "clusters", chosen.get("cluster", ""), path).get("cluster") or {}
    user = _entry(document, "users", chosen.get("user", ""), path).get("user") or {}
    if "exec" in user or "auth-provider" in user:
        raise AccessError(
            f"kubeconfig {path}: user {chosen.get('user')!r} logs in through a plugin; the operator takes a client "
            "certificate or a token (kubectl create token -n jil-system jil-operator)"
        )
    if "server" not in cluster:
        raise AccessError(f"kubeconfig {path}: cluster {chosen.get('cluster')!r} has no server")
    server = str(cluster["server"]).rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise AccessError(f"kubeconfig {path}: server {server!r} is not a URL such as https://host:6443")
    ca_data = cluster.get("certificate-authority-data")
    return Access(
        server,
        ca_file=_resolve(path, cluster.get("certificate-authority")),
        ca_data=base64.b64decode(ca_data).decode() if ca_data else None,
        token=user.get("token"),
        token_file=_resolve(path, user.get("tokenFile")),
        client_certificate=_client_certificate(path, user),
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
    )


def _entry(document: dict[str, Any], section: str, name: str, path: Path) -> dict[str, Any]:
    for entry in document.get(section) or []:
        if entry.get("name") == name:
            found: dict[str, Any] = entry
            return found
    raise AccessError(f"kubeconfig {path}: no entry {name!r} under {section}")


def _resolve(kubeconfig: Path, value: str | None) -> Path | None:
    """Paths in a kubeconfig are relative to the file."""
    return (kubeconfig.parent / value).resolve() if value else None


def _client_certificate(path: Path, user: dict[str, Any]) -> ClientCertificate | None:
    certificate = _resolve(path, user.get("client-certificate")) or _inline(user.get("client-certificate-data"))
    key = _resolve(path, user.get("client-key")) or _inline(user.get("client-key-data"))
    if (certificate is None) != (key is None):
        raise AccessError(f"kubeconfig {path}: a client certificate needs its key, and the key its certificate")
    return ClientCertificate(certificate, key) if certificate and key else None


def _inline(data: str | None) -> bytes | None:
    return base64.b64decode(data) if data else None


class Credentials:
    """Live view of an Access: reads token and CA again as they change. ``elapsed`` is a monotonic clock in seconds."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._token = access.token
        self._token_read: float | None = None
        self._context: ssl.SSLContext | None = None
        self._ca_stamp: tuple[int, int] | None = None
        self._ca_checked: float | None = None

    def token(self, *, fresh: bool = False) -> str | None:
        """Bearer token, or None with a client certificate. ``fresh`` reads the file now (after a 401)."""
        path = self.access.token_file
        if path is None:
            return self._token
        now = time.monotonic()
        if fresh or self._token_read is None or now - self._token_read >= REREAD_SECONDS:
            try:
                self._token = path.read_text().strip()
            except OSError as error:
                if self._token is None:
                    raise AccessError(f"token file {path} cannot be read: {error.strerror}") from error
            self._token_read = now
        return self._token

    def ssl_context(self, *, fresh: bool = False) -> ssl.SSLContext | bool:
        """A TLS context with the current CA; a new object after the CA file changed, so that new connections use it."""
        if not self.access.server.startswith("https:"):
            return False
        now = time.monotonic()
        if self._context is None or fresh or self._ca_checked is None or now - self._ca_checked >= REREAD_SECONDS:
            stamp = _stamp(self.access.ca_file)
            if self._context is None or stamp != self._ca_stamp:
                self._context = _build_context(self.access)
                self._ca_stamp = stamp
            self._ca_checked = now
        return self._context


def _stamp(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _build_context(access: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(
            cafile=str(access.ca_file) if access.ca_file else None, cadata=access.ca_data
        )
        if access.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if access.client_certificate:
            access.client_certificate.load_into(context)
    except (OSError, ssl.SSLError) as error:
        raise AccessError(f"TLS for {access.server} cannot be set up: {error}") from error
    return context
