"""Real registries on loopback: CNCF distribution with TLS and a password, and one that has the referrers API."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

from jil.observe.registry import Access, Credential, Credentials, RegistryPush, media
from testbed import binaries, fingerprint, paths, toolchain
from testbed.certificates import Authority, KeyPair
from testbed.locking import exclusive
from testbed.ports import LOOPBACK, free_ports
from testbed.processes import end, run, spawn_bound, wait_until

USER, PASSWORD = "ci", "loopback-only"
_BCRYPT = "$2b$05$jilrigjilrigjilrigjiO.K4hUCM95HDgJyajB93ULOEJ7aYC2.G2"
"""Of PASSWORD: the only form that distribution reads, and one that Python's standard library cannot make."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Registry:
    """A running registry. ``host`` is how image names begin, ``log`` has one line per request."""

    host: str
    url: str
    access: Access
    log: Path
    ca: Path | None = None

    def repository(self) -> str:
        """A repository that nobody used yet."""
        return f"{self.host}/test/image-{next(_numbers)}"

    def requests(self) -> list[str]:
        """``METHOD /path`` of every request so far, as the registry's own access log has them."""
        words = r"((?:GET|HEAD|PUT|POST|PATCH|DELETE) /v2/\S*)"
        return re.findall(words, self.log.read_text(errors="replace"))


@contextlib.contextmanager
def distribution(
    folder: Path,
    *,
    token_realm: str | None = None,
    token_ca: Path | None = None,
    node_logins: Mapping[str, str] | None = None,
) -> Iterator[Registry]:
    """Distribution with TLS and basic auth, or with tokens of the server at ``token_realm``; ``node_logins`` are options of
    the access controller that lets nodes in besides."""
    (port,) = free_ports(1)
    host = f"{LOOPBACK}:{port}"
    authority = Authority(folder / "ca", "registry rig")
    server = authority.server("registry", [f"IP:{LOOPBACK}", "DNS:localhost"])
    configuration = _configuration(folder, host, server, None)
    if token_realm:
        configuration["auth"] = {
            "token": {"realm": token_realm, "service": "rig", "issuer": "rig", "rootcertbundle": str(token_ca)}
        }
    else:
        (folder / "htpasswd").write_text(f"{USER}:{_BCRYPT}\n")
        configuration["auth"] = {"htpasswd": {"realm": "rig", "path": str(folder / "htpasswd")}}
        if node_logins:
            own = {"realm": "rig", "htpasswd": str(folder / "htpasswd"), "audience": host}
            configuration["auth"] = {"jilnode": {**own, **node_logins}}
    ca = authority.pair.certificate
    access = Access(Credentials({host: Credential(USER, PASSWORD)}), ca=ca.read_text())
    with _serving(folder, configuration, f"https://{host}/v2/", ca):
        yield Registry(host, f"https://{host}", access, folder / "registry.log", ca)


@contextlib.contextmanager
def mutual_tls(folder: Path) -> Iterator[tuple[Registry, KeyPair]]:
    """Distribution that lets in whoever shows a certificate of its CA, and such a certificate."""
    (port,) = free_ports(1)
    host = f"{LOOPBACK}:{port}"
    authority = Authority(folder / "ca", "registry rig")
    server = authority.server("registry", [f"IP:{LOOPBACK}"])
    configuration = _configuration(folder, host, server, authority.pair.certificate)
    client = authority.client("node")
    ca = authority.pair.certificate
    with _serving(folder, configuration, f"https://{host}/v2/", ca, client):
        yield Registry(host, f"https://{host}", Access(ca=ca.read_text()), folder / "registry.log", ca), client


@contextlib.contextmanager
def with_referrers(folder: Path) -> Iterator[Registry]:
    """go-containerregistry's registry: no TLS, no auth, but the referrers API of OCI 1.1, which distribution 3 lacks."""
    (port,) = free_ports(1)
    host = f"{LOOPBACK}:{port}"
    log = folder / "registry.log"
    child = spawn_bound([_referrers_program(), host], log)
    try:
        _wait(f"http://{host}/v2/", child, None, None)
        yield Registry(host, f"http://{host}", Access(endpoints={host: f"http://{host}"}), log)
    finally:
        end(child)


def _referrers_program() -> Path:
    """Built from ``referrers/``: 5 s the first time."""
    source = Path(__file__).with_name("referrers")
    program = paths.built() / f"referrers-{fingerprint.of_tree(source)}" / "referrers"
    if not program.exists():
        with exclusive("build"):
            if not program.exists():
                with paths.FreshFolder(program.parent) as folder:
                    command = [toolchain.go(), "build", "-trimpath", "-mod=readonly", "-o", folder / "referrers", "."]
                    environment = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
                    run(command, timeout_s=600, env=environment, cwd=source)
    return program


def _configuration(folder: Path, host: str, server: KeyPair, client_ca: Path | None) -> dict[str, object]:
    tls: dict[str, object] = {"certificate": str(server.certificate), "key": str(server.key)}
    if client_ca:
        tls |= {"clientcas": [str(client_ca)], "clientauth": "require-and-verify-client-cert"}
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "storage")},
            "delete": {"enabled": True},
        },
        "http": {"addr": host, "tls": tls, "secret": "of-the-rig"},
    }


@contextlib.contextmanager
def _serving(
    folder: Path, configuration: dict[str, object], url: str, ca: Path, client: KeyPair | None = None
) -> Iterator[None]:
    path = folder / "config.yml"
    path.write_text(json.dumps(configuration))  # JSON is YAML
    child = spawn_bound([binaries.registry(), "serve", path], folder / "registry.log", {"OTEL_TRACES_EXPORTER": "none"})
    try:
        _wait(url, child, ca, client)
        yield
    finally:
        end(child)


def _wait(url: str, child: subprocess.Popen[bytes], ca: Path | None, client: KeyPair | None) -> None:
    context = ssl.create_default_context(cafile=ca)
    if client:
        context.load_cert_chain(client.certificate, client.key)

    def answers() -> bool:
        if child.poll() is not None:
            raise RuntimeError(f"the registry ended with code {child.returncode}")
        try:
            return httpx2.get(url, verify=context, trust_env=False).status_code in (200, 401)
        except httpx2.TransportError:
            return False

    wait_until(answers, f"the registry at {url}", 90, 0.05)


def image_manifest(config: bytes, config_digest: str, **more: object) -> bytes:
    """An OCI image manifest without layers: registries store it, nobody runs it."""
    body = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest,
            "size": len(config),
        },
        "layers": [],
        **more,
    }
    return json.dumps(body).encode()


async def push_image(push: RegistryPush, repository: str, tag: str = "v1", **more: object) -> str:
    """An image that is unlike any other; returns its digest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "number": next(_numbers)}).encode()
    blob = await push.blob(repository, config, "application/vnd.oci.image.config.v1+json")
    return await push.manifest(f"{repository}:{tag}", image_manifest(config, blob.digest, **more), media.OCI_MANIFEST)
