"""Trust policies, operations and allow-lists as typed objects."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jil.api.allowlist import JILImageAllowList
from jil.api.network import JILNetwork
from jil.api.objects import InvalidObject
from jil.api.operation import JILOperation, OperationType
from jil.api.release import JILRelease, ReleaseSpec
from jil.api.trust import Custody, KeyRole, Revocation, Track, TrustSpec
from tests.cluster.api.case import BASES, DIGEST, TRUST, changed


def _policy(**changes: object) -> TrustSpec:
    return TrustSpec.model_validate(changed(TRUST, {path.replace("__", "/"): value for path, value in changes.items()}))


def test_a_network_without_trust_is_one_whose_images_are_not_judged() -> None:
    assert JILNetwork.parse(BASES["JILNetwork"]).spec.trust is None


def test_policy_has_safe_defaults() -> None:
    policy = _policy()
    key, devnet = policy.keys[0], policy.tracks[0]
    assert (key.revocation, key.custody, key.revoked_at) == (Revocation.COMPROMISED, Custody.FILE, None)
    assert key.roles == (KeyRole.SIGNER,)
    assert (devnet.signatures, devnet.custody, devnet.max_age_days, devnet.provenance) == (1, Custody.FILE, None, False)


def test_a_track_may_have_repositories_of_its_own() -> None:
    policy = _policy(tracks__2__repositories=["registry.example.com:5000/prod/"])
    assert policy.repositories_of(Track.MAINNET) == ("registry.example.com:5000/prod/",)
    assert policy.repositories_of(Track.TESTNET) == policy.repositories
    assert policy.rule(Track.MAINNET) == policy.tracks[2]


def test_a_track_without_a_rule_has_none() -> None:
    assert _policy(tracks=[{"track": "devnet", "approvals": 0}]).rule(Track.MAINNET) is None


def test_revocation_needs_a_zone() -> None:
    manifest = changed(BASES["JILNetwork"], {"spec/trust": TRUST, "spec/trust/keys/0/revokedAt": "2026-02-01T00:00:00"})
    with pytest.raises(InvalidObject, match="revokedAt"):
        JILNetwork.parse(manifest)


def test_envelopes_are_no_images() -> None:
    spec = JILRelease.parse(changed(BASES["JILRelease"], {"spec/envelopes": ["{}"]})).spec
    assert spec.envelopes == ("{}",)
    assert set(spec.all_images) == {"database", "cache", "broker", "validator", "health", "transfers"}


def test_every_field_of_a_release_but_the_envelopes_is_frozen() -> None:
    frozen = JILRelease.rules[1].expression
    for name in ReleaseSpec.model_fields:
        assert (f"self.spec.{name} == oldSelf.spec.{name}" in frozen) == (name != "envelopes")


def test_operation_says_what_who_why_and_until_when() -> None:
    spec = JILOperation.parse(BASES["JILOperation"]).spec
    assert (spec.type, spec.request_id, spec.requested_by) == (OperationType.BREAK_GLASS, "INC-1234", "ops-lead")
    assert spec.break_glass is not None
    assert spec.break_glass.until == datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_allow_list_names_the_releases_of_a_digest() -> None:
    spec = JILImageAllowList.parse(BASES["JILImageAllowList"]).spec
    assert spec.digests[DIGEST].releases == ("jil-1-0-0",)
    with pytest.raises(InvalidObject, match=r"spec\.digests"):
        JILImageAllowList.parse(changed(BASES["JILImageAllowList"], {"spec/digests": {"latest": {}}}))
