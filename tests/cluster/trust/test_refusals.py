"""Refused images and releases through the real operator: condition, Event, and no workload; twins are admitted."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from jil.api.trust import Track
from tests.cluster.trust.rig import (
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
from tests.unit.trust.scenario import ALICE, ALICE_TOO, BOB, CI, MALLORY, RELEASER

OTHER = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Side:
    """One of the two sides of a case."""

    attach: Attach = good_image
    seal: Seal = good_release
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    change: Any = lambda spec: None
    manifest: dict[str, Any] = field(default_factory=dict)


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
    import base64
    import json

    value = json.loads(signed(image, digest=OTHER))
    payload = base64.b64decode(value["payload"]).replace(OTHER.encode(), image.digest.encode())
    return json.dumps(value | {"payload": base64.b64encode(payload).decode()}).encode()


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
    return rig.place(side.attach, side.seal, policy=trust(rig.registry, **side.keys), change=side.change)


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
        60,
    )
    trusted.until_verified(good)
    assert good.image.digest in trusted.allow_list(good.namespace)["digests"]
