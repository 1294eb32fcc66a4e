"""What JIL envelopes state: four payload types, each with its own fields, all in canonical JSON.

`docs/image-trust.md` is the specification. The media type carries the version; a field is added by a new version only,
because an unknown field is refused: nobody may believe that he signed something which a verifier passes over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from jil.api.fields import DNS_LABEL_PATTERN
from jil.api.trust import KeyAlgorithm as Algorithm
from jil.api.trust import Track
from jil.trust import keys
from jil.trust.faults import malformed
from jil.trust.formats import canonical

PAYLOAD_MAX = 16 * 1024


class Kind(StrEnum):
    """The payload types of JIL envelopes."""

    IMAGE = "application/vnd.jil.image.v1+json"
    APPROVAL = "application/vnd.jil.approval.v1+json"
    RELEASE = "application/vnd.jil.release.v1+json"
    RELEASE_APPROVAL = "application/vnd.jil.release-approval.v1+json"


@dataclass(frozen=True)
class Statement:
    """One statement of a JIL envelope. Fields that its kind does not have are None."""

    kind: Kind
    key_id: str
    algorithm: Algorithm
    #: When it was signed, by the signer's clock.
    timestamp: datetime
    track: Track
    #: Repository, and digest of an image (kinds IMAGE and APPROVAL).
    image: str | None = None
    digest: str | None = None
    #: Name of a release; of an image statement only when it is for that one release.
    release: str | None = None
    #: Digest of the release's canonical manifest (kinds RELEASE and RELEASE_APPROVAL).
    manifest: str | None = None
    #: Commit that the image was built from (kind IMAGE).
    commit: str | None = None
    #: SHA-256 of the payload of the provenance statement that the signer saw (kind IMAGE).
    provenance: str | None = None
    #: When the approval ends (kinds APPROVAL and RELEASE_APPROVAL).
    expires: datetime | None = None

    def payload(self) -> bytes:
        """The canonical bytes. Raises Fault (Malformed) when a field is missing, foreign or not well formed."""
        values = {name: _text_of(value) for name in _FIELDS if (value := getattr(self, name)) is not None}
        check(self.kind, values)
        return canonical.encode(values)


def parse(kind: Kind, payload: bytes) -> Statement:
    """The statement of a payload. Raises Fault (Malformed, TooLarge)."""
    values = canonical.decode_object(payload, what=f"the payload ({kind})", limit=PAYLOAD_MAX)
    check(kind, values)
    return Statement(
        kind=kind,
        key_id=values["key_id"],
        algorithm=Algorithm(values["algorithm"]),
        timestamp=read_time(values["timestamp"]),
        track=Track(values["track"]),
        image=values.get("image"),
        digest=values.get("digest"),
        release=values.get("release"),
        manifest=values.get("manifest"),
        commit=values.get("commit"),
        provenance=values.get("provenance"),
        expires=read_time(values["expires"]) if "expires" in values else None,
    )


def check(kind: Kind, values: Mapping[str, Any]) -> None:
    """Raises Fault (Malformed) unless ``values`` has exactly the fields of ``kind``, each well formed."""
    required, optional = _OF_KIND[kind]
    missing = sorted(required - values.keys())
    if missing:
        raise malformed(f"the statement lacks {', '.join(missing)}")
    unknown = sorted(values.keys() - required - optional)
    if unknown:
        raise malformed(f"the statement has a field that {kind} has not: {unknown[0][:64]!a}")
    for name, value in values.items():
        if not isinstance(value, str) or not _FIELDS[name](value):
            raise malformed(f"the statement's {name} is not well formed: {str(value)[:80]!a}")


def write_time(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds: ``2026-11-21T18:00:00Z``, the one spelling that statements have."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(text: str) -> datetime:
    """The time of its one spelling. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text[:40]!a} is not a time such as 2026-11-21T18:00:00Z")
    return datetime.fromisoformat(text)


def _text_of(value: object) -> str:
    return write_time(value) if isinstance(value, datetime) else str(value)


def _is_time(text: str) -> bool:
    try:
        return bool(read_time(text))
    except ValueError:
        return False


def _matches(pattern: str, longest: int) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda text: len(text) <= longest and compiled.fullmatch(text) is not None


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
REPOSITORY_PATTERN = "[a-z0-9]+([._-][a-z0-9]+)*(:[0-9]{1,5})?(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*"
is_digest = _matches("sha256:[0-9a-f]{64}", 71)
is_commit = _matches("[0-9a-f]{40}([0-9a-f]{24})?", 64)
is_release = _matches(DNS_LABEL_PATTERN.strip("^$"), 63)
is_repository = _matches(REPOSITORY_PATTERN, 440)

#: In the order of the specification.
_FIELDS: Mapping[str, Callable[[str], bool]] = {
    "image": is_repository,
    "digest": is_digest,
    "track": lambda text: text in tuple(Track),
    "release": is_release,
    "manifest": is_digest,
    "commit": is_commit,
    "provenance": is_digest,
    "expires": _is_time,
    "key_id": keys.is_key_id,
    "algorithm": lambda text: text in tuple(Algorithm),
    "timestamp": _is_time,
}
_ALWAYS = frozenset({"key_id", "algorithm", "timestamp", "track"})
_OF_KIND: Mapping[Kind, tuple[frozenset[str], frozenset[str]]] = {
    Kind.IMAGE: (_ALWAYS | {"image", "digest", "commit"}, frozenset({"release", "provenance"})),
    Kind.APPROVAL: (_ALWAYS | {"image", "digest", "release", "expires"}, frozenset()),
    Kind.RELEASE: (_ALWAYS | {"release", "manifest"}, frozenset()),
    Kind.RELEASE_APPROVAL: (_ALWAYS | {"release", "manifest", "expires"}, frozenset()),
}
