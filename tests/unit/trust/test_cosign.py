"""Signatures of cosign: the real ones that its release made, and every way in which one must not count."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jil.api.trust import Track
from jil.trust.evidence import Evidence, SimpleSignature
from jil.trust.formats import dsse
from jil.trust.formats.release_manifest import digest_of
from jil.trust.keys import parse_public_key
from jil.trust.policy import Algorithm, Key, Policy, Revocation, Role, TrackRule
from jil.trust.sign import Ed25519Signer, cosign_bundle, cosign_simple
from jil.trust.verdict import RefusalReason, Refused, Verified
from tests.unit.trust.scenario import (
    DAY,
    DIGEST,
    IMAGE_TYPE,
    MALLORY,
    NOW,
    RELEASER,
    REPOSITORY,
    AnySigner,
    Scenario,
    ecdsa_signer,
    key_of,
    manifest,
    policy,
    with_key,
    with_rule,
)

VECTORS = json.loads((Path(__file__).with_name("vectors") / "cosign.json").read_text())
ALGORITHMS = {"ecdsa": Algorithm.ECDSA_P256, "ed25519": Algorithm.ED25519}
BOTH = pytest.mark.parametrize("name", ALGORITHMS)
AT = datetime(2026, 11, 21, 18, 30, tzinfo=UTC)


def key(name: str, *roles: Role, **changes: Any) -> Key:
    """The vectors' key of that algorithm."""
    spki = parse_public_key(VECTORS["keys"][name], ALGORITHMS[name])
    return Key(f"cosign-{name}", ALGORITHMS[name], spki, name, frozenset(roles or {Role.SIGNER}), **changes)


def real(name: str, manifest_text: str, *, provenance: bool = False, **evidence: Any) -> Scenario:
    """An image of the vectors on testnet, which asks for no approval here."""
    keys = (key(name), key_of(RELEASER, "pipeline", Role.SIGNER))
    if provenance:
        keys = (key(name, Role.SIGNER, Role.BUILDER), *keys[1:])
    rules = (TrackRule(Track.TESTNET, 1, 0, provenance=provenance), TrackRule(Track.MAINNET, 1, 0))
    data = manifest_text.encode()
    read = Evidence(VECTORS["repository"], digest_of(data), IMAGE_TYPE, data, **evidence)
    allowed = (VECTORS["repository"],)
    return Scenario((), Policy(keys, rules, allowed), now=AT, repository=VECTORS["repository"], evidence=read)


def simple_of(entry: dict[str, str]) -> SimpleSignature:
    """A layer of the vectors."""
    return SimpleSignature(entry["payload"].encode(), entry["signature"])


THEIRS = VECTORS["theirs"]


def their_simple(name: str) -> Scenario:
    """cosign's signature in the older storage."""
    return real(name, THEIRS["manifest"], simple=(simple_of(THEIRS["simple"][name]),))


def their_bundle(name: str) -> Scenario:
    """cosign's bundle."""
    return real(name, THEIRS["manifest"], bundles=(THEIRS["bundle"][name].encode(),))


@BOTH
@pytest.mark.parametrize(("kind", "make"), [("cosign", their_simple), ("bundle", their_bundle)])
def test_signature_of_the_real_cosign_is_admitted(name: str, kind: str, make: Any) -> None:
    verdict = make(name).decide()
    assert isinstance(verdict, Verified), verdict
    assert (verdict.formats, verdict.keys) == ((kind,), (f"cosign-{name}",))
    assert verdict.signed_at == datetime(2026, 11, 21, 18, 0, tzinfo=UTC)


@BOTH
@pytest.mark.parametrize("make", [their_simple, their_bundle])
def test_signature_of_the_real_cosign_for_testnet_is_refused_on_mainnet(name: str, make: Any) -> None:
    assert refused(make(name).but(track=Track.MAINNET)) is RefusalReason.WRONG_TRACK


@BOTH
@pytest.mark.parametrize("make", [their_simple, their_bundle])
def test_signature_of_the_real_cosign_counts_for_no_other_image(name: str, make: Any) -> None:
    other = manifest("other")
    scenario = make(name).reads(manifest=other, digest=digest_of(other))
    assert refused(scenario) is RefusalReason.WRONG_SUBJECT


@BOTH
@pytest.mark.parametrize("make", [their_simple, their_bundle])
def test_signature_of_the_real_cosign_by_another_key_is_refused(name: str, make: Any) -> None:
    scenario = make(name)
    without = replace(scenario.policy, keys=scenario.policy.keys[1:])
    assert refused(scenario.but(policy=without)) is RefusalReason.UNKNOWN_KEY


@BOTH
def test_what_we_sign_is_what_the_real_cosign_verified(name: str) -> None:
    """The bytes in the vectors were verified by cosign; the code still makes the same ones (Ed25519 is determinate)."""
    entry = VECTORS["ours"]["simple"][name]
    signer: AnySigner = ecdsa_signer("cosign-ec") if name == "ecdsa" else ed25519("cosign-ed")
    again = cosign_simple(
        signer, repository=VECTORS["repository"], digest=entry["digest"], annotations={"jil.io/track": "testnet"}
    )
    assert again.payload.decode() == entry["payload"]
    bundle = json.loads(VECTORS["ours"]["bundle"][name]["bundle"])
    made = json.loads(
        cosign_bundle(signer, digest=entry["digest"], annotations={"jil.io/track": "testnet"}, spki=signer.spki)
    )
    assert made["dsseEnvelope"]["payload"] == bundle["dsseEnvelope"]["payload"]
    assert made["verificationMaterial"] == bundle["verificationMaterial"]
    if name == "ed25519":
        assert again.signature == entry["signature"]
        assert made == bundle


def ed25519(key_id: str) -> Ed25519Signer:
    """The vectors' key."""
    from tests.unit.trust.scenario import ed25519_signer

    return ed25519_signer(key_id)


def test_provenance_of_the_real_cosign_backs_a_signature() -> None:
    statement = THEIRS["provenance"]["ecdsa"]
    scenario = real("ecdsa", THEIRS["manifest"], provenance=True, simple=(simple_of(THEIRS["simple"]["ecdsa"]),))
    without = scenario.decide()
    assert isinstance(without, Refused)
    assert without.reason is RefusalReason.NO_PROVENANCE
    # The vector's subject is named by the registry that it was made with.
    name = json.loads(base64.b64decode(json.loads(statement)["dsseEnvelope"]["payload"]))["subject"][0]["name"]
    with_it = scenario.reads(bundles=(statement.encode(),))
    assert "same digest" in str(with_it.decide())
    moved = with_it.but(repository=name, policy=replace(with_it.policy, repositories=(name,)))
    annotated = cosign_simple(
        ecdsa_signer("cosign-ec"),
        repository=name,
        digest=scenario.evidence.digest,
        annotations={"jil.io/track": "testnet"},
    )
    verdict = moved.reads(repository=name, simple=(annotated,)).decide()
    assert isinstance(verdict, Verified), verdict


ANNOTATIONS = {"jil.io/track": "testnet", "jil.io/timestamp": "2026-11-20T12:00:00Z"}
NO_APPROVAL = with_rule(policy(), Track.TESTNET, approvals=0)
BASE = Scenario((), NO_APPROVAL)


def simple(signer: AnySigner = RELEASER, **changes: Any) -> Scenario:
    """Our own signature in the older storage."""
    values: dict[str, Any] = {"repository": REPOSITORY, "digest": DIGEST, "annotations": ANNOTATIONS}
    return BASE.reads(simple=(cosign_simple(signer, **(values | changes)),))


def raw_simple(payload: object) -> Scenario:
    """A well-signed payload of any shape."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return BASE.reads(simple=(SimpleSignature(data, base64.b64encode(RELEASER.sign(data)).decode()),))


def bundled(signer: AnySigner = RELEASER, *, annotations: dict[str, str] = ANNOTATIONS, **changes: Any) -> Scenario:
    """Our own bundle, its JSON changed."""
    made = json.loads(cosign_bundle(signer, digest=DIGEST, annotations=annotations, spki=signer.spki))
    return BASE.reads(bundles=(json.dumps(made | changes).encode(),))


def stated(**changes: Any) -> Scenario:
    """A bundle over a well-signed in-toto statement, changed."""
    value = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": DIGEST.removeprefix("sha256:")}, "annotations": ANNOTATIONS}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }
    kind = changes.pop("payloadType", "application/vnd.in-toto+json")
    payload = json.dumps(value | changes).encode()
    envelope = dsse.Envelope(kind, payload, "", RELEASER.sign(dsse.pae(kind, payload)))
    return bundled(dsseEnvelope=dsse.to_json(envelope))


def refused(scenario: Scenario) -> RefusalReason:
    """The reason; fails when it is admitted."""
    verdict = scenario.decide()
    assert isinstance(verdict, Refused), verdict
    return verdict.reason


CRITICAL = {
    "identity": {"docker-reference": REPOSITORY},
    "image": {"docker-manifest-digest": DIGEST},
    "type": "cosign container image signature",
}
OPTIONAL = {"critical": CRITICAL, "optional": ANNOTATIONS}


@pytest.mark.parametrize("scenario", [simple(), raw_simple(OPTIONAL), bundled(), stated()])
def test_the_twins_of_all_that_is_refused_below_are_admitted(scenario: Scenario) -> None:
    assert isinstance(scenario.decide(), Verified)


DSSE = json.loads(cosign_bundle(RELEASER, digest=DIGEST, annotations=ANNOTATIONS, spki=RELEASER.spki))["dsseEnvelope"]
SIGNATURE = DSSE["signatures"][0]["sig"]
Reason = RefusalReason
REFUSED = {
    "other key": (simple(MALLORY), Reason.UNKNOWN_KEY),
    "other digest": (simple(digest="sha256:" + "0" * 64), Reason.WRONG_SUBJECT),
    "other repository": (simple(repository=REPOSITORY + "-fork"), Reason.WRONG_REPOSITORY),
    "no track": (simple(annotations={}), Reason.WRONG_TRACK),
    "unknown track": (simple(annotations={"jil.io/track": "stagenet"}), Reason.MALFORMED),
    "other release": (simple(annotations=ANNOTATIONS | {"jil.io/release": "jil-1-3-0"}), Reason.WRONG_RELEASE),
    "time that is none": (simple(annotations=ANNOTATIONS | {"jil.io/timestamp": "yesterday"}), Reason.MALFORMED),
    "payload of another type": (raw_simple({"critical": CRITICAL | {"type": "atomic"}}), Reason.NOT_A_SIGNATURE),
    "field in another case": (
        raw_simple(OPTIONAL | {"critical": CRITICAL | {"image": {"Docker-manifest-digest": DIGEST}}}),
        Reason.MALFORMED,
    ),
    "digest twice": (
        raw_simple(
            json.dumps(OPTIONAL)
            .replace('"docker-manifest-digest"', '"docker-manifest-digest": "sha256:0", "docker-manifest-digest"')
            .encode()
        ),
        Reason.MALFORMED,
    ),
    "payload with a foreign field": (raw_simple(OPTIONAL | {"extra": 1}), Reason.MALFORMED),
    "payload that is no object": (raw_simple([OPTIONAL]), Reason.MALFORMED),
    "payload that is too large": (raw_simple(json.dumps(OPTIONAL).encode() + b" " * 65536), Reason.TOO_LARGE),
    "signature with white space": (
        BASE.reads(
            simple=(replace(simple().evidence.simple[0], signature=simple().evidence.simple[0].signature + "\n"),)
        ),
        Reason.MALFORMED,
    ),
    "bundle by another key": (bundled(MALLORY), Reason.UNKNOWN_KEY),
    "bundle altered, with the right hint": (
        bundled(dsseEnvelope=DSSE | {"payload": base64.b64encode(b'{"_type":"x","subject":[]}').decode()}),
        Reason.MALFORMED,
    ),
    "bundle altered in its subject": (
        bundled(
            dsseEnvelope=DSSE
            | {"payload": base64.b64encode(base64.b64decode(DSSE["payload"]).replace(b"testnet", b"mainnet")).decode()}
        ),
        Reason.BAD_SIGNATURE,
    ),
    "attestation instead of a signature": (
        stated(predicateType="https://spdx.dev/Document"),
        Reason.NOT_A_SIGNATURE,
    ),
    "bundle of another payload type": (stated(payloadType="application/json"), Reason.MALFORMED),
    "two signatures in one envelope": (
        bundled(dsseEnvelope=DSSE | {"signatures": DSSE["signatures"] * 2}),
        Reason.MALFORMED,
    ),
    "no signature in the envelope": (bundled(dsseEnvelope=DSSE | {"signatures": []}), Reason.MALFORMED),
    "hint and keyid differ": (
        bundled(dsseEnvelope=DSSE | {"signatures": [{"sig": SIGNATURE, "keyid": "other"}]}),
        Reason.MALFORMED,
    ),
    "keyless bundle": (bundled(verificationMaterial={"certificate": {"rawBytes": "AA=="}}), Reason.MALFORMED),
    "bundle of a blob": (bundled(messageSignature={}), Reason.MALFORMED),
    "bundle of an unknown version": (
        bundled(mediaType="application/vnd.dev.sigstore.bundle.v0.9+json"),
        Reason.MALFORMED,
    ),
    "bundle with a foreign field": (bundled(extra=1), Reason.MALFORMED),
    "statement of another type": (stated(_type="https://in-toto.io/Statement/v9"), Reason.MALFORMED),
    "statement without subjects": (stated(subject=[]), Reason.MALFORMED),
    "65 signatures of cosign": (BASE.reads(bundles=bundled().evidence.bundles * 65), Reason.TOO_MANY_SIGNATURES),
}


@pytest.mark.parametrize(("scenario", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_each_fault_of_a_cosign_signature_has_its_reason(scenario: Scenario, reason: RefusalReason) -> None:
    assert refused(scenario) is reason


def test_a_signature_without_a_track_counts_on_devnet() -> None:
    assert isinstance(simple(annotations={}).but(track=Track.DEVNET).decide(), Verified)


def test_the_hint_of_a_bundle_is_never_a_reason_to_trust_or_to_refuse() -> None:
    for hint in ({}, {"hint": ""}, {"hint": "bm90IHRoaXMga2V5"}):
        assert isinstance(bundled(verificationMaterial={"publicKey": hint}).decide(), Verified)
    mallory = json.loads(cosign_bundle(MALLORY, digest=DIGEST, annotations=ANNOTATIONS, spki=RELEASER.spki))
    assert refused(BASE.reads(bundles=(json.dumps(mallory).encode(),))) is RefusalReason.BAD_SIGNATURE


def test_entries_of_a_transparency_log_are_not_looked_at() -> None:
    material = {"publicKey": {}, "tlogEntries": [{"logIndex": "1"}], "timestampVerificationData": {}}
    assert isinstance(bundled(verificationMaterial=material).decide(), Verified)


@pytest.mark.parametrize("transform", [lambda text: text, lambda text: text.replace("+", "-").replace("/", "_")])
def test_both_alphabets_of_base64_hold_in_an_envelope(transform: Any) -> None:
    envelope = DSSE | {"payload": transform(DSSE["payload"]), "signatures": [{"sig": transform(SIGNATURE)}]}
    assert isinstance(bundled(dsseEnvelope=envelope).decide(), Verified)


def test_one_subject_of_several_is_enough_and_brings_its_own_annotations() -> None:
    mine = {"digest": {"sha256": DIGEST.removeprefix("sha256:")}, "annotations": ANNOTATIONS}
    other = {"digest": {"sha256": "0" * 64}, "annotations": {"jil.io/track": "mainnet"}}
    assert isinstance(stated(subject=[other, mine]).decide(), Verified)


def test_a_signature_without_a_time_holds_only_while_its_key_does() -> None:
    timeless = simple(annotations={"jil.io/track": "testnet"})
    verdict = timeless.but(policy=with_key(NO_APPROVAL, "release-2026", not_after=NOW + DAY)).decide()
    assert isinstance(verdict, Verified)
    assert (verdict.signed_at, verdict.valid_until) == (None, NOW + DAY)
    over = timeless.but(policy=with_key(NO_APPROVAL, "release-2026", not_after=NOW - DAY))
    assert refused(over) is RefusalReason.KEY_OUTSIDE_WINDOW


def test_a_signature_without_a_time_ends_with_a_revocation_of_either_kind() -> None:
    revoked = with_key(NO_APPROVAL, "release-2026", revoked_at=NOW, revocation=Revocation.AFTER)
    assert isinstance(simple().but(policy=revoked).decide(), Verified)
    assert refused(simple(annotations={"jil.io/track": "testnet"}).but(policy=revoked)) is RefusalReason.KEY_REVOKED


def test_a_signature_without_a_time_is_too_old_where_age_counts() -> None:
    aged = with_rule(NO_APPROVAL, Track.TESTNET, max_age=2 * DAY)
    assert isinstance(simple().but(policy=aged).decide(), Verified)
    assert refused(simple(annotations={"jil.io/track": "testnet"}).but(policy=aged)) is RefusalReason.TOO_OLD
