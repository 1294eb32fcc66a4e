"""Any one-bit change of anything that is signed is refused; parsers answer or refuse, and never break."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jil.api.trust import Track
from jil.trust.decide import decide_release
from jil.trust.evidence import Evidence, SimpleSignature
from jil.trust.policy import Policy
from jil.trust.sign import cosign_bundle, cosign_simple
from jil.trust.verdict import Refused, Verified
from tests.unit.trust.fuzz import mutations, run_all
from tests.unit.trust.proofs import PROVEN
from tests.unit.trust.scenario import (
    BOB,
    BUILDER,
    DIGEST,
    IMAGE_TYPE,
    MANIFEST,
    NOW,
    RELEASE,
    RELEASER,
    REPOSITORY,
    Scenario,
    approved,
    policy,
    signed,
    with_rule,
)
from tests.unit.trust.test_release import approve, sign, spec

Flip = tuple[int, int]
FLIPS = st.tuples(st.integers(0, 2**31), st.integers(0, 7))


def flipped(data: bytes, flip: Flip) -> bytes:
    """``data`` with one bit changed; the place is taken modulo its length."""
    at = flip[0] % len(data)
    return data[:at] + bytes([data[at] ^ 1 << flip[1]]) + data[at + 1 :]


def inside(envelope: bytes, part: str, flip: Flip) -> bytes:
    """The envelope with one bit changed in the decoded payload or signature, or in the type or key id as text."""
    value = json.loads(envelope)
    if part == "payload":
        value["payload"] = base64.b64encode(flipped(base64.b64decode(value["payload"]), flip)).decode()
    elif part == "sig":
        raw = base64.b64decode(value["signatures"][0]["sig"])
        value["signatures"][0]["sig"] = base64.b64encode(flipped(raw, flip)).decode()
    elif part == "payloadType":
        value["payloadType"] = flipped(value["payloadType"].encode(), flip).decode("latin-1")
    else:
        value["signatures"][0]["keyid"] = flipped(value["signatures"][0]["keyid"].encode(), flip).decode("latin-1")
    return json.dumps(value).encode()


PARTS = ("payload", "sig", "payloadType", "keyid")


#: in-toto's keyid is a hint and no part of what is signed.
SIGNED_PARTS = [(part, which) for which in range(3) for part in PARTS if (part, which) != ("keyid", 2)]


@pytest.mark.parametrize(("part", "which"), SIGNED_PARTS)
@settings(max_examples=10, deadline=None)
@given(flip=FLIPS)
def test_i6_any_bit_changed_in_an_envelope_is_refused(part: str, which: int, flip: Flip) -> None:
    """The signature, the approval and the provenance of an image that needs all three."""
    envelopes = list(PROVEN.envelopes)
    envelopes[which] = inside(envelopes[which], part, flip)
    assert isinstance(PROVEN.but(envelopes=tuple(envelopes)).decide(), Refused)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("which", range(2))
@settings(max_examples=10, deadline=None)
@given(flip=FLIPS)
def test_i6_any_bit_changed_in_an_envelope_of_a_release_is_refused(part: str, which: int, flip: Flip) -> None:
    envelopes = [sign(), approve()]
    envelopes[which] = inside(envelopes[which].encode(), part, flip).decode()
    verdict = decide_release(RELEASE, spec(), envelopes, policy(), track=Track.TESTNET, now=NOW)
    assert isinstance(verdict, Refused)


@settings(max_examples=30, deadline=None)
@given(flip=FLIPS)
def test_i6_any_bit_changed_in_the_manifest_is_refused(flip: Flip) -> None:
    assert isinstance(Scenario().reads(manifest=flipped(MANIFEST, flip)).decide(), Refused)


COSIGNED = Scenario((), with_rule(policy(), Track.TESTNET, approvals=0))
NAMED = {"jil.io/track": "testnet"}
SIMPLE = cosign_simple(RELEASER, repository=REPOSITORY, digest=DIGEST, annotations=NAMED)
BUNDLE = cosign_bundle(RELEASER, digest=DIGEST, annotations=NAMED, spki=RELEASER.spki)


def test_the_unchanged_twins_are_admitted() -> None:
    assert isinstance(PROVEN.decide(), Verified)
    assert isinstance(COSIGNED.reads(simple=(SIMPLE,)).decide(), Verified)
    assert isinstance(COSIGNED.reads(bundles=(BUNDLE,)).decide(), Verified)


@settings(max_examples=30, deadline=None)
@given(flip=FLIPS, part=st.sampled_from(["payload", "signature"]))
def test_i6_any_bit_changed_in_a_cosign_signature_is_refused(flip: Flip, part: str) -> None:
    changed = (
        SimpleSignature(flipped(SIMPLE.payload, flip), SIMPLE.signature)
        if part == "payload"
        else SimpleSignature(
            SIMPLE.payload, base64.b64encode(flipped(base64.b64decode(SIMPLE.signature), flip)).decode()
        )
    )
    assert isinstance(COSIGNED.reads(simple=(changed,)).decide(), Refused)


@settings(max_examples=30, deadline=None)
@given(flip=FLIPS, part=st.sampled_from(["payload", "sig", "payloadType"]))
def test_i6_any_bit_changed_in_the_envelope_of_a_bundle_is_refused(flip: Flip, part: str) -> None:
    value = json.loads(BUNDLE)
    value["dsseEnvelope"] = json.loads(inside(json.dumps(value["dsseEnvelope"]).encode(), part, flip))
    assert isinstance(COSIGNED.reads(bundles=(json.dumps(value).encode(),)).decide(), Refused)


@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=200))
@example(b'{"payloadType":[],"payload":"","signatures":[]}')
def test_parsers_refuse_any_bytes_and_never_break(data: bytes) -> None:
    run_all(data)


@pytest.mark.parametrize("seed", range(3))
def test_parsers_refuse_mutations_of_good_bytes_and_never_break(seed: int) -> None:
    """A sample of `make fuzz`."""
    for data in mutations(seed=seed, count=30):
        run_all(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def replaced(value: Any, path: list[int], new: Any) -> Any:
    """``value`` with one member, that ``path`` leads to, being ``new``."""
    if path and isinstance(value, dict) and value:
        key = sorted(value)[path[0] % len(value)]
        return value | {key: replaced(value[key], path[1:], new)}
    if path and isinstance(value, list) and value:
        at = path[0] % len(value)
        return [*value[:at], replaced(value[at], path[1:], new), *value[at + 1 :]]
    return new


Signed = Callable[[Any], Scenario]


def _simple(value: Any) -> Scenario:
    data = json.dumps(value).encode()
    signature = SimpleSignature(data, base64.b64encode(RELEASER.sign(data)).decode())
    return COSIGNED.reads(simple=(signature,))


def _manifest(value: Any) -> Scenario:
    from jil.trust.formats.release_manifest import digest_of

    data = json.dumps(value).encode()
    kind = "application/vnd.oci.image.index.v1+json"
    return COSIGNED.reads(manifest=data, digest=digest_of(data), media_type=kind)


def _in_toto(value: Any) -> Scenario:
    from jil.trust.formats import dsse

    data, kind = json.dumps(value).encode(), "application/vnd.in-toto+json"
    envelope = dsse.serialize(dsse.Envelope(kind, data, "", BUILDER.sign(dsse.pae(kind, data))))
    return PROVEN.but(envelopes=(*PROVEN.envelopes[:2], envelope))


STATEMENT = json.loads(base64.b64decode(json.loads(PROVEN.envelopes[2])["payload"]))
ENTRY = {"mediaType": IMAGE_TYPE, "digest": DIGEST, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}
INDEX = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [ENTRY]}


@pytest.mark.parametrize(
    ("good", "make"), [(json.loads(SIMPLE.payload), _simple), (STATEMENT, _in_toto), (INDEX, _manifest)]
)
@settings(max_examples=20, deadline=None)
@given(path=st.lists(st.integers(0, 9), min_size=1, max_size=6), new=JSON)
def test_well_signed_nonsense_gets_a_verdict(good: Any, make: Signed, path: list[int], new: Any) -> None:
    assert isinstance(make(replaced(good, path, new)).decide(), Verified | Refused)


def test_every_key_of_the_policy_is_tried_within_its_bounds() -> None:
    """The dearest evidence that anybody may attach costs a bounded number of verifications."""
    wrong = SimpleSignature(SIMPLE.payload, base64.b64encode(BOB.sign(SIMPLE.payload)).decode())
    evidence = Evidence(REPOSITORY, DIGEST, IMAGE_TYPE, MANIFEST, {}, (signed(), approved()), (wrong,) * 64)
    small = Policy(policy().keys[:2], policy().tracks, policy().repositories)
    assert isinstance(Scenario(policy=small, evidence=evidence).decide(), Verified)
    assert Scenario().release == RELEASE
