"""Raw bytes about one image as they were fetched; who fetched them checked them against their digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jil.trust.verdict import RefusalReason


@dataclass(frozen=True)
class SimpleSignature:
    """One layer of a cosign ``.sig`` manifest."""

    #: The blob: JSON of the simple signing format.
    payload: bytes
    #: Annotation ``dev.cosignproject.cosign/signature``: base64.
    signature: str


@dataclass(frozen=True)
class LeftOut:
    """Something attached that could not be read: it never counts, and is told when something is missing."""

    reason: RefusalReason
    #: One clause for people.
    text: str


@dataclass(frozen=True)
class Evidence:
    """Everything a verdict about one image is made of, beside policy and time."""

    #: Repository without tag and digest, such as ``registry.example.com/jil/transfers``.
    repository: str
    #: Digest of ``manifest``: ``sha256:`` and 64 hex digits.
    digest: str
    #: Content-Type that the registry gave for the manifest.
    media_type: str
    manifest: bytes
    #: Of an index: digest -> bytes of the child manifests that were read. Empty of an image.
    children: Mapping[str, bytes] = field(default_factory=dict)
    #: DSSE envelopes in JSON: JIL image statements and approvals, and in-toto provenance.
    envelopes: tuple[bytes, ...] = ()
    #: Signatures of the older cosign storage (tag ``sha256-<digest>.sig``).
    simple: tuple[SimpleSignature, ...] = ()
    #: Sigstore bundles in JSON: cosign signatures, and in-toto provenance.
    bundles: tuple[bytes, ...] = ()
    #: What was broken among the attachments: the first few of it.
    left_out: tuple[LeftOut, ...] = ()
    #: What attachments name and the registry says it does not have: the first few, one clause each. Copies of a registry
    #: come late, so it may be there yet; nobody knows what it is.
    missing: tuple[str, ...] = ()
