"""How to reach registries and who to be there: credentials, trust anchors, client certificates, other addresses."""

from __future__ import annotations

import base64
import binascii
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from jil.observe.registry.reference import DOCKER_HUB, DOCKER_HUB_HOST
from jil.tls import load_client_certificate

_DOCKER_HUB_KEYS = ("index.docker.io", DOCKER_HUB_HOST, DOCKER_HUB)


@dataclass(frozen=True)
class Credential:
    """What one registry is shown: user and password, or an OAuth2 refresh token, or a ready bearer token."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """Value of an Authorization header of type Basic."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class Credentials:
    """Credentials by registry and path prefix; the longest prefix that fits an image is used."""

    def __init__(self, entries: Mapping[str, Credential] | None = None) -> None:
        self._entries = {_key(name): credential for name, credential in (entries or {}).items()}

    @classmethod
    def from_docker_config(cls, *documents: bytes | str) -> Credentials:
        """From the contents of ``.dockerconfigjson`` (Secrets named in imagePullSecrets) or ``config.json``.

        Of two documents with an entry for the same registry the first one counts. ValueError says what is malformed
        and never what it holds.
        """
        entries: dict[str, Credential] = {}
        for document in documents:
            try:
                auths = json.loads(document).get("auths", {})
                found = {str(name): _credential(entry) for name, entry in auths.items()}
            except (ValueError, AttributeError, TypeError, RecursionError):
                raise ValueError(
                    'a pull secret is malformed: it is JSON {"auths": {"REGISTRY": {"auth": base64 of USER:PASSWORD}}}; '
                    "`kubectl create secret docker-registry` makes one"
                ) from None
            for name, credential in found.items():
                if credential is not None:
                    entries.setdefault(_key(name), credential)
        return cls(entries)

    def find(self, host: str, path: str) -> Credential | None:
        """The credential for an image of that registry, or None. Wildcards are not understood."""
        best: tuple[int, Credential] | None = None
        wanted = f"{_key(host)}/{path}"
        for key, credential in self._entries.items():
            if (wanted == key or wanted.startswith(key + "/")) and (best is None or len(key) > best[0]):
                best = (len(key), credential)
        return best[1] if best else None

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self._entries))})"


def _key(name: str) -> str:
    """Registry, with a path when there is one, from a key such as ``https://index.docker.io/v1/``."""
    bare = name.split("://", 1)[-1].rstrip("/")
    host, slash, path = bare.partition("/")
    host = host.lower()
    if host in _DOCKER_HUB_KEYS:
        host = DOCKER_HUB
    if path in ("v1", "v2"):
        path = ""
    return host + (slash + path if path else "")


def _credential(entry: Mapping[str, object]) -> Credential | None:
    def text(name: str) -> str:
        value = entry.get(name, "")
        if not isinstance(value, str):
            raise TypeError(name)
        return value

    user, password = text("username"), text("password")
    if text("auth"):
        try:
            user, _, password = base64.b64decode(text("auth"), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError("auth") from None
        password = password.rstrip("\0")  # as docker pads it
    made = Credential(user, password, text("identitytoken"), text("registrytoken"))
    return made if made != Credential() else None


@dataclass(frozen=True)
class ClientCertificate:
    """A certificate for mutual TLS and the hosts (``name:port`` as in image names) that are shown it."""

    certificate: bytes
    key: bytes = field(repr=False)
    hosts: frozenset[str] = frozenset()


# Whose credentials a token server of another name may see. Everywhere else both have one name, or the user says so.
_KNOWN_TOKEN_HOSTS = {DOCKER_HUB_HOST: "auth.docker.io", "registry.gitlab.com": "gitlab.com"}


@dataclass(frozen=True)
class Access:
    """How one client reaches registries.

    ``ca``: PEM certificates trusted beside those of the system. ``endpoints``: registry in image names -> base URL
    where it is reached (another name or port, or plain ``http://``). ``token_hosts``: further hosts that may be shown
    a credential when a registry names them as its token server.
    """

    credentials: Credentials = field(default_factory=Credentials)
    ca: str | None = None
    certificate: ClientCertificate | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)
    token_hosts: frozenset[str] = frozenset()

    def base_url(self, host: str) -> str:
        """Where the API of a registry is, without a slash at the end."""
        return self.endpoints.get(host, f"https://{host}").rstrip("/")

    def may_see_credentials(self, registry: str, token_host: str) -> bool:
        """Whether ``token_host`` (``name`` or ``name:port``) may be shown the credential of ``registry``."""
        return token_host in (registry, _KNOWN_TOKEN_HOSTS.get(registry)) or token_host in self.token_hosts

    def tls(self, *, with_certificate: bool) -> ssl.SSLContext:
        """A client context. ssl.SSLError or ValueError: the CA or the certificate is no PEM, or does not fit its key."""
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca:
            context.load_verify_locations(cadata=self.ca)
        if with_certificate and self.certificate:
            load_client_certificate(context, self.certificate.certificate, self.certificate.key)
        return context
