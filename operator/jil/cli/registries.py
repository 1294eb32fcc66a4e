"""How jilctl reaches registries: docker's credentials, the environment's, and what the command line adds."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from jil.cli.exits import Exit, Stop
from jil.observe.registry import Access, ClientCertificate, Credential, Credentials, Reference

USER, PASSWORD = "JIL_REGISTRY_USER", "JIL_REGISTRY_PASSWORD"
ENDPOINTS = "JIL_REGISTRY_ENDPOINTS"
"""In the operator's own form: JSON, registry in image names -> URL."""


@dataclass(frozen=True)
class Wishes:
    """What the command line says about registries; see options.py for each."""

    config: str | None = None
    ca: tuple[str, ...] = ()
    certificate: str | None = None
    key: str | None = None
    endpoints: tuple[str, ...] = ()
    plain_http: tuple[str, ...] = ()
    token_hosts: tuple[str, ...] = ()


def access(wishes: Wishes, images: tuple[str, ...]) -> Access:
    """For ``images``: the environment's credential and the client certificate are for their registries alone.

    Raises Stop (USAGE).
    """
    hosts = frozenset(Reference.parse(image).api_host for image in images)
    endpoints = _usual_endpoints() | {host: f"http://{host}" for host in wishes.plain_http}
    for text in wishes.endpoints:
        host, equals, url = text.partition("=")
        if not equals or not url.startswith(("http://", "https://")):
            raise Stop(
                f"--endpoint {text}: wanted is REGISTRY=URL, such as r.example:5000=https://127.0.0.1:5000", Exit.USAGE
            )
        endpoints[host] = url
    made = Access(
        credentials=_credentials(wishes, hosts),
        ca="\n".join(_read(path, "--ca").decode(errors="replace") for path in wishes.ca) or None,
        certificate=_certificate(wishes, hosts),
        endpoints=endpoints,
        token_hosts=frozenset(wishes.token_hosts),
    )
    try:
        made.tls(with_certificate=True)
    except (OSError, ValueError):  # an ssl.SSLError is an OSError
        raise Stop(
            "--ca, --client-certificate or --client-key is not PEM, or key and certificate do not fit", Exit.USAGE
        ) from None
    return made


def _usual_endpoints() -> dict[str, str]:
    text = os.environ.get(ENDPOINTS) or "{}"
    try:
        found = json.loads(text)
        if all(url.startswith(("http://", "https://")) for url in found.values()):
            return dict(found)
    except (ValueError, AttributeError):
        pass
    raise Stop(
        f'{ENDPOINTS}={text:.200}: wanted is JSON such as {{"r.example:5000": "https://127.0.0.1:5000"}}', Exit.USAGE
    )


def _credentials(wishes: Wishes, hosts: frozenset[str]) -> Credentials:
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    if user and password:
        return Credentials({host: Credential(user, password) for host in hosts})
    folder = os.environ.get("DOCKER_CONFIG") or "~/.docker"
    path = Path(wishes.config or f"{folder}/config.json").expanduser()
    if not wishes.config and not path.exists():
        return Credentials()
    try:
        return Credentials.from_docker_config(_read(str(path), "--registry-config"))
    except ValueError as error:
        raise Stop(f"{path}: {error}", Exit.USAGE) from None


def _certificate(wishes: Wishes, hosts: frozenset[str]) -> ClientCertificate | None:
    if not wishes.certificate and not wishes.key:
        return None
    if not wishes.certificate or not wishes.key:
        raise Stop("--client-certificate and --client-key come together", Exit.USAGE)
    return ClientCertificate(
        _read(wishes.certificate, "--client-certificate"), _read(wishes.key, "--client-key"), hosts
    )


def _read(path: str, option: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise Stop(f"{option}: cannot read {path}: {error.strerror}", Exit.USAGE) from None
