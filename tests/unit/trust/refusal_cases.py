"""AC-17, AC-18: refusals beside twins that differ only in that fault and are admitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from jil.api.trust import Track
from jil.trust.formats.release_manifest import digest_of
from jil.trust.policy import Custody, Revocation
from jil.trust.verdict import RefusalReason
from tests.unit.trust.proofs import (
    CHILD,
    FOREIGN,
    INDEX,
    PROVEN,
    altered,
    built,
    provenance,
)
from tests.unit.trust.scenario import (
    ALICE,
    ALICE_TOO,
    BOB,
    CI,
    COMMIT,
    DAY,
    DIGEST,
    IMAGE_TYPE,
    MALLORY,
    MANIFEST,
    NOW,
    RELEASER,
    REPOSITORY,
    Scenario,
    approved,
    manifest,
    policy,
    signed,
    with_key,
    with_rule,
)

GOOD = Scenario()


OTHER_DIGEST = digest_of(manifest("another"))


DEVNET = Scenario(envelopes=(signed(CI, track=Track.DEVNET),), track=Track.DEVNET)


MAINNET = Scenario(
    envelopes=(
        signed(track=Track.MAINNET),
        approved(ALICE, track=Track.MAINNET),
        approved(BOB, track=Track.MAINNET),
    ),
    track=Track.MAINNET,
)


@dataclass(frozen=True)
class Case:
    """A scenario that is refused, its twin that is not, and what the refusal says."""

    good: Scenario
    bad: Scenario
    reason: RefusalReason
    rule: str
    says: str = ""


REVOKED_NOW = {"revoked_at": NOW - timedelta(hours=1), "revocation": Revocation.AFTER}


Reason = RefusalReason


CASES: Mapping[str, Case] = {
    "unsigned": Case(GOOD, GOOD.but(envelopes=()), Reason.UNSIGNED, "tracks[testnet].signatures", "no signature"),
    "only approved": Case(GOOD, GOOD.but(envelopes=(approved(),)), Reason.UNSIGNED, "tracks[testnet].signatures"),
    "statement altered after signing": Case(
        GOOD,
        GOOD.but(envelopes=(altered(signed(), COMMIT, "0" * 40), approved())),
        Reason.BAD_SIGNATURE,
        "keys[release-2026].publicKey",
        "altered",
    ),
    "digest of a statement altered to that of the image": Case(
        GOOD,
        GOOD.but(envelopes=(altered(signed(digest=OTHER_DIGEST), OTHER_DIGEST, DIGEST), approved())),
        Reason.BAD_SIGNATURE,
        "keys[release-2026].publicKey",
    ),
    "manifest altered after signing": Case(
        GOOD, GOOD.reads(manifest=MANIFEST + b" "), Reason.REGISTRY_LIED, "format", "have the digest"
    ),
    "unknown key": Case(
        GOOD, GOOD.but(envelopes=(signed(MALLORY), approved())), Reason.UNKNOWN_KEY, "keys", "mallory-1"
    ),
    "another key under a known id": Case(
        GOOD,
        GOOD.but(envelopes=(altered(signed(MALLORY), "mallory-1", "alice-1"), approved())),
        Reason.MALFORMED,
        "tracks[testnet].signatures",
        "differ",
    ),
    "key not valid yet": Case(
        GOOD.but(policy=with_key(policy(), "release-2026", not_before=NOW - DAY)),
        GOOD.but(policy=with_key(policy(), "release-2026", not_before=NOW - DAY + timedelta(seconds=1))),
        Reason.KEY_OUTSIDE_WINDOW,
        "keys[release-2026].notBefore",
    ),
    "key not valid any more": Case(
        GOOD.but(policy=with_key(policy(), "release-2026", not_after=NOW - DAY)),
        GOOD.but(policy=with_key(policy(), "release-2026", not_after=NOW - DAY - timedelta(seconds=1))),
        Reason.KEY_OUTSIDE_WINDOW,
        "keys[release-2026].notAfter",
    ),
    "approver's key not valid any more": Case(
        GOOD.but(policy=with_key(policy(), "alice-1", not_after=NOW - DAY)),
        GOOD.but(policy=with_key(policy(), "alice-1", not_after=NOW - DAY - timedelta(seconds=1))),
        Reason.KEY_OUTSIDE_WINDOW,
        "keys[alice-1].notAfter",
    ),
    "key revoked, signed after": Case(
        GOOD.but(policy=with_key(policy(), "release-2026", **REVOKED_NOW)),
        GOOD.but(policy=with_key(policy(), "release-2026", **(REVOKED_NOW | {"revoked_at": NOW - DAY}))),
        Reason.KEY_REVOKED,
        "keys[release-2026].revokedAt",
    ),
    "key compromised, signed before": Case(
        GOOD.but(policy=with_key(policy(), "release-2026", **REVOKED_NOW)),
        GOOD.but(policy=with_key(policy(), "release-2026", **(REVOKED_NOW | {"revocation": Revocation.COMPROMISED}))),
        Reason.KEY_REVOKED,
        "keys[release-2026].revokedAt",
        "compromised",
    ),
    "approver's key compromised": Case(
        GOOD,
        GOOD.but(policy=with_key(policy(), "alice-1", revoked_at=NOW)),
        Reason.KEY_REVOKED,
        "keys[alice-1].revokedAt",
    ),
    "signed in the future": Case(
        GOOD.but(envelopes=(signed(now=NOW + timedelta(minutes=5)), approved())),
        GOOD.but(envelopes=(signed(now=NOW + timedelta(minutes=5, seconds=1)), approved())),
        Reason.FROM_THE_FUTURE,
        "tracks[testnet].signatures",
    ),
    "wrong track": Case(
        GOOD,
        GOOD.but(envelopes=(signed(track=Track.DEVNET), approved())),
        Reason.WRONG_TRACK,
        "tracks[testnet].signatures",
        "for devnet",
    ),
    "devnet image on mainnet": Case(
        MAINNET,
        MAINNET.but(envelopes=(signed(track=Track.DEVNET), *MAINNET.envelopes[1:])),
        Reason.WRONG_TRACK,
        "tracks[mainnet].signatures",
    ),
    "ci signs for testnet": Case(
        DEVNET,
        GOOD.but(envelopes=(signed(CI), approved())),
        Reason.WRONG_ROLE,
        "keys[ci-1].roles",
        "devnet only",
    ),
    "approver signs": Case(GOOD, GOOD.but(envelopes=(signed(BOB), approved())), Reason.WRONG_ROLE, "keys[bob-1].roles"),
    "signer approves": Case(
        GOOD, GOOD.but(envelopes=(signed(), approved(RELEASER))), Reason.WRONG_ROLE, "keys[release-2026].roles"
    ),
    "no approval": Case(
        GOOD, GOOD.but(envelopes=(signed(),)), Reason.TOO_FEW_APPROVALS, "tracks[testnet].approvals", "0 of 1 approvals"
    ),
    "too few approvals": Case(
        MAINNET,
        MAINNET.but(envelopes=MAINNET.envelopes[:2]),
        Reason.TOO_FEW_APPROVALS,
        "tracks[mainnet].approvals",
        "1 of 2 approvals",
    ),
    "one of two approvals is left over from testnet": Case(
        MAINNET,
        MAINNET.but(envelopes=(*MAINNET.envelopes[:2], approved(BOB, track=Track.TESTNET))),
        Reason.TOO_FEW_APPROVALS,
        "tracks[mainnet].approvals",
        "bob-1 signed is for testnet",
    ),
    "one approver twice with one key": Case(
        MAINNET,
        MAINNET.but(envelopes=(*MAINNET.envelopes[:2], approved(ALICE, track=Track.MAINNET, now=NOW))),
        Reason.SAME_APPROVER,
        "tracks[mainnet].approvals",
        "alice@example.com",
    ),
    "one approver twice with two keys": Case(
        MAINNET,
        MAINNET.but(envelopes=(*MAINNET.envelopes[:2], approved(ALICE_TOO, track=Track.MAINNET))),
        Reason.SAME_APPROVER,
        "tracks[mainnet].approvals",
        "alice-1, alice-2",
    ),
    "approver is signer": Case(
        GOOD.but(envelopes=(signed(ALICE_TOO), approved(BOB))),
        GOOD.but(envelopes=(signed(ALICE_TOO), approved(ALICE))),
        Reason.APPROVER_IS_SIGNER,
        "tracks[testnet].approvals",
        "alice@example.com",
    ),
    "approver pushed the devnet image": Case(
        GOOD.but(envelopes=(signed(), signed(ALICE_TOO, track=Track.DEVNET), approved(BOB))),
        GOOD.but(envelopes=(signed(), signed(ALICE_TOO, track=Track.DEVNET), approved(ALICE))),
        Reason.APPROVER_IS_SIGNER,
        "tracks[testnet].approvals",
    ),
    "approval of another digest": Case(
        GOOD,
        GOOD.but(envelopes=(signed(), approved(digest=OTHER_DIGEST))),
        Reason.WRONG_SUBJECT,
        "tracks[testnet].approvals",
        OTHER_DIGEST,
    ),
    "approval for another track": Case(
        GOOD,
        GOOD.but(envelopes=(signed(), approved(track=Track.MAINNET))),
        Reason.WRONG_TRACK,
        "tracks[testnet].approvals",
        "for mainnet",
    ),
    "approval for another release": Case(
        GOOD, GOOD.but(release="jil-1-5-0"), Reason.WRONG_RELEASE, "tracks[testnet].approvals", "jil-1-4-0"
    ),
    "approval for another repository": Case(
        GOOD,
        GOOD.but(envelopes=(signed(), approved(repository=REPOSITORY + "-fork"))),
        Reason.WRONG_REPOSITORY,
        "tracks[testnet].approvals",
    ),
    "approval expired": Case(
        GOOD.but(envelopes=(signed(), approved(expires=NOW + timedelta(seconds=1)))),
        GOOD.but(envelopes=(signed(), approved(expires=NOW))),
        Reason.APPROVAL_EXPIRED,
        "tracks[testnet].approvals",
        "expired at 2026-11-21T12:00:00Z",
    ),
    "signature of another digest": Case(
        GOOD,
        GOOD.but(envelopes=(signed(digest=OTHER_DIGEST), approved())),
        Reason.WRONG_SUBJECT,
        "tracks[testnet].signatures",
        OTHER_DIGEST,
    ),
    "signature for another repository": Case(
        GOOD,
        GOOD.but(envelopes=(signed(repository=REPOSITORY + "-fork"), approved())),
        Reason.WRONG_REPOSITORY,
        "tracks[testnet].signatures",
        "transfers-fork",
    ),
    "signature for another release": Case(
        GOOD.but(envelopes=(signed(release="jil-1-4-0"), approved())),
        GOOD.but(envelopes=(signed(release="jil-1-3-0"), approved())),
        Reason.WRONG_RELEASE,
        "tracks[testnet].signatures",
    ),
    "too few signatures": Case(
        GOOD.but(
            envelopes=(signed(), signed(ALICE_TOO), approved(BOB)),
            policy=with_rule(policy(), Track.TESTNET, signatures=2),
        ),
        GOOD.but(envelopes=(signed(), approved(BOB)), policy=with_rule(policy(), Track.TESTNET, signatures=2)),
        Reason.TOO_FEW_SIGNATURES,
        "tracks[testnet].signatures",
        "1 of 2 signatures",
    ),
    "signature too old": Case(
        GOOD.but(policy=with_rule(policy(), Track.TESTNET, max_age=DAY), now=NOW - timedelta(seconds=1)),
        GOOD.but(policy=with_rule(policy(), Track.TESTNET, max_age=DAY)),
        Reason.TOO_OLD,
        "tracks[testnet].maxAgeDays",
    ),
    "key kept in a file": Case(
        MAINNET,
        MAINNET.but(policy=with_key(policy(), "release-2026", custody=Custody.KMS)),
        Reason.WEAK_CUSTODY,
        "tracks[mainnet].custody",
        "kept in kms",
    ),
    "no provenance": Case(
        PROVEN, PROVEN.but(envelopes=PROVEN.envelopes[:2]), Reason.NO_PROVENANCE, "tracks[testnet].provenance"
    ),
    "provenance of another commit": Case(
        PROVEN,
        PROVEN.but(envelopes=built(provenance(commit="0" * 40))),
        Reason.NO_PROVENANCE,
        "tracks[testnet].provenance",
        "0000",
    ),
    "provenance of another digest": Case(
        PROVEN,
        PROVEN.but(envelopes=built(provenance(digest=OTHER_DIGEST))),
        Reason.NO_PROVENANCE,
        "tracks[testnet].provenance",
        "another digest",
    ),
    "provenance of another repository": Case(
        PROVEN,
        PROVEN.but(envelopes=built(provenance(repository="registry.example.com/jil/fork"))),
        Reason.NO_PROVENANCE,
        "tracks[testnet].provenance",
        "jil/fork",
    ),
    "provenance by a key that is no builder's": Case(
        PROVEN,
        PROVEN.but(envelopes=built(provenance(signer=RELEASER))),
        Reason.NO_PROVENANCE,
        "tracks[testnet].provenance",
    ),
    "provenance by a revoked builder": Case(
        PROVEN,
        PROVEN.but(policy=with_key(PROVEN.policy, "builder-1", revoked_at=NOW)),
        Reason.NO_PROVENANCE,
        "tracks[testnet].provenance",
        "revoked",
    ),
    "signer saw another provenance": Case(
        PROVEN,
        PROVEN.but(envelopes=built(provenance(), provenance_digest=OTHER_DIGEST)),
        Reason.NO_PROVENANCE,
        "tracks[testnet].provenance",
    ),
    "no rule for the track": Case(
        GOOD,
        GOOD.but(policy=replace(policy(), tracks=(policy().tracks[0],))),
        Reason.TRACK_NOT_CONFIGURED,
        "tracks[testnet]",
    ),
    "repository not allowed": Case(
        GOOD,
        GOOD.but(policy=policy(repositories=("registry.example.com/jil", "registry.example.com/jil/transfer"))),
        Reason.REPOSITORY_NOT_ALLOWED,
        "repositories",
    ),
    "repository not allowed on this track": Case(
        GOOD.but(policy=with_rule(policy(), Track.TESTNET, repositories=(REPOSITORY,))),
        GOOD.but(policy=with_rule(policy(), Track.TESTNET, repositories=("registry.example.com/hardened/",))),
        Reason.REPOSITORY_NOT_ALLOWED,
        "tracks[testnet].repositories",
    ),
    "evidence of another image": Case(
        GOOD, GOOD.but(repository="registry.example.com/jil/rates"), Reason.REGISTRY_LIED, "format"
    ),
    "media type of something else": Case(
        GOOD, GOOD.reads(media_type="application/json"), Reason.WRONG_MEDIA_TYPE, "format", "application/json"
    ),
    "index that the registry calls an image": Case(
        INDEX, INDEX.reads(media_type=IMAGE_TYPE), Reason.WRONG_MEDIA_TYPE, "format"
    ),
    "index whose child was swapped": Case(
        INDEX, INDEX.reads(children={digest_of(CHILD): FOREIGN}), Reason.MALFORMED, "format", "size"
    ),
    "index whose child was altered": Case(
        INDEX,
        INDEX.reads(children={digest_of(CHILD): CHILD.replace(b"amd64", b"amd65")}),
        Reason.REGISTRY_LIED,
        "format",
    ),
    "child that is not in the index": Case(
        INDEX,
        INDEX.reads(children={digest_of(CHILD): CHILD, digest_of(FOREIGN): FOREIGN}),
        Reason.REGISTRY_LIED,
        "format",
        "not in the index",
    ),
    "index without the platform": Case(
        INDEX, INDEX.but(platform="linux/s390x"), Reason.PLATFORM_MISSING, "format", "linux/arm64"
    ),
    "child of the platform was not read": Case(
        INDEX, INDEX.but(platform="linux/arm64"), Reason.PLATFORM_MISSING, "format"
    ),
    "manifest above 4 MiB": Case(
        GOOD, GOOD.reads(manifest=MANIFEST + b" " * (4 * 1024 * 1024)), Reason.TOO_LARGE, "limits"
    ),
    "10,000 envelopes": Case(
        GOOD,
        GOOD.but(envelopes=(*GOOD.envelopes, *([b"{}"] * 10_000))),
        Reason.TOO_MANY_SIGNATURES,
        "limits",
        "10002",
    ),
    "broken JSON": Case(
        GOOD, GOOD.but(envelopes=(signed()[:-1], approved())), Reason.MALFORMED, "tracks[testnet].signatures"
    ),
}
