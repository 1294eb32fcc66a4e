"""Is the thing itself what its digest says: an image, or an index with the image for the platform inside."""

from __future__ import annotations

from typing import Any

from jil.trust.evidence import Evidence
from jil.trust.faults import FORMAT, LIMITS, Fault, malformed, too_large
from jil.trust.formats import strict_json
from jil.trust.formats.release_manifest import digest_of
from jil.trust.formats.statement import is_digest
from jil.trust.verdict import RefusalReason

#: What registries must take at least (distribution-spec); nothing above it is read.
MANIFEST_MAX = 4 * 1024 * 1024
CHILDREN_MAX = 256
INDEX_TYPES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
IMAGE_TYPES = frozenset(
    {"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}
)


def platforms(evidence: Evidence, platform: str | None) -> tuple[str, ...]:
    """Digests of the images that ``evidence`` brings for ``platform`` (``linux/amd64``, ``linux/arm/v7``).

    Of an image it is the image itself, whatever the platform: only its config knows. Of an index it is every child
    for the platform, and without a platform every child that was read. Raises Fault: RegistryLied, TooLarge,
    WrongMediaType, Malformed, PlatformMissing.
    """
    _check_bytes(evidence.manifest, evidence.digest, "the manifest")
    if evidence.media_type in IMAGE_TYPES:
        _parse(evidence.manifest, evidence.media_type, "the manifest")
        return (evidence.digest,)
    if evidence.media_type not in INDEX_TYPES:
        raise _wrong_type("the digest names", evidence.media_type)
    return _children(evidence, platform)


def _children(evidence: Evidence, platform: str | None) -> tuple[str, ...]:
    index = _parse(evidence.manifest, evidence.media_type, "the index")
    entries = [strict_json.an_object(item, "an entry of the index") for item in index["manifests"]]
    if len(entries) > CHILDREN_MAX:
        raise Fault(RefusalReason.TOO_LARGE, LIMITS, f"the index has {len(entries)} entries of {CHILDREN_MAX} allowed")
    listed = {str(entry.get("digest")): entry for entry in entries}
    foreign = sorted(evidence.children.keys() - listed.keys())
    if foreign:
        text = f"the registry gave the child {foreign[0]}, which is not in the index"
        raise Fault(RefusalReason.REGISTRY_LIED, FORMAT, text)
    found: list[str] = []
    for digest, entry in listed.items():
        if not _is_for(entry, platform):
            continue
        child = evidence.children.get(digest)
        if child is None:
            if platform is None:
                continue
            raise Fault(RefusalReason.PLATFORM_MISSING, FORMAT, f"the image for {platform}, {digest}, was not read")
        if not is_digest(digest) or entry.get("size") != len(child):
            raise malformed(f"the index gives no proper digest and size for its child {digest[:80]!a}")
        _check_bytes(child, digest, f"the child {digest}")
        media_type = str(entry.get("mediaType"))
        if media_type not in IMAGE_TYPES:
            raise _wrong_type(f"the child {digest} is", media_type)
        _parse(child, media_type, f"the child {digest}")
        found.append(digest)
    if not found:
        has = ", ".join(sorted(_name(entry) for entry in entries))[:200] or "nothing"
        wanted = f"no image for {platform}" if platform else "no image that was read"
        raise Fault(RefusalReason.PLATFORM_MISSING, FORMAT, f"the index has {wanted}: it has {has}")
    return tuple(found)


def _check_bytes(data: bytes, digest: str, what: str) -> None:
    if len(data) > MANIFEST_MAX:
        raise too_large(what, len(data), MANIFEST_MAX)
    if digest_of(data) != digest:
        text = f"the bytes of {what} have the digest {digest_of(data)}, and {digest} was asked for"
        raise Fault(RefusalReason.REGISTRY_LIED, FORMAT, text)


def _parse(data: bytes, media_type: str, what: str) -> dict[str, Any]:
    """One document must not be both an image and an index (CVE-2021-41190): readers would choose differently."""
    obj = strict_json.parse_object(data, what=what, limit=MANIFEST_MAX)
    if obj.get("schemaVersion") != 2:
        raise malformed(f"{what} has another schemaVersion than 2")
    if obj.get("mediaType", media_type) != media_type:
        text = f"{what} says that it is {str(obj['mediaType'])[:100]!a}, and the registry says {media_type}"
        raise Fault(RefusalReason.WRONG_MEDIA_TYPE, FORMAT, text)
    is_index = media_type in INDEX_TYPES
    own, other = ("manifests", "layers") if is_index else ("layers", "manifests")
    if own not in obj or other in obj or (is_index and "config" in obj):
        raise malformed(f"{what} is not what {media_type} must be: it needs {own!r} and must not have {other!r}")
    strict_json.a_list(obj[own], own)
    return obj


def _is_for(entry: dict[str, Any], platform: str | None) -> bool:
    name = _name(entry)
    # Builders put attestations into the index as children for the platform unknown/unknown: nothing that runs.
    return name != "unknown/unknown" and (platform is None or name == platform)


def _name(entry: dict[str, Any]) -> str:
    value = entry.get("platform")
    if not isinstance(value, dict):
        return "any"
    parts = [value.get("os"), value.get("architecture"), value.get("variant")]
    return "/".join(str(part) for part in parts if part)


def _wrong_type(what: str, media_type: str) -> Fault:
    text = f"{what} {media_type[:100]!a}, which is neither an image nor an index of images"
    return Fault(RefusalReason.WRONG_MEDIA_TYPE, FORMAT, text)
