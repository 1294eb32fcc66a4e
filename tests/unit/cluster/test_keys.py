"""Key material: CometBFT's formats, fingerprints, and refusal of everything that is not a whole key."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jil.cluster.keys import (
    NODE_FILE,
    PASSWORDS,
    VALIDATOR_FILE,
    KeyRole,
    MalformedKeyError,
    fingerprint,
    generate,
    public_facts,
)


def test_a_validator_key_has_comets_types_and_address() -> None:
    data = generate(KeyRole.VALIDATOR)
    document = json.loads(data[VALIDATOR_FILE])
    raw = base64.b64decode(document["priv_key"]["value"])
    public = Ed25519PrivateKey.from_private_bytes(raw[:32]).public_key().public_bytes_raw()
    assert raw[32:] == public
    assert document["pub_key"]["type"] == "tendermint/PubKeyEd25519"
    assert document["address"] == hashlib.sha256(public).digest()[:20].hex().upper()
    facts = public_facts(KeyRole.VALIDATOR, data)
    assert facts.address == document["address"]
    assert facts.public_key == document["pub_key"]["value"]


def test_a_node_keys_peer_id_is_its_lower_case_address() -> None:
    facts = public_facts(KeyRole.NODE, generate(KeyRole.NODE))
    assert facts.peer_id is not None
    assert facts.peer_id == facts.peer_id.lower()
    assert len(facts.peer_id) == 40


def test_i5_two_keys_are_never_the_same() -> None:
    assert generate(KeyRole.VALIDATOR) != generate(KeyRole.VALIDATOR)
    passwords = generate(KeyRole.CREDENTIALS)
    assert set(passwords) == set(PASSWORDS)
    assert len(set(passwords.values())) == len(PASSWORDS)


def test_the_fingerprint_sees_every_byte_and_name_and_no_order() -> None:
    assert fingerprint({"a": b"1", "b": b"2"}) == fingerprint({"b": b"2", "a": b"1"})
    assert fingerprint({"a": b"1"}) != fingerprint({"a": b"2"})
    assert fingerprint({"a": b"1"}) != fingerprint({"b": b"1"})


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"{}", b'{"priv_key":{"value":"AAAA"}}', b'{"priv_key":{"value":"%%"}}', b'{"priv_key":3}'],
)
def test_what_is_no_key_is_refused_without_being_shown(content: bytes) -> None:
    with pytest.raises(MalformedKeyError) as caught:
        public_facts(KeyRole.NODE, {NODE_FILE: content})
    assert "AAAA" not in str(caught.value)


def test_a_key_whose_public_half_is_anothers_is_refused() -> None:
    mine, other = (json.loads(generate(KeyRole.NODE)[NODE_FILE])["priv_key"]["value"] for _ in range(2))
    mixed = base64.b64encode(base64.b64decode(mine)[:32] + base64.b64decode(other)[32:]).decode()
    with pytest.raises(MalformedKeyError, match="does not belong"):
        public_facts(KeyRole.NODE, {NODE_FILE: json.dumps({"priv_key": {"value": mixed}}).encode()})


def test_credentials_that_lack_a_password_are_refused_by_name() -> None:
    data = generate(KeyRole.CREDENTIALS)
    del data["cache-password"]
    with pytest.raises(MalformedKeyError, match="cache-password"):
        public_facts(KeyRole.CREDENTIALS, data)
