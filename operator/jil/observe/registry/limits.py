"""How much one registry may cost us. Every number can be reached by a hostile or broken registry."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Bounds of one RegistryClient; the defaults are those of the operator."""

    manifest_bytes: int = 4 * MIB
    """The distribution specification asks registries to take manifests of 4 MiB; none is larger for a good reason."""
    attachment_bytes: int = 4 * MIB
    """One signature, bundle or envelope. A larger attachment (an SBOM) is left out, since it is no signature."""
    evidence_bytes: int = 64 * MIB
    """Everything read for one image."""
    referrers: int = 512
    """Attachments of one image, of any kind."""
    referrer_pages: int = 32
    layers: int = 64
    """Layers of one attachment that are looked at: cosign's .sig manifest has one per signature."""
    children: int = 256
    """Manifests in one index."""
    redirects: int = 3
    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    """Longest silence inside an answer."""
    request_seconds: float = 30.0
    """One request with its redirects and its token, first byte to last: a server that drips is ended by this."""
    evidence_seconds: float = 120.0
    """Everything for one image."""
    images: int = 16
    """Images that are read at once by one client; the others wait without their time running."""
    per_host: int = 8
    """Requests under way at one registry at once."""
