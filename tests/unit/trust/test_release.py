"""A release is signed as a whole: whatever is added, removed or swapped afterwards ends its signatures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jil.api.release import ReleaseSpec
from jil.api.trust import Track
from jil.trust.decide import decide_release
from jil.trust.formats.release_manifest import manifest, manifest_digest
from jil.trust.policy import Custody, Policy, Revocation
from jil.trust.sign import approve_release, sign_release
from jil.trust.verdict import RefusalReason, Refused, Verified
from tests.unit.trust.scenario import (
    ALICE,
    ALICE_TOO,
    BOB,
    CI,
    DAY,
    MALLORY,
    NOW,
    RELEASE,
    RELEASER,
    approved,
    policy,
    signed,
    with_key,
    with_rule,
)


def image(name: str, digit: str = "1") -> dict[str, str]:
    """An image by digest."""
    return {"image": f"registry.example.com/jil/{name}@sha256:{digit * 64}"}


SPEC: dict[str, Any] = {
    "version": "1.4.0",
    "broker": {"flavour": "kafka"},
    "images": {name: image(name) for name in ("database", "cache", "broker", "validator", "health")},
    "services": [
        {"name": "transfers", "image": image("transfers"), "needs": ["database", "broker"]},
        {"name": "rates", "image": image("rates"), "command": ["rates"], "port": 8081},
    ],
}


def spec(change: Callable[[dict[str, Any]], Any] = lambda value: None) -> ReleaseSpec:
    """The release, changed in place."""
    import copy

    value = copy.deepcopy(SPEC)
    change(value)
    return ReleaseSpec.model_validate(value)


def sign(signer: Any = RELEASER, **changes: Any) -> str:
    """A signature of the release for testnet."""
    values: dict[str, Any] = {"name": RELEASE, "spec": spec(), "track": Track.TESTNET, "now": NOW - DAY}
    return sign_release(signer, **(values | changes)).decode()


def approve(signer: Any = ALICE, **changes: Any) -> str:
    """An approval of the release for testnet."""
    values: dict[str, Any] = {"name": RELEASE, "spec": spec(), "track": Track.TESTNET, "now": NOW - DAY}
    return approve_release(signer, **({"expires": NOW + DAY} | values | changes)).decode()


def decide(
    *envelopes: str, of: ReleaseSpec | None = None, by: Policy | None = None, track: Track = Track.TESTNET
) -> Verified | Refused:
    """The verdict."""
    return decide_release(RELEASE, of or spec(), envelopes or (sign(), approve()), by or policy(), track=track, now=NOW)


def refused(verdict: Verified | Refused) -> RefusalReason:
    """The reason; fails when it is admitted."""
    assert isinstance(verdict, Refused), verdict
    assert RELEASE in verdict.message
    assert f"jilctl release verify {RELEASE}" in verdict.message
    return verdict.reason


def test_a_signed_and_approved_release_is_admitted() -> None:
    verdict = decide()
    assert isinstance(verdict, Verified), verdict
    assert (verdict.keys, verdict.approvers) == (("release-2026",), ("alice@example.com",))
    assert verdict.digest == manifest_digest(RELEASE, spec())
    assert verdict.valid_until == NOW + DAY
    assert verdict.platforms == ()


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a service is added": lambda value: value["services"].append({"name": "evil", "image": image("evil")}),
    "a service is removed": lambda value: value["services"].pop(),
    "a service is renamed": lambda value: value["services"][0].update(name="transfer"),
    "a service's image is swapped": lambda value: value["services"][0].update(image=image("transfers", "2")),
    "two images change places": lambda value: value["images"].update(database=image("cache"), cache=image("database")),
    "a component's image is swapped": lambda value: value["images"].update(validator=image("validator", "2")),
    "a command is changed": lambda value: value["services"][1].update(command=["sh"]),
    "an argument is added": lambda value: value["services"][1].update(args=["--unsafe"]),
    "a need is added": lambda value: value["services"][1].update(needs=["chain"]),
    "a port is changed": lambda value: value["services"][1].update(port=8082),
    "replicas are changed": lambda value: value["services"][1].update(replicas=2),
    "resources are changed": lambda value: value["services"][1].update(resources={"cpu": "1"}),
    "a tag is changed": lambda value: value["images"]["cache"].update(tag="latest"),
    "the version is changed": lambda value: value.update(version="1.4.1"),
    "the broker's flavour is changed": lambda value: value.update(broker={"flavour": "redpanda"}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_ac_17_whatever_is_changed_in_a_release_ends_its_signatures(change: Callable[[dict[str, Any]], Any]) -> None:
    assert refused(decide(of=spec(change))) is RefusalReason.RELEASE_CHANGED


def test_order_and_envelopes_are_no_content_of_a_release() -> None:
    turned = spec(lambda value: value["services"].reverse())
    other_needs = spec(lambda value: value["services"][0]["needs"].reverse())
    carrying = spec(lambda value: value.update(envelopes=[sign()]))
    assert {manifest_digest(RELEASE, some) for some in (turned, other_needs, carrying)} == {
        manifest_digest(RELEASE, spec())
    }


def test_the_canonical_form_of_a_release_is_what_it_was() -> None:
    """Releases are signed for years: when this fails, a field was added that must be left out at its default."""
    assert manifest_digest(RELEASE, spec()) == GOLDEN, manifest(RELEASE, spec())


GOLDEN = "sha256:5138e249b5eddfbf5f167dd90f97c9e05b1c6ae37772948603f1116ec9fabd6a"

OTHER = {"name": "jil-1-3-0"}
Reason = RefusalReason
REFUSED: dict[str, tuple[Verified | Refused, RefusalReason, str]] = {
    "unsigned": (
        decide_release(RELEASE, spec(), (), policy(), track=Track.TESTNET, now=NOW),
        Reason.UNSIGNED,
        "tracks[testnet].signatures",
    ),
    "unknown key": (decide(sign(MALLORY), approve()), Reason.UNKNOWN_KEY, "keys"),
    "other release": (decide(sign(**OTHER), approve()), Reason.WRONG_RELEASE, "tracks[testnet].signatures"),
    "other track": (decide(sign(track=Track.DEVNET), approve()), Reason.WRONG_TRACK, "tracks[testnet].signatures"),
    "ci for testnet": (decide(sign(CI), approve()), Reason.WRONG_ROLE, "keys[ci-1].roles"),
    "no approval": (decide(sign()), Reason.TOO_FEW_APPROVALS, "tracks[testnet].approvals"),
    "approval of another release": (
        decide(sign(), approve(**OTHER)),
        Reason.WRONG_RELEASE,
        "tracks[testnet].approvals",
    ),
    "approval of another content": (
        decide(sign(), approve(spec=spec(CHANGES["a service is added"]))),
        Reason.RELEASE_CHANGED,
        "tracks[testnet].approvals",
    ),
    "approval for another track": (
        decide(sign(), approve(track=Track.MAINNET)),
        Reason.WRONG_TRACK,
        "tracks[testnet].approvals",
    ),
    "approval expired": (decide(sign(), approve(expires=NOW)), Reason.APPROVAL_EXPIRED, "tracks[testnet].approvals"),
    "approver is signer": (
        decide(sign(ALICE_TOO), approve(ALICE)),
        Reason.APPROVER_IS_SIGNER,
        "tracks[testnet].approvals",
    ),
    "approver without the role": (decide(sign(), approve(RELEASER)), Reason.WRONG_ROLE, "keys[release-2026].roles"),
    "one approver twice": (
        decide(
            sign(track=Track.MAINNET),
            approve(ALICE, track=Track.MAINNET),
            approve(ALICE_TOO, track=Track.MAINNET),
            track=Track.MAINNET,
        ),
        Reason.SAME_APPROVER,
        "tracks[mainnet].approvals",
    ),
    "key revoked": (
        decide(by=with_key(policy(), "release-2026", revoked_at=NOW, revocation=Revocation.COMPROMISED)),
        Reason.KEY_REVOKED,
        "keys[release-2026].revokedAt",
    ),
    "key in a file": (
        decide(
            by=with_key(with_rule(policy(), Track.TESTNET, custody=Custody.HSM), "release-2026", custody=Custody.KMS)
        ),
        Reason.WEAK_CUSTODY,
        "tracks[testnet].custody",
    ),
    "too old": (
        decide(by=with_rule(policy(), Track.TESTNET, max_age=DAY)),
        Reason.TOO_OLD,
        "tracks[testnet].maxAgeDays",
    ),
    "envelopes of an image": (
        decide(signed().decode(), approved().decode()),
        Reason.MALFORMED,
        "tracks[testnet].signatures",
    ),
    "no envelope at all": (decide("no envelope"), Reason.MALFORMED, "tracks[testnet].signatures"),
    "too many": (decide(*[sign()] * 513), Reason.TOO_MANY_SIGNATURES, "limits"),
    "no rule": (
        decide(by=Policy(policy().keys, policy().tracks[:1], ())),
        Reason.TRACK_NOT_CONFIGURED,
        "tracks[testnet]",
    ),
}


@pytest.mark.parametrize(("verdict", "reason", "rule"), REFUSED.values(), ids=REFUSED.keys())
def test_each_fault_of_a_release_is_refused(verdict: Verified | Refused, reason: RefusalReason, rule: str) -> None:
    assert refused(verdict) is reason
    assert isinstance(verdict, Refused)
    assert verdict.rule == rule


def test_promotion_adds_signatures_and_keeps_the_earlier_ones() -> None:
    devnet = sign(CI, track=Track.DEVNET)
    testnet = (sign(), approve())
    mainnet = (
        sign(track=Track.MAINNET),
        approve(ALICE, track=Track.MAINNET),
        approve(BOB, track=Track.MAINNET),
    )
    everything = (devnet, *testnet, *mainnet)
    for track in Track:
        assert isinstance(decide(*everything, track=track), Verified), track
    assert refused(decide(devnet, *testnet, track=Track.MAINNET)) is RefusalReason.WRONG_TRACK
