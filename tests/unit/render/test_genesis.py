"""The genesis document: founders only, byte-stable, CometBFT's addresses."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from jil.render.genesis import consensus_address, genesis_document, genesis_hash
from tests.unit.render import samples

KEYS = {
    "CH-ZUG-01": base64.b64encode(b"z" * 32).decode(),
    "SG-MAS-01": base64.b64encode(b"s" * 32).decode(),
    "GB-LON-01": base64.b64encode(b"l" * 32).decode(),
}


def test_only_founders_are_validators_of_the_genesis() -> None:
    document = json.loads(genesis_document(samples.network(), KEYS))
    assert [v["name"] for v in document["validators"]] == ["CH-ZUG-01", "SG-MAS-01"]
    assert {v["power"] for v in document["validators"]} == {"10"}


def test_the_order_of_members_does_not_matter() -> None:
    network = samples.network()
    turned = network.model_copy(update={"members": tuple(reversed(network.members))})
    assert genesis_document(network, KEYS) == genesis_document(turned, KEYS)


def test_a_missing_founder_key_is_an_error_and_never_an_empty_validator() -> None:
    with pytest.raises(KeyError, match="SG-MAS-01"):
        genesis_document(samples.network(), {"CH-ZUG-01": KEYS["CH-ZUG-01"]})


def test_the_address_is_the_first_twenty_bytes_of_the_key_hash() -> None:
    key = b"z" * 32
    assert consensus_address(key) == hashlib.sha256(key).digest()[:20].hex().upper()


def test_the_hash_is_over_the_exact_bytes() -> None:
    document = genesis_document(samples.network(), KEYS)
    assert genesis_hash(document) == hashlib.sha256(document).hexdigest()
    assert genesis_hash(document) != genesis_hash(document + b" ")
