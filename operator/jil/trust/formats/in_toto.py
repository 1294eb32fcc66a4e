"""in-toto Statement v1 (and v0.1), as cosign and builders sign it in DSSE envelopes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jil.trust.faults import malformed
from jil.trust.formats import strict_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
#: cosign 3.1 signs with v1 and attests with v0.1; the fields that are read here are the same.
STATEMENT_TYPES = frozenset({STATEMENT_TYPE, "https://in-toto.io/Statement/v0.1"})
STATEMENT_MAX = 512 * 1024
SUBJECTS_MAX = 64


@dataclass(frozen=True)
class Subject:
    """One thing that the statement is about."""

    name: str
    #: ``sha256:`` and 64 hex digits; "" when it is named by other digests only.
    digest: str
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class InToto:
    """A statement; whoever makes one of these has verified the bytes."""

    predicate_type: str
    subjects: tuple[Subject, ...]
    predicate: Mapping[str, Any]


def parse(payload: bytes) -> InToto:
    """The statement of a payload. Raises Fault (Malformed, TooLarge)."""
    obj = strict_json.parse_object(payload, what="the in-toto statement", limit=STATEMENT_MAX)
    required = frozenset({"_type", "subject", "predicateType"})
    strict_json.only(obj, required=required, optional=frozenset({"predicate"}), what="the in-toto statement")
    if strict_json.a_string(obj["_type"], "_type") not in STATEMENT_TYPES:
        raise malformed(f"the in-toto statement's _type is not {STATEMENT_TYPE} (or v0.1)")
    subjects = strict_json.a_list(obj["subject"], "the statement's subject")
    if not 0 < len(subjects) <= SUBJECTS_MAX:
        raise malformed(f"the in-toto statement has {len(subjects)} subjects: 1 to {SUBJECTS_MAX} are allowed")
    return InToto(
        predicate_type=strict_json.a_string(obj["predicateType"], "predicateType"),
        subjects=tuple(_subject(item) for item in subjects),
        predicate=strict_json.an_object(obj.get("predicate", {}), "the predicate"),
    )


def _subject(value: object) -> Subject:
    obj = strict_json.an_object(value, "a subject")
    digests = strict_json.an_object(obj.get("digest", {}), "the digest of a subject")
    sha256 = digests.get("sha256")
    annotations = strict_json.an_object(obj.get("annotations", {}), "the annotations of a subject")
    return Subject(
        name=strict_json.a_string(obj.get("name", ""), "the name of a subject"),
        digest="" if sha256 is None else "sha256:" + strict_json.a_string(sha256, "the sha256 of a subject"),
        annotations={name: text for name, text in annotations.items() if isinstance(text, str)},
    )
