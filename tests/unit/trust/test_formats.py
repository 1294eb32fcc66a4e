"""JSON, base64, canonical form and envelopes: one reading only."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jil.trust.faults import Fault
from jil.trust.formats import base64_strict, canonical, dsse, statement, strict_json
from jil.trust.formats.statement import Kind
from jil.trust.verdict import RefusalReason
from tests.unit.trust.scenario import COMMIT, RELEASER, Scenario, approved, signed

SCALARS = st.none() | st.booleans() | st.integers(-canonical.SAFE_INTEGER, canonical.SAFE_INTEGER)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    SCALARS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def reason_of(make: Callable[[], object]) -> RefusalReason:
    """The reason; fails when nothing is refused."""
    with pytest.raises(Fault) as caught:
        make()
    return caught.value.reason


@settings(max_examples=30, deadline=None)
@given(value=st.dictionaries(TEXT, VALUES, max_size=4))
def test_canonical_form_round_trips_and_has_one_spelling(value: dict[str, Any]) -> None:
    data = canonical.encode(value)
    assert canonical.decode_object(data, what="it", limit=10**6) == value
    assert canonical.encode(json.loads(data)) == data
    spaced = json.dumps(value, indent=1).encode()
    if spaced != data:
        assert reason_of(lambda: canonical.decode_object(spaced, what="it", limit=10**6)) is RefusalReason.MALFORMED


def test_canonical_form_sorts_keys_by_utf_16_as_rfc_8785_3_2_3_does() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    order = list(json.loads(canonical.encode(dict.fromkeys(keys, 0))))
    assert order == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_canonical_form_escapes_as_rfc_8785_3_2_2_2_does() -> None:
    text = '\u20ac$\u000f\nA\'B"\\"/\u007f\u2028'
    assert canonical.encode([text]) == '["\u20ac$\\u000f\\nA\'B\\"\\\\\\"/\u007f\u2028"]'.encode()


@pytest.mark.parametrize("value", [1.0, 0.5, float("nan"), 2**53, -(2**53), {1: 2}, "\ud800", {"\udfff": 1}, b"bytes"])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - UnicodeEncodeError is one
        canonical.encode(value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"a":2}}',
        b'{"a":1,"\\u0061":1}',
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[" + b"1" * 33 + b"]",
        b"\xef\xbb\xbf{}",
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        b'["\\ud800"]',
        b'{"\\udc00":1}',
        b'["\x01"]',
        b'["a\nb"]',
        b"[01]",
        b"['a']",
        b"[1,]",
        b"{}{}",
        b"[" * 33 + b"]" * 33,
        b"[" * 10**6,
        b'{"a":' * 10**5,
        "{}".encode("utf-16"),
    ],
)
def test_json_that_readers_may_read_differently_is_refused(text: bytes) -> None:
    assert reason_of(lambda: strict_json.parse(text, what="it", limit=10**7)) is RefusalReason.MALFORMED


@pytest.mark.parametrize(
    "text", [b"{}", b' {"a" : [1, -2.5e3, "\\u00e9", null, true] } \n', b"[" * 32 + b"]" * 32, b'["[[\\"[["]']
)
def test_plain_json_is_read(text: bytes) -> None:
    assert strict_json.parse(text, what="it", limit=1000) == json.loads(text)


@pytest.mark.parametrize("unit", [b'\\"', b"\\\\", b'"\\', b'"', b'"\\"', b"\\", b'["', b"a"], ids=repr)
def test_a_string_that_is_never_closed_costs_time_in_proportion_to_its_length(unit: bytes) -> None:
    """Quadratic work would take an hour at 1 MiB; the small size comes first, so that a failure takes seconds."""
    for size in (2**16, 2**20, 2**22):
        text = b'"' + unit * (size // len(unit))
        began = time.process_time()
        with pytest.raises(Fault):
            strict_json.parse(text, what="it", limit=len(text))
        assert time.process_time() - began < 2, f"{size} bytes"


def depth_by_hand(data: bytes) -> bool:
    """Whether brackets outside of strings are ever nested deeper than allowed: one byte at a time."""
    depth, inside, escaped = 0, False, False
    for char in data:
        if escaped:
            escaped = False
        elif inside and char == ord("\\"):
            escaped = True
        elif char == ord('"'):
            inside = not inside
        elif not inside:
            depth += (char in b"[{") - (char in b"]}")
            if depth > strict_json.DEPTH_MAX:
                return True
    return False


PIECES = st.sampled_from([b"[" * 17, b"{" * 16, b"[", b"]", b"}" * 3, b'"', b"\\", b'\\"', b"a", b"\n", b"\xff", b"'"])


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(PIECES, max_size=24))
def test_depth_is_that_of_a_count_by_hand_whatever_the_bytes(parts: list[bytes]) -> None:
    data = b"".join(parts)
    with pytest.raises(Fault) if depth_by_hand(data) else contextlib.nullcontext():
        strict_json.check_depth(data, "it")


def test_json_above_the_limit_is_refused() -> None:
    assert strict_json.parse(b"[1]", what="it", limit=3) == [1]
    assert reason_of(lambda: strict_json.parse(b"[1] ", what="it", limit=3)) is RefusalReason.TOO_LARGE


@given(data=st.binary(max_size=70))
def test_base64_has_one_spelling(data: bytes) -> None:
    text = base64_strict.encode(data)
    assert base64_strict.decode(text, what="it") == data
    url = base64.urlsafe_b64encode(data).decode()
    assert base64_strict.decode(url, what="it", url_safe_too=True) == data
    if url != text:
        assert reason_of(lambda: base64_strict.decode(url, what="it")) is RefusalReason.MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        "YQ",
        "YQ=",
        "YQ===",
        "YR==",
        " YQ==",
        "YQ==\n",
        "Y Q==",
        "Y-==",
        "+_==",
        "YQ==YQ==",
        "=",
        "Ｙ" * 4,
        "YQ.=",
        5,
        None,
    ],
)
@pytest.mark.parametrize("url_safe_too", [False, True])
def test_base64_variants_are_refused(text: object, url_safe_too: bool) -> None:
    attempt = lambda: base64_strict.decode(text, what="it", url_safe_too=url_safe_too)  # noqa: E731
    assert reason_of(attempt) is RefusalReason.MALFORMED


def test_mixed_alphabets_of_base64_are_refused() -> None:
    data = bytes([0xFB, 0xEF, 0xFF])
    assert base64.b64encode(data) == b"++//"
    assert base64_strict.decode("--__", what="it", url_safe_too=True) == data
    assert reason_of(lambda: base64_strict.decode("+-/_", what="it", url_safe_too=True)) is RefusalReason.MALFORMED


def test_pae_is_that_of_the_dsse_specification() -> None:
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def changed(**changes: Any) -> bytes:
    """A good envelope with other members."""
    return json.dumps(json.loads(signed()) | changes).encode()


@pytest.mark.parametrize(
    "envelope",
    [
        b"[]",
        b"{}",
        changed(extra=1),
        changed(payloadType=5),
        changed(payloadType="a" * 128),
        changed(payloadType="application/\u2215json"),
        changed(payloadType="application/json\n"),
        changed(payload=None),
        changed(signatures=None),
        changed(signatures=[]),
        changed(signatures=[{"sig": "YQ=="}, {"sig": "YQ=="}]),
        changed(signatures=[{"keyid": "a"}]),
        changed(signatures=[{"sig": "YQ==", "cert": "x"}]),
        changed(signatures=[["YQ=="]]),
        changed(signatures=[{"sig": "YQ==", "keyid": 5}]),
    ],
)
def test_envelope_of_another_shape_is_refused(envelope: bytes) -> None:
    assert reason_of(lambda: dsse.parse(envelope)) is RefusalReason.MALFORMED


def test_envelope_round_trips() -> None:
    envelope = dsse.parse(signed())
    assert dsse.parse(dsse.serialize(envelope)) == envelope
    assert dsse.serialize(envelope) == signed()


def test_envelope_above_the_limit_is_refused() -> None:
    assert reason_of(lambda: dsse.parse(signed() + b" " * dsse.ENVELOPE_MAX)) is RefusalReason.TOO_LARGE


VALUES_OF = json.loads(dsse.parse(signed()).payload)


def well_signed(payload: bytes, kind: str = Kind.IMAGE) -> Scenario:
    """Testnet's image, with a payload of any shape that the right key really signed."""
    envelope = dsse.Envelope(kind, payload, "release-2026", RELEASER.sign(dsse.pae(kind, payload)))
    return Scenario(envelopes=(dsse.serialize(envelope), approved()))


def payload(**changes: Any) -> bytes:
    """The canonical payload with other fields."""
    values = VALUES_OF | changes
    return canonical.encode({name: value for name, value in values.items() if value is not ...})


def test_the_twin_of_all_statements_below_is_admitted() -> None:
    assert type(well_signed(payload()).decide()).__name__ == "Verified"


@pytest.mark.parametrize(
    "data",
    [
        payload(extra="field"),
        payload(commit=...),
        payload(expires="2027-01-01T00:00:00Z"),
        payload(commit="5F3C" * 10),
        payload(commit="main"),
        payload(digest="sha512:" + "0" * 128),
        payload(digest="sha256:" + "0" * 63),
        payload(image="Registry.example.com/x"),
        payload(image="registry.example.com/x:tag"),
        payload(track="Testnet"),
        payload(track=1),
        payload(timestamp="2026-11-20T12:00:00+00:00"),
        payload(timestamp="2026-11-20t12:00:00z"),
        payload(timestamp="2026-11-20T12:00:00.5Z"),
        payload(timestamp="2026-02-30T12:00:00Z"),
        payload(timestamp=1764000000),
        payload(algorithm="ed25519"),
        payload(algorithm="none"),
        payload(release="JIL"),
        payload(provenance=None),
        json.dumps(VALUES_OF).encode(),
        json.dumps(VALUES_OF, sort_keys=True, separators=(",", ":")).encode() + b"\n",
        payload().replace(COMMIT.encode(), COMMIT.encode() + b'","commit":"' + COMMIT.encode()),
        payload().replace(b"testnet", b"testne\\u0074"),
        b"",
        b"null",
        b"[]",
        b'"text"',
    ],
)
def test_statement_of_another_form_is_refused_although_it_is_well_signed(data: bytes) -> None:
    verdict = well_signed(data).decide()
    assert getattr(verdict, "reason", None) is RefusalReason.MALFORMED, verdict


@pytest.mark.parametrize(
    "key_id",
    [
        "rеlease-2026",
        "release‐2026",
        "release-2026\u200b",
        "ｒelease-2026",
        "Release-2026",
        "release-2026 ",
        "",
        "-a",
        "a" * 64,
    ],
)
def test_key_ids_that_look_alike_are_refused(key_id: str) -> None:
    """Cyrillic e, another hyphen, a zero-width space, full width, capitals: the id is ASCII in small letters."""
    verdict = well_signed(payload(key_id=key_id)).decide()
    assert getattr(verdict, "reason", None) is RefusalReason.MALFORMED, verdict


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.IMAGE] + ["application/json"])
def test_a_payload_of_one_kind_is_none_of_another(kind: str) -> None:
    verdict = well_signed(payload(), kind).decide()
    assert getattr(verdict, "reason", None) in {RefusalReason.MALFORMED, RefusalReason.UNSIGNED}, verdict


def test_the_type_is_under_the_signature() -> None:
    envelope = json.loads(approved()) | {"payloadType": Kind.IMAGE}
    verdict = Scenario(envelopes=(json.dumps(envelope).encode(), approved())).decide()
    assert getattr(verdict, "reason", None) is RefusalReason.MALFORMED
    release = json.loads(signed(release="jil-1-4-0")) | {"payloadType": Kind.APPROVAL}
    verdict = Scenario(envelopes=(signed(), json.dumps(release).encode())).decide()
    assert getattr(verdict, "reason", None) is RefusalReason.MALFORMED


def test_a_statement_is_written_as_it_is_read() -> None:
    data = dsse.parse(approved()).payload
    assert statement.parse(Kind.APPROVAL, data).payload() == data
