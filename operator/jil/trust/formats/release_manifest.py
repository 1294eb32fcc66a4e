"""The content of a release as one digest: what a signature of a release is about.

Envelopes travel in the JILRelease itself, so they are no part of it. The order of services and of what they need has
no meaning, so it has none here.
"""

from __future__ import annotations

import hashlib
from typing import Any

from jil.api.release import ReleaseSpec
from jil.trust.formats import canonical

#: Version of this canonical form; it is under the digest, so a later form can never be taken for this one.
FORM = "jil.io/release-manifest/v1"


def manifest(name: str, spec: ReleaseSpec) -> dict[str, Any]:
    """The release as the JSON value that is signed: every field with its default filled in, nothing that is unset.

    A field that ReleaseSpec gets later is left out at its default (and belongs into this function), or the
    signatures of every earlier release would end with an upgrade of the operator; a golden digest in the tests watches.
    """
    content = spec.wire()
    content.pop("envelopes", None)
    content["services"] = sorted(
        (service | {"needs": sorted(service.get("needs", ()))} for service in content["services"]),
        key=lambda service: str(service["name"]),
    )
    return {"form": FORM, "name": name, "spec": content}


def manifest_bytes(name: str, spec: ReleaseSpec) -> bytes:
    """Canonical bytes of `manifest`."""
    return canonical.encode(manifest(name, spec))


def manifest_digest(name: str, spec: ReleaseSpec) -> str:
    """``sha256:`` and 64 hex digits of `manifest_bytes`: the ``manifest`` of release statements."""
    return digest_of(manifest_bytes(name, spec))


def digest_of(data: bytes) -> str:
    """``sha256:`` and the 64 hex digits of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
