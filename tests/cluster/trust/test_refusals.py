"""Refused images and releases through the real operator: condition, Event, and no workload; twins are admitted."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from jil.api.release import ReleaseSpec
from jil.api.trust import Track
from jil.trust.sign import approve_release, sign_release
from tests.cluster.trust.rig import (
    DAY,
    Attach,
    Image,
    Place,
    Rig,
    Seal,
    approved,
    good_image,
    good_release,
    now,
    signed,
    trust,
)
from tests.sim.world import JIL
from tests.unit.trust.scenario import ALICE, ALICE_TOO, BOB, CI, MALLORY, RELEASER
from tests.unit.trust.test_keys import pem

OTHER = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Side:
    """One of the two sides of a case."""

    attach: Attach = good_image
    seal: Seal = good_release
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    change: Any = lambda spec: None
    track: Track = Track.TESTNET


@dataclass(frozen=True)
class Case:
    """What is refused, why, and its twin (the plain good one unless the case has its own)."""

    bad: Side
    reason: str
    rule: str
    good: Side = Side()


def attach(*makers: Any) -> Side:
    """Only these envelopes are attached to the image."""
    return Side(attach=lambda image, release: [make(image, release) for make in makers])


def sign(signer: Any = RELEASER, **changes: Any) -> Any:
    """A signature."""
    return lambda image, release: signed(image, signer, **changes)


def approve(signer: Any = ALICE, **changes: Any) -> Any:
    """An approval of this release, or of what ``changes`` say."""
    return lambda image, release: approved(image, **({"release": release} | changes), signer=signer)


def altered(image: Image, release: str) -> bytes:
    """A signature of other bytes, its digest changed to that of the image."""
    value = json.loads(signed(image, digest=OTHER))
    payload = base64.b64decode(value["payload"]).replace(OTHER.encode(), image.digest.encode())
    return json.dumps(value | {"payload": base64.b64encode(payload).decode()}).encode()


def rewritten(maker: Any, change: Callable[[bytes], bytes]) -> Any:
    """The envelope of ``maker`` with other bytes as its signature."""

    def envelope(image: Image, release: str) -> bytes:
        value = json.loads(maker(image, release))
        signature = value["signatures"][0]
        signature["sig"] = base64.b64encode(change(base64.b64decode(signature["sig"]))).decode()
        return json.dumps(value).encode()

    return envelope


def not_reduced(signature: bytes) -> bytes:
    """The same Ed25519 signature with S + L in place of S: a scheme that does not check takes it for another one."""
    order = 2**252 + 27742317777372353535851937790883648493
    return signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")


def high(signature: bytes) -> bytes:
    """The same ECDSA signature with n - S in place of S: as good by mathematics, not the one form that is allowed."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, order - s)


def on_mainnet(*approvers: Any) -> Side:
    """Signed and approved for mainnet by these; the release itself is approved by two people."""
    track = Track.MAINNET

    def seal(name: str, spec: ReleaseSpec) -> list[bytes]:
        common: dict[str, Any] = {"name": name, "spec": spec, "track": track, "now": now() - DAY}
        approvals = [approve_release(who, expires=now() + DAY, **common) for who in (ALICE, BOB)]
        return [sign_release(RELEASER, **common), *approvals]

    made = attach(sign(track=track), *(approve(who, track=track) for who in approvers))
    return replace(made, seal=seal, track=track)


def fork(image: Image) -> str:
    """Another repository."""
    return image.repository + "-fork"


SOON, AGO = {"revokedAt": "2099-01-01T00:00:00Z"}, {"revokedAt": "2020-01-01T00:00:00Z"}
SIGNATURES, APPROVALS = "tracks[testnet].signatures", "tracks[testnet].approvals"
CASES: dict[str, Case] = {
    "unsigned": Case(attach(), "Unsigned", SIGNATURES),
    "bytes altered after signing": Case(attach(altered, approve()), "BadSignature", "keys[release-2026].publicKey"),
    "unknown key": Case(attach(sign(MALLORY), approve()), "UnknownKey", "keys"),
    "key outside its window": Case(
        Side(keys={"release_2026": {"notAfter": "2026-01-01T00:00:00Z"}}),
        "KeyOutsideWindow",
        "keys[release-2026].notAfter",
        Side(keys={"release_2026": {"notAfter": "2099-01-01T00:00:00Z"}}),
    ),
    "revoked key": Case(
        Side(keys={"release_2026": AGO | {"revocation": "After"}}),
        "KeyRevoked",
        "keys[release-2026].revokedAt",
        Side(keys={"release_2026": SOON | {"revocation": "After"}}),
    ),
    "wrong track": Case(attach(sign(track=Track.DEVNET), approve()), "WrongTrack", SIGNATURES),
    "pipeline signs for testnet": Case(attach(sign(CI), approve()), "WrongRole", "keys[ci-1].roles"),
    "too few approvals": Case(attach(sign()), "TooFewApprovals", APPROVALS),
    "approver is signer": Case(
        attach(sign(ALICE_TOO), approve(ALICE)),
        "ApproverIsSigner",
        APPROVALS,
        attach(sign(ALICE_TOO), approve(BOB)),
    ),
    "one approver twice": Case(
        on_mainnet(ALICE, ALICE_TOO), "SameApprover", "tracks[mainnet].approvals", on_mainnet(ALICE, BOB)
    ),
    "approval of another digest": Case(attach(sign(), approve(digest=OTHER)), "WrongSubject", APPROVALS),
    "approval for another track": Case(attach(sign(), approve(track=Track.MAINNET)), "WrongTrack", APPROVALS),
    "approval for another release": Case(attach(sign(), approve(release="other")), "WrongRelease", APPROVALS),
    "expired approval": Case(
        attach(sign(), approve(expires=now() - timedelta(minutes=1))), "ApprovalExpired", APPROVALS
    ),
    "signature for another repository": Case(
        attach(lambda image, release: signed(image, repository=fork(image)), approve()), "WrongRepository", SIGNATURES
    ),
    "malformed JSON": Case(attach(lambda image, release: signed(image)[:-1], approve()), "Malformed", SIGNATURES),
    "duplicate keys": Case(
        attach(lambda image, release: b'{"payload":"",' + signed(image)[1:], approve()), "Malformed", SIGNATURES
    ),
    "key id that looks alike": Case(
        attach(
            lambda image, release: signed(image).replace(b'"release-2026"', '"r\u0435lease-2026"'.encode()), approve()
        ),
        "Malformed",
        SIGNATURES,
    ),
    "base64 with a line break": Case(
        attach(lambda image, release: signed(image).replace(b'"sig":"', b'"sig":"\\n'), approve()),
        "Malformed",
        SIGNATURES,
    ),
    "Ed25519 signature that is not reduced": Case(
        attach(rewritten(sign(), not_reduced), approve()), "BadSignature", "keys[release-2026].publicKey"
    ),
    "ECDSA signature with the other S": Case(
        attach(rewritten(sign(ALICE_TOO), high), approve(BOB)),
        "BadSignature",
        "keys[alice-2].publicKey",
        attach(rewritten(sign(ALICE_TOO), bytes), approve(BOB)),
    ),
    "release unsigned": Case(Side(seal=lambda name, spec: []), "Unsigned", SIGNATURES),
    "release with a service added": Case(
        Side(
            change=lambda spec: spec.update(
                services=[{"name": "extra", "image": spec["images"]["cache"], "command": ["sh"]}]
            )
        ),
        "ReleaseChanged",
        SIGNATURES,
    ),
}
#: One of each kind; `make trust` does them all.
SAMPLE = (
    "unsigned",
    "bytes altered after signing",
    "revoked key",
    "approval for another release",
    "malformed JSON",
    "release with a service added",
)
NAMES = tuple(CASES) if os.environ.get("FULL") else SAMPLE


def make(rig: Rig, side: Side) -> Place:
    """The side's objects."""
    policy = trust(rig.registry, **side.keys)
    return rig.place(side.attach, side.seal, track=side.track.value, policy=policy, change=side.change)


@pytest.fixture(scope="module")
def places(trusted: Rig) -> dict[str, tuple[Place, Place]]:
    """Everything at once, so that the operator works on all of it while the first test still waits."""
    plain = make(trusted, Side())
    found = {}
    for name in NAMES:
        case = CASES[name]
        good = plain if case.good == Side() else make(trusted, case.good)
        found[name] = (good, make(trusted, case.bad))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_ac_17_refused_with_its_reason_and_nothing_is_created_beside_an_admitted_twin(
    trusted: Rig, places: dict[str, tuple[Place, Place]], name: str
) -> None:
    case, (good, bad) = CASES[name], places[name]
    trusted.until_refused(bad)
    assert trusted.reasons(bad.release) == {case.reason}
    message = trusted.world.condition(bad.namespace, bad.node, "ImageTrust")["message"]
    assert case.rule in message
    commands = (f"jilctl release verify {bad.release}", f"jilctl image inspect {bad.image.name}")
    assert any(command in message for command in commands), message
    assert trusted.workloads(bad.namespace) == []
    assert trusted.allow_list(bad.namespace).get("digests", {}) == {}
    trusted.world.until(
        lambda: any(note.startswith("ImageRefused") for note in trusted.events(bad.namespace, bad.node)),
        f"an Event about {bad.node}",
    )
    trusted.until_verified(good)
    assert good.image.digest in trusted.allow_list(good.namespace)["digests"]


#: The neutral point and a point of order 4: signatures that verify with any message can be made for such a key.
SMALL_ORDER = ("01" + "00" * 31, "00" * 32)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_i6_a_policy_with_a_small_order_key_admits_nothing_until_it_is_taken_out(trusted: Rig, point: str) -> None:
    good = trust(trusted.registry)
    entry = {"id": "weak-1", "algorithm": "Ed25519", "owner": "weak@example.com", "roles": ["signer"]}
    weak = entry | {"publicKey": pem(bytes.fromhex("302a300506032b6570032100" + point))}
    place = trusted.place(policy=good | {"keys": [*good["keys"], weak]})

    def told() -> bool:
        said = trusted.world.condition(place.namespace, place.node, "ImageTrust")
        return said.get("reason") == "TrustUnknown" and "weak-1" in said["message"]

    trusted.world.until(told, f"{place.node} to say that the policy cannot be used")
    assert trusted.workloads(place.namespace) == []
    # Its twin: the same network, the same images, without that key.
    trusted.world.api.merge(f"{JIL}/jilnetworks/{place.network}", {"spec": {"trust": {"keys": good["keys"]}}})
    trusted.until_verified(place)
