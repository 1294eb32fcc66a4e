"""Media types of manifests and attachments, and what a manifest of a type must look like."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jil.observe.registry.errors import RegistryLied
from jil.observe.registry.reference import is_digest
from jil.trust.faults import Fault
from jil.trust.formats.strict_json import parse_object
from jil.trust.verdict import RefusalReason

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"
EMPTY_CONTENT = b"{}"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))

JIL_ARTIFACT = "application/vnd.jil.envelope.v1+json"
"""artifactType of what jilctl attaches: DSSE envelopes with statements and approvals of JIL."""
DSSE = "application/vnd.dsse.envelope.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
COSIGN_SIGNATURE = "dev.cosignproject.cosign/signature"
BUNDLE_PREFIXES = ("application/vnd.dev.sigstore.bundle.v0.3", "application/vnd.dev.sigstore.bundle+json")
"""The second is how bundles before v0.3 were called, with a version as a parameter."""


def digest_of(content: bytes) -> str:
    """``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def bare(content_type: str | None) -> str:
    """A Content-Type without its parameters, lower-case; "" when there is none."""
    return (content_type or "").split(";", 1)[0].strip().lower()


def is_bundle(media_type: str) -> bool:
    """Whether a layer or artifact of that type is a sigstore bundle of any version."""
    return media_type.startswith(BUNDLE_PREFIXES)


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says about another blob or manifest."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """A manifest or index whose bytes have ``digest``."""

    digest: str
    media_type: str
    content: bytes
    body: Mapping[str, Any]

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests."""
        return self.media_type in INDEXES

    def descriptors(self, name: str, where: str) -> tuple[Descriptor, ...]:
        """The list ``manifests`` or ``layers``. RegistryLied: not a list of descriptors."""
        return tuple(descriptor(entry, where) for entry in self.body.get(name) or ())

    @property
    def subject(self) -> str | None:
        """Digest of what this is attached to."""
        subject = self.body.get("subject")
        found = subject.get("digest") if isinstance(subject, Mapping) else None
        return found if isinstance(found, str) else None


def parse(content: bytes, where: str) -> Mapping[str, Any]:
    """A JSON object that can be read in one way only. RegistryLied: anything else."""
    try:
        return parse_object(content, what=where, limit=len(content))
    except Fault as fault:
        raise RegistryLied(fault.text, fault.reason) from None


def manifest(content: bytes, content_type: str | None, where: str, allowed: frozenset[str]) -> Manifest:
    """Read a manifest. RegistryLied: a type that is not ``allowed``, or a body that is of another type than its header.

    A manifest that could be read as an image and as an index is refused: two readers would run two things
    (CVE-2021-41190).
    """
    media_type = bare(content_type)
    if media_type not in allowed:
        raise RegistryLied(
            f"{where} has the media type {media_type or 'none'!r:.120}; wanted: {', '.join(sorted(allowed))}",
            RefusalReason.WRONG_MEDIA_TYPE,
        )
    body = parse(content, where)
    if body.get("mediaType", media_type) != media_type:
        raise RegistryLied(
            f"{where} calls itself another media type than the registry does ({media_type})",
            RefusalReason.WRONG_MEDIA_TYPE,
        )
    lists, holds = "manifests" in body, "layers" in body or "config" in body
    if (lists, holds) != ((True, False) if media_type in INDEXES else (False, True)):
        raise RegistryLied(f"{where} has not the shape of its media type {media_type}", RefusalReason.WRONG_MEDIA_TYPE)
    for name in ("manifests", "layers"):
        if not isinstance(body.get(name), list | None):  # null is how Go writes an empty list
            raise RegistryLied(f"{where}: {name} is not a list", RefusalReason.MALFORMED)
    return Manifest(digest_of(content), media_type, content, body)


def descriptor(entry: object, where: str) -> Descriptor:
    """One entry of ``manifests`` or ``layers``. RegistryLied: not a descriptor."""
    if isinstance(entry, Mapping):
        media_type, digest, size = entry.get("mediaType"), entry.get("digest"), entry.get("size")
        annotations = entry.get("annotations") or {}
        if (
            isinstance(media_type, str)
            and isinstance(digest, str)
            and is_digest(digest)
            and type(size) is int
            and size >= 0
            and isinstance(annotations, Mapping)
        ):
            texts = {str(key): value for key, value in annotations.items() if isinstance(value, str)}
            return Descriptor(media_type, digest, size, texts)
    raise RegistryLied(
        f"{where} lists something that is no descriptor (mediaType, sha256 digest, size)", RefusalReason.MALFORMED
    )
