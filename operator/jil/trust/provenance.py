"""Where an image was built, and from which commit: in-toto statements with the SLSA v1 provenance predicate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jil.trust.claim import verify_any
from jil.trust.faults import FORMAT, Fault, malformed
from jil.trust.formats import dsse, in_toto, strict_json
from jil.trust.formats.release_manifest import digest_of
from jil.trust.formats.statement import is_commit
from jil.trust.policy import Key
from jil.trust.verdict import RefusalReason

PREDICATE = "https://slsa.dev/provenance/v1"


@dataclass(frozen=True)
class Provenance:
    """What a builder's key signed about a digest."""

    key: Key
    #: Digest of the statement's bytes: what the ``provenance`` of an image statement names.
    digest: str
    #: Git commits among the resolved dependencies whose uri begins with ``git+``.
    commits: frozenset[str]
    #: Their uris, without ``git+`` and without ``@ref``.
    sources: frozenset[str]
    builder: str
    #: When the build ended; None when the statement does not say.
    finished: datetime | None


def verify(envelope: dsse.Envelope, builders: Sequence[Key], *, repository: str, digest: str) -> Provenance:
    """The provenance of ``repository@digest`` in an envelope that one of ``builders`` signed.

    Roles, windows and revocation of the key are the caller's business. Raises Fault: UnknownKey or BadSignature,
    Malformed, NotASignature (another predicate), WrongSubject, WrongRepository.
    """
    if envelope.payload_type != in_toto.PAYLOAD_TYPE:
        raise malformed(f"provenance's payloadType is not {in_toto.PAYLOAD_TYPE}")
    key = verify_any(builders, envelope.key_id, envelope.signed_bytes, envelope.signature)
    stated = in_toto.parse(envelope.payload)
    if stated.predicate_type != PREDICATE:
        text = f"it states {stated.predicate_type[:100]!a}, which is no provenance ({PREDICATE})"
        raise Fault(RefusalReason.NOT_A_SIGNATURE, FORMAT, text)
    of_digest = [subject for subject in stated.subjects if subject.digest == digest]
    if not of_digest:
        raise Fault(RefusalReason.WRONG_SUBJECT, FORMAT, "the provenance is about another digest")
    if not any(subject.name == repository for subject in of_digest):
        raise Fault(
            RefusalReason.WRONG_REPOSITORY,
            FORMAT,
            f"the provenance is about {of_digest[0].name[:200]!a}, same digest",
        )
    return _read(key, envelope.payload, stated)


def _read(key: Key, payload: bytes, stated: in_toto.InToto) -> Provenance:
    build = strict_json.an_object(stated.predicate.get("buildDefinition"), "buildDefinition")
    run = strict_json.an_object(stated.predicate.get("runDetails"), "runDetails")
    builder = strict_json.an_object(run.get("builder"), "runDetails.builder")
    metadata = strict_json.an_object(run.get("metadata", {}), "runDetails.metadata")
    commits: set[str] = set()
    sources: set[str] = set()
    for item in strict_json.a_list(build.get("resolvedDependencies", []), "resolvedDependencies"):
        dependency = strict_json.an_object(item, "a resolved dependency")
        uri = strict_json.a_string(dependency.get("uri", ""), "uri")
        digests = strict_json.an_object(dependency.get("digest", {}), "digest")
        commit = digests.get("gitCommit", digests.get("sha1"))
        if uri.startswith("git+") and isinstance(commit, str) and is_commit(commit):
            commits.add(commit)
            # A user or a port may stand before: only what follows the last slash can be ``name@ref``.
            head, slash, last = uri.removeprefix("git+").rpartition("/")
            sources.add(head + slash + last.split("@", 1)[0])
    if not commits:
        raise malformed("the provenance names no git commit among its resolvedDependencies")
    finished = metadata.get("finishedOn")
    return Provenance(
        key=key,
        digest=digest_of(payload),
        commits=frozenset(commits),
        sources=frozenset(sources),
        builder=strict_json.a_string(builder.get("id"), "runDetails.builder.id"),
        finished=None if finished is None else _time(strict_json.a_string(finished, "finishedOn", limit=64)),
    )


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise malformed(f"finishedOn is no time: {text[:40]!a}") from None
    if moment.tzinfo is None:
        raise malformed("finishedOn has no zone")
    return moment
