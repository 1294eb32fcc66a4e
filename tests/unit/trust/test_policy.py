"""From the network's spec to the policy, and the hash that verdicts are kept under."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from jil.api.trust import Track, TrustSpec
from jil.trust.decide import allows, policy_hash, policy_of
from jil.trust.policy import Algorithm, Custody, InvalidPolicy, Key, Policy, Revocation, Role, TrackRule
from tests.unit.trust.scenario import ALICE, BOB, DAY, NOW, RELEASER, policy
from tests.unit.trust.test_keys import SMALL_ORDER, pem

SPEC: dict[str, Any] = {
    "keys": [
        {
            "id": "release-2026",
            "algorithm": "Ed25519",
            "publicKey": pem(RELEASER.spki),
            "owner": "pipeline",
            "roles": ["signer"],
            "custody": "hsm",
            "notBefore": "2026-01-01T00:00:00Z",
            "notAfter": "2027-01-01T00:00:00Z",
        },
        {
            "id": "bob-1",
            "algorithm": "ECDSA-P256",
            "publicKey": pem(BOB.spki),
            "owner": "bob@example.com",
            "roles": ["approver"],
            "revokedAt": "2026-11-01T00:00:00Z",
            "revocation": "After",
        },
    ],
    "tracks": [
        {
            "track": "testnet",
            "signatures": 1,
            "approvals": 1,
            "maxAgeDays": 90,
            "repositories": ["registry.example.com/t/"],
        }
    ],
    "repositories": ["registry.example.com/jil/"],
}


def spec(change: Callable[[dict[str, Any]], Any] = lambda value: None) -> TrustSpec:
    """The spec, changed in place."""
    import copy

    value = copy.deepcopy(SPEC)
    change(value)
    return TrustSpec.model_validate(value)


def test_a_policy_says_what_the_networks_spec_says() -> None:
    found = policy_of(spec())
    releaser, bob = found.keys
    assert (releaser.id, releaser.spki, releaser.owner) == ("release-2026", RELEASER.spki, "pipeline")
    assert (releaser.algorithm, releaser.custody, releaser.roles) == (
        Algorithm.ED25519,
        Custody.HSM,
        frozenset({Role.SIGNER}),
    )
    assert releaser.not_before is not None
    assert releaser.not_after is not None
    assert releaser.revoked_at is None
    assert (bob.algorithm, bob.revocation) == (Algorithm.ECDSA_P256, Revocation.AFTER)
    assert bob.revoked_at is not None
    assert found.rule(Track.TESTNET) == TrackRule(
        Track.TESTNET, 1, 1, max_age=timedelta(days=90), repositories=("registry.example.com/t/",)
    )
    assert found.rule(Track.MAINNET) is None
    assert found.repositories == ("registry.example.com/jil/",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v["keys"][0].update(publicKey=pem(RELEASER.spki[:-1] + b"\xff")), r"keys\[release-2026\].publicKey"),
        (
            lambda v: v["keys"][0].update(publicKey=pem(RELEASER.spki[:12] + bytes.fromhex(SMALL_ORDER[0]))),
            "small order",
        ),
        (lambda v: v["keys"][0].update(algorithm="ECDSA-P256"), "the key is Ed25519"),
        (lambda v: v["keys"][1].update(algorithm="Ed25519", publicKey=pem(RELEASER.spki)), "that of release-2026 too"),
    ],
)
def test_a_policy_that_would_count_wrongly_is_invalid(change: Callable[[dict[str, Any]], Any], says: str) -> None:
    with pytest.raises(InvalidPolicy, match=says):
        policy_of(spec(change))


def test_every_problem_of_a_policy_is_told_at_once() -> None:
    def spoil(value: dict[str, Any]) -> None:
        for key in value["keys"]:
            key["publicKey"] = pem(ALICE.spki[:-1])

    with pytest.raises(InvalidPolicy) as caught:
        policy_of(spec(spoil))
    assert len(caught.value.problems) == 2


def test_the_hash_does_not_depend_on_any_order() -> None:
    base = policy()
    turned = replace(base, keys=base.keys[::-1], tracks=base.tracks[::-1], repositories=base.repositories[::-1])
    assert policy_hash(turned) == policy_hash(base)
    assert policy_hash(base).startswith("sha256:")


OTHER: dict[str, Any] = {
    "id": "other",
    "algorithm": Algorithm.ECDSA_P256,
    "spki": b"other",
    "owner": "other",
    "roles": frozenset({Role.CI}),
    "not_before": NOW,
    "not_after": NOW,
    "revoked_at": NOW,
    "revocation": Revocation.AFTER,
    "custody": Custody.KMS,
    "track": Track.MAINNET,
    "signatures": 7,
    "approvals": 7,
    "max_age": DAY,
    "provenance": True,
    "repositories": ("other.example.com/",),
}


@pytest.mark.parametrize("name", [field.name for field in fields(Key)])
def test_the_hash_depends_on_every_field_of_a_key(name: str) -> None:
    base = policy()
    changed = replace(base, keys=(replace(base.keys[0], **{name: OTHER[name]}), *base.keys[1:]))
    assert policy_hash(changed) != policy_hash(base)


@pytest.mark.parametrize("name", [field.name for field in fields(TrackRule)])
def test_the_hash_depends_on_every_field_of_a_rule(name: str) -> None:
    base = policy()
    changed = replace(base, tracks=(replace(base.tracks[0], **{name: OTHER[name]}), *base.tracks[1:]))
    assert policy_hash(changed) != policy_hash(base)


def test_the_hash_depends_on_the_repositories_and_the_number_of_keys() -> None:
    base = policy()
    others = (replace(base, repositories=("x.example.com/",)), Policy(base.keys[1:], base.tracks, base.repositories))
    assert len({policy_hash(base), *(policy_hash(other) for other in others)}) == 3


@pytest.mark.parametrize(
    ("entry", "repository", "allowed"),
    [
        ("registry.example.com/jil/", "registry.example.com/jil/transfers", True),
        ("registry.example.com/jil/", "registry.example.com/jil/a/b", True),
        ("registry.example.com/jil/", "registry.example.com/jil", False),
        ("registry.example.com/jil/", "registry.example.com/jilted/x", False),
        ("registry.example.com/jil", "registry.example.com/jil", True),
        ("registry.example.com/jil", "registry.example.com/jil/x", False),
        ("registry.example.com/jil", "registry.example.com:5000/jil", False),
    ],
)
def test_a_repository_is_exact_or_a_folder(entry: str, repository: str, allowed: bool) -> None:
    assert allows((entry,), repository) is allowed
