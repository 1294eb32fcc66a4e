"""Image references: which registry, which repository, which tag or digest."""

from __future__ import annotations

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
DOCKER_HUB_HOST = "registry-1.docker.io"
"""Docker Hub's API is not served under the name that its images carry."""

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
# https://github.com/opencontainers/distribution-spec: names, tags; the digest algorithm that everybody has.
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(rf"(?:(?P<host>{_HOST})/)?(?P<path>{_PATH})")


def is_digest(text: str) -> bool:
    """Whether it is ``sha256:`` and 64 lower-case hex digits."""
    return _DIGEST.fullmatch(text) is not None


@dataclass(frozen=True)
class Reference:
    """``repository[:tag][@digest]``, taken apart.

    ``repository`` is the name as written (what signatures are made for), ``host`` and ``path`` are where to ask.
    """

    repository: str
    host: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, image: str) -> Reference:
        """Raises ValueError with what is wrong. A name without a registry is one of Docker Hub's, as everywhere."""
        name, at, digest = image.partition("@")
        if at and not is_digest(digest):
            raise ValueError(f"{image!r:.200}: after '@' comes sha256: and 64 lower-case hex digits")
        tag: str | None = None
        head, colon, tail = name.rpartition(":")
        if colon and "/" not in tail:  # else the colon is that of a port
            name, tag = head, tail
            if not _TAG.fullmatch(tag):
                raise ValueError(
                    f"{image!r:.200}: {tag!r:.80} is not a tag: at most 128 letters, digits, '.', '_' and '-'"
                )
        host, path = _split(name, image)
        if len(name) > 255:
            raise ValueError(f"{image!r:.200}: the name is longer than 255 characters")
        return cls(name, host, path, tag, digest or None)

    @property
    def api_host(self) -> str:
        """The host that serves the registry's API."""
        return DOCKER_HUB_HOST if self.host == DOCKER_HUB else self.host

    def at(self, digest: str) -> str:
        """``repository@digest``."""
        return f"{self.repository}@{digest}"

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _split(name: str, image: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    # The rule of the docker CLI: a first part with a dot or a port, or "localhost", is a host.
    if slash and (first == "localhost" or any(letter in first for letter in ".:[")):
        host, path = first, rest
    else:
        host, path = DOCKER_HUB, name if slash else f"library/{name}"
    if host in ("index.docker.io", DOCKER_HUB_HOST):
        host = DOCKER_HUB
    if not _NAME.fullmatch(f"{host}/{path}") or not re.fullmatch(_PATH, path):
        raise ValueError(
            f"{image!r:.200} is not the name of an image: REGISTRY/REPOSITORY with an optional :TAG and @sha256:DIGEST, "
            "the repository in lower-case letters and digits"
        )
    return host, path
