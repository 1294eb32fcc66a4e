"""AC-17, AC-18: every refusal stands beside a twin that differs only in that fault and is admitted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jil.api.trust import Track
from jil.trust.evidence import LeftOut
from jil.trust.formats.release_manifest import digest_of
from jil.trust.policy import Role
from jil.trust.verdict import RefusalReason, Refused, Verified
from tests.unit.trust.proofs import (
    CHILD,
    INDEX,
)
from tests.unit.trust.refusal_cases import CASES, DEVNET, GOOD, MAINNET, OTHER_DIGEST, Case
from tests.unit.trust.scenario import (
    ALICE,
    BOB,
    DAY,
    DIGEST,
    MALLORY,
    NOW,
    RELEASER,
    approved,
    policy,
    signed,
    with_key,
    with_rule,
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_ac_17_each_fault_is_refused_and_its_twin_is_admitted(case: Case) -> None:
    twin, verdict = case.good.decide(), case.bad.decide()
    assert isinstance(twin, Verified), twin
    assert isinstance(verdict, Refused), verdict
    assert (verdict.reason, verdict.rule) == (case.reason, case.rule), verdict.message
    assert case.says in verdict.message
    assert case.bad.image in verdict.message
    assert f"jilctl image inspect {case.bad.image}" in verdict.message


def test_every_reason_for_an_image_has_a_case() -> None:
    of_others = {RefusalReason.RELEASE_CHANGED, RefusalReason.NOT_A_SIGNATURE}  # test_release.py, test_cosign.py
    assert {case.reason for case in CASES.values()} | of_others == set(RefusalReason)


@pytest.mark.parametrize("rubbish", [b"", b"{}", b"null", b"[" * 100_000, b"\xff", signed(MALLORY), approved(MALLORY)])
def test_rubbish_beside_good_signatures_changes_nothing(rubbish: bytes) -> None:
    assert GOOD.but(envelopes=(rubbish, *GOOD.envelopes, rubbish)).decide() == GOOD.decide()


def test_verdict_names_who_signed_and_approved_and_how_long_it_holds() -> None:
    verdict = MAINNET.decide()
    assert isinstance(verdict, Verified)
    assert verdict.digest == DIGEST
    assert verdict.keys == ("release-2026",)
    assert verdict.approvers == ("alice@example.com", "bob@example.com")
    assert verdict.formats == ("jil",)
    assert verdict.signed_at == NOW - DAY
    assert verdict.valid_until == NOW + 30 * DAY
    assert verdict.platforms == (DIGEST,)


def test_verdict_holds_until_too_few_approvals_are_left() -> None:
    short, long = approved(ALICE, expires=NOW + DAY), approved(BOB, expires=NOW + 9 * DAY)
    verdict = GOOD.but(envelopes=(signed(), short, long)).decide()
    assert isinstance(verdict, Verified)
    assert verdict.valid_until == NOW + 9 * DAY, "the other approval is enough once the first one is over"


def test_verdict_holds_until_the_signature_is_too_old() -> None:
    verdict = GOOD.but(policy=with_rule(policy(), Track.TESTNET, max_age=3 * DAY)).decide()
    assert isinstance(verdict, Verified)
    assert verdict.valid_until == NOW + 2 * DAY


def test_verdict_without_ends_holds_for_ever() -> None:
    verdict = DEVNET.decide()
    assert isinstance(verdict, Verified)
    assert verdict.valid_until is None


def test_a_renewed_approval_takes_the_place_of_the_expired_one() -> None:
    verdict = GOOD.but(envelopes=(signed(), approved(expires=NOW - timedelta(hours=1)), approved())).decide()
    assert isinstance(verdict, Verified)


def test_index_without_a_platform_brings_every_child_that_was_read() -> None:
    verdict = INDEX.but(platform=None).decide()
    assert isinstance(verdict, Verified)
    assert verdict.platforms == (digest_of(CHILD),)


def test_two_roles_of_one_key_still_count_once() -> None:
    both = with_key(policy(), "release-2026", roles=frozenset({Role.SIGNER, Role.APPROVER}))
    verdict = GOOD.but(policy=both, envelopes=(signed(), approved(RELEASER))).decide()
    assert isinstance(verdict, Refused)
    assert verdict.reason is RefusalReason.APPROVER_IS_SIGNER


def test_what_could_not_be_read_spoils_nothing_and_is_told_when_something_is_missing() -> None:
    broken = LeftOut(RefusalReason.REGISTRY_LIED, "the registry serves other bytes")
    spoilt = GOOD.reads(left_out=(broken,))
    assert isinstance(spoilt.decide(), Verified)
    for envelopes in ((signed(),), ()):
        verdict = spoilt.but(envelopes=envelopes).decide()
        assert isinstance(verdict, Refused)
        assert verdict.reason is RefusalReason.REGISTRY_LIED
        assert "the registry serves other bytes" in verdict.message


def test_what_is_not_there_spoils_nothing_and_leaves_a_refusal_in_doubt_when_too_little_counts() -> None:
    partly = GOOD.reads(missing=("registry.example.com/jil/a@sha256:5c...: not there", "another"))
    assert isinstance(partly.decide(), Verified)
    for envelopes in ((signed(),), ()):
        verdict = partly.but(envelopes=envelopes).decide()
        assert isinstance(verdict, Refused)
        assert "sha256:5c...: not there and 1 more" in verdict.in_doubt
        assert isinstance(told := GOOD.but(envelopes=envelopes).decide(), Refused)
        assert (told.reason, told.in_doubt) == (verdict.reason, "")


def test_a_verdict_without_what_may_be_an_approvers_own_signature_is_a_short_one() -> None:
    """Who signed cannot approve, and the registry may have lost just the signature that says so."""
    whole, partly = GOOD.decide(), GOOD.reads(missing=("a blob",)).decide()
    assert isinstance(whole, Verified)
    assert isinstance(partly, Verified)
    assert partly.valid_until == NOW + timedelta(minutes=10)
    assert whole.valid_until is None or whole.valid_until > partly.valid_until


def test_what_no_signature_could_mend_is_refused_whatever_is_not_there() -> None:
    for verdict in (
        GOOD.reads(missing=("a blob",)).but(repository="evil.example/jil/a").decide(),
        GOOD.reads(missing=("a blob",), digest=OTHER_DIGEST).decide(),
    ):
        assert isinstance(verdict, Refused)
        assert verdict.in_doubt == ""
