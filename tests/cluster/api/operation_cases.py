"""Cases of the rules of JILOperation and JILImageAllowList."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cluster.api.case import UNSET, Case, image

_COMMAND = "a JILOperation is a command"


def operation_cases() -> Iterator[Case]:
    """Every refusal of both kinds."""
    kind, digest = "JILOperation", "spec/breakGlass/digest"
    for bad in ("INC 1", "-INC", "INC."):
        yield Case(kind, "spec.requestId", "requestId must be", {"spec/requestId": bad})
    for bad in ("sha256:ab", "sha512:" + "a" * 64, image("n")["image"][:71], "sha256:" + "AB" * 32):
        yield Case(kind, "spec.breakGlass.digest", "digest must be", {digest: bad})
    yield Case(kind, "spec", "an operation has exactly", {"spec/breakGlass": UNSET})
    fencing, volume = (
        {"node": "ch-zug-01", "podUID": "2f0c"},
        {
            "node": "ch-zug-01",
            "component": "cache",
            "claimUID": "2f0c",
        },
    )
    yield Case(kind, "spec", "type ConfirmFencing goes", {"spec/confirmFencing": fencing})
    yield Case(kind, "spec", "type AdoptVolume goes", {"spec/adoptVolume": volume})
    for fault in (
        {"spec/breakGlass/until": "2026-01-01T13:00:00Z"},
        {digest: "sha256:" + "cd" * 32},
        {"spec/requestedBy": "somebody"},
        {"spec/requestId": "INC-1235"},
        {"spec/reason": "another"},
    ):
        yield Case(kind, "", _COMMAND, fault, before={})

    allow_list = "JILImageAllowList"
    for bad_name in ("a.b", "a" * 64):
        yield Case(allow_list, "", "the name of an allow-list", {"metadata/name": bad_name})
