"""Signatures made by ``cosign sign --key``: simple signing (the older storage) and sigstore bundles.

cosign knows neither track nor release nor time. They are said by annotations under the signature
(``cosign sign -a jil.io/track=testnet -a jil.io/release=jil-1-4-0``); a signature that names no track is one for
devnet, the track that asks for least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from jil.api.trust import Track
from jil.trust.claim import Claim, verify_any
from jil.trust.evidence import SimpleSignature
from jil.trust.faults import FORMAT, Fault, malformed, too_large
from jil.trust.formats import base64_strict, in_toto, statement, strict_json
from jil.trust.formats.bundle import Bundle
from jil.trust.policy import Key
from jil.trust.verdict import RefusalReason

SIMPLE_MAX = 64 * 1024
SIMPLE_TYPE = "cosign container image signature"
#: The predicate that makes an in-toto statement a signature; any other one is an attestation (CVE-2022-35929).
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"

TRACK, RELEASE, COMMIT = "jil.io/track", "jil.io/release", "jil.io/commit"
TIMESTAMP, PROVENANCE, REPOSITORY = "jil.io/timestamp", "jil.io/provenance", "jil.io/repository"


def simple_claim(signature: SimpleSignature, candidates: Sequence[Key]) -> Claim:
    """What a signature of the older storage says. Raises Fault."""
    if len(signature.payload) > SIMPLE_MAX:
        raise too_large("a cosign payload", len(signature.payload), SIMPLE_MAX)
    raw = base64_strict.decode(signature.signature, what="the annotation dev.cosignproject.cosign/signature")
    key = verify_any(candidates, "", signature.payload, raw)
    payload = strict_json.parse_object(signature.payload, what="the cosign payload", limit=SIMPLE_MAX)
    strict_json.only(
        payload, required=frozenset({"critical"}), optional=frozenset({"optional"}), what="the cosign payload"
    )
    critical = strict_json.an_object(payload["critical"], "critical")
    fields = frozenset({"identity", "image", "type"})
    strict_json.only(critical, required=fields, what="critical")
    if critical["type"] != SIMPLE_TYPE:
        raise Fault(RefusalReason.NOT_A_SIGNATURE, FORMAT, f"critical.type of a cosign payload is not {SIMPLE_TYPE!r}")
    image = strict_json.an_object(critical["image"], "critical.image")
    strict_json.only(image, required=frozenset({"docker-manifest-digest"}), what="critical.image")
    identity = strict_json.an_object(critical["identity"], "critical.identity")
    strict_json.only(identity, required=frozenset({"docker-reference"}), what="critical.identity")
    reference = strict_json.a_string(identity["docker-reference"], "docker-reference")
    annotations = payload.get("optional")
    digest = strict_json.a_string(image["docker-manifest-digest"], "docker-manifest-digest", limit=71)
    named = {} if annotations is None else strict_json.an_object(annotations, "optional")
    return _claim(key, "cosign", digest, named, repository=_repository(reference))


def bundle_claim(bundle: Bundle, digest: str, candidates: Sequence[Key]) -> Claim:
    """What a bundle says about ``digest``. Raises Fault; NotASignature when it is an attestation of something else."""
    envelope = bundle.envelope
    if envelope.payload_type != in_toto.PAYLOAD_TYPE:
        raise malformed(f"the bundle's payloadType is not {in_toto.PAYLOAD_TYPE}")
    key = verify_any(candidates, bundle.hint, envelope.signed_bytes, envelope.signature)
    stated = in_toto.parse(envelope.payload)
    if stated.predicate_type != SIGN_PREDICATE:
        text = f"a bundle states {stated.predicate_type[:100]!a}, which is an attestation and no signature"
        raise Fault(RefusalReason.NOT_A_SIGNATURE, FORMAT, text)
    for subject in stated.subjects:
        if subject.digest == digest:
            name = subject.name or None
            return _claim(key, "bundle", digest, subject.annotations, repository=_repository(name) if name else None)
    return Claim(key, "bundle", frozenset(subject.digest for subject in stated.subjects), Track.DEVNET)


def _claim(key: Key, kind: str, digest: str, annotations: Mapping[str, object], *, repository: str | None) -> Claim:
    def said(name: str) -> str | None:
        value = annotations.get(name)
        return None if value is None else strict_json.a_string(value, f"the annotation {name}", limit=512)

    track, timestamp = said(TRACK), said(TIMESTAMP)
    if track is not None and track not in tuple(Track):
        raise malformed(f"the annotation {TRACK} is {track[:40]!a}: it must be one of {', '.join(Track)}")
    return Claim(
        key=key,
        format=kind,
        digests=frozenset({digest}),
        track=Track.DEVNET if track is None else Track(track),
        repository=said(REPOSITORY) or repository,
        release=said(RELEASE),
        commit=said(COMMIT),
        provenance=said(PROVENANCE),
        signed_at=None if timestamp is None else _time(timestamp),
    )


def _time(text: str) -> datetime:
    try:
        return statement.read_time(text)
    except ValueError as error:
        raise malformed(f"the annotation {TIMESTAMP}: {error}") from None


def _repository(reference: str) -> str:
    """``HOST/PATH`` of ``HOST/PATH[:TAG][@DIGEST]``."""
    name = reference.split("@", 1)[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.split(":", 1)[0]
