"""Cases of the rules of JILNetwork.spec.trust."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cluster.api.case import DIGEST, ED25519_A, ED25519_B, P256_A, TRUST, UNSET, Case, trust_key

NETWORK = "JILNetwork"
POLICY, KEYS, TRACKS = "spec.trust", "spec.trust.keys[]", "spec.trust.tracks[]"
KEY = "spec/trust/keys/0/"
CONTEXT = {"spec/trust": TRUST}
CI = trust_key("ci", "ci@example.com", ED25519_B, "ci")
WITH_CI = {"spec/trust": {**TRUST, "keys": [*TRUST["keys"], CI]}}
#: Cyrillic e: for people the same id.
LOOK_ALIKE = "rel\u0435ase-2026"


def cases() -> Iterator[Case]:
    """Every refusal of a trust policy."""
    yield from _formats()
    yield from _keys()
    yield from _tracks()
    yield from _transitions()


def _formats() -> Iterator[Case]:
    for bad in ("Release", "release 2026", "-a", LOOK_ALIKE):
        yield Case(NETWORK, f"{KEYS}.id", "id of a key must", {KEY + "id": bad}, CONTEXT)
    for bad in ("Alice@example.com", "alice smith", "alice@"):
        yield Case(NETWORK, f"{KEYS}.owner", "owner must be", {KEY + "owner": bad}, CONTEXT)
    two = ED25519_A + ED25519_B
    for bad in (two, f"{ED25519_A} ", ED25519_A.replace("=", "!"), ED25519_A.rstrip("-\n")):
        yield Case(NETWORK, f"{KEYS}.publicKey", "publicKey must be one", {KEY + "publicKey": bad}, CONTEXT)
    for where, path in (
        ("spec/trust/repositories", "spec.trust.repositories[]"),
        ("spec/trust/tracks/0/repositories", f"{TRACKS}.repositories[]"),
    ):
        twin = {**CONTEXT, where: ["registry.example.com/jil"]}
        for bad in (
            "registry.example.com",
            "registry.example.com/JIL",
            "registry.example.com/jil:1.0",
            f"registry.example.com/jil@{DIGEST}",
            "https://registry.example.com/jil",
            "registry.example.com/jil//",
        ):
            yield Case(NETWORK, path, "a repository must be", {f"{where}/0": bad}, twin)


def _keys() -> Iterator[Case]:
    for number, name, algorithm in ((0, "release-2026", "ECDSA-P256"), (1, "ops-lead", "Ed25519")):
        yield Case(
            NETWORK,
            KEYS,
            "publicKey is not a key",
            {f"spec/trust/keys/{number}/algorithm": algorithm},
            CONTEXT,
            says=f"publicKey of key {name} is not a key of algorithm {algorithm}: correct one of the two.",
        )
    yield Case(
        NETWORK,
        KEYS,
        "the window of a key",
        {KEY + "notAfter": "2026-01-01T00:00:00Z"},
        {**CONTEXT, KEY + "notBefore": "2026-01-01T00:00:00Z"},
        says="the window of key release-2026 ends before it begins",
    )
    for role in ("signer", "approver"):
        yield Case(
            NETWORK,
            KEYS,
            "role ci is for",
            {"spec/trust/keys/3/roles": ["ci", role]},
            WITH_CI,
            says="key ci has role ci, which is for a pipeline that signs for devnet alone",
        )
    yield Case(NETWORK, POLICY, "two keys have the same", {"spec/trust/keys/2/publicKey": P256_A}, CONTEXT)


def _tracks() -> Iterator[Case]:
    yield Case(NETWORK, TRACKS, "track mainnet must", {"spec/trust/tracks/2/approvals": 1}, CONTEXT)
    yield Case(NETWORK, TRACKS, "track testnet must", {"spec/trust/tracks/1/approvals": 0}, CONTEXT)
    signatures = "a track asks for more signatures"
    yield Case(NETWORK, POLICY, signatures, {"spec/trust/tracks/0/signatures": 2}, CONTEXT)
    # A key of role ci signs for devnet, and for devnet only.
    two_for_devnet = {**WITH_CI, "spec/trust/tracks/0/signatures": 2}
    yield Case(NETWORK, POLICY, signatures, {"spec/trust/tracks/1/signatures": 2}, two_for_devnet)
    yield Case(NETWORK, POLICY, "a track asks for more approvals", {"spec/trust/tracks/2/approvals": 3}, CONTEXT)
    yield Case(NETWORK, POLICY, "a track asks for provenance", {"spec/trust/tracks/0/provenance": True}, CONTEXT)
    for track in ("testnet", "mainnet"):
        yield Case(
            NETWORK,
            "spec",
            "a network on track testnet or mainnet",
            {"spec/trust": UNSET},
            {**CONTEXT, "spec/track": track},
            says=f"a network on track {track} needs trust",
        )
    yield Case(
        NETWORK,
        "spec",
        "trust.tracks has no entry",
        {"spec/trust/tracks/0": UNSET},
        CONTEXT,
        says="trust.tracks has no entry for devnet, the track of this network",
    )


def _transitions() -> Iterator[Case]:
    yield Case(NETWORK, "spec", "trust cannot be taken away", {"spec/trust": UNSET}, CONTEXT, before={})
    changed_key = {KEY + "publicKey": ED25519_B}
    yield Case(NETWORK, f"{KEYS}.publicKey", "publicKey of a key cannot", changed_key, CONTEXT, before={})
    moment, later = (f"2026-02-0{day}T00:00:00Z" for day in (2, 3))
    for fault in ({KEY + "revokedAt": UNSET}, {KEY + "revokedAt": later}):
        yield Case(
            NETWORK,
            KEYS,
            "a revocation cannot be taken back",
            fault,
            CONTEXT,
            before={KEY + "revokedAt": moment},
            says="the revocation of key release-2026 cannot be taken back or moved to a later time",
        )
    yield Case(
        NETWORK,
        KEYS,
        "a key that was revoked as Compromised",
        {KEY + "revocation": "After"},
        CONTEXT,
        before={KEY + "revokedAt": moment, KEY + "revocation": "Compromised"},
        says="key release-2026 was revoked as Compromised and stays so",
    )
