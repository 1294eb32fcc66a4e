"""What the API server makes of trust policies, envelopes, allow-lists and operations: limits, merging, columns, help."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from jil.api.definitions import definition
from jil.api.network import JILNetwork
from jil.api.release import JILRelease
from jil.api.trust import Track
from testbed.apiclient import ApiError
from testbed.controlplane import ControlPlane
from tests.cluster.api.case import BASES, DIGEST, ED25519_A, TRUST, UNSET, Manifest, changed, image, trust_key
from tests.cluster.api.conftest import collection

STRICT = "?fieldValidation=Strict"


def _body(kind: str, changes: Manifest | None = None) -> Manifest:
    return {"apiVersion": "jil.io/v1alpha1", "kind": kind, **changed(BASES[kind], changes or {})}


def _pem(number: int) -> str:
    # Not a point of the curve: the API server knows no curves.
    return ED25519_A.replace("XeR1TjPR9FLru1Hdrzd2YQkvmiSXkQwJWjpvpDAL0rI", f"{number:043}")


def test_policy_of_full_size_is_admitted_and_can_be_updated(
    control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    keys = [trust_key(f"key-{n:02}-{'x' * 50}", f"{'y' * 100}{n}", _pem(n), "signer", "approver") for n in range(64)]
    repositories = [f"registry.example.com/{'z' * 200}/{n}/" for n in range(64)]
    tracks = [{"track": t.value, "approvals": 16, "signatures": 8, "repositories": repositories} for t in Track]
    policy = {"keys": keys, "tracks": tracks, "repositories": repositories}
    path = collection(crds["JILNetwork"], namespace)
    body = _body("JILNetwork", {"metadata/name": "full-policy", "spec/trust": policy})
    stored = control_plane.admin.create(path + STRICT, body)
    try:
        moment = "2026-02-01T00:00:00Z"
        revoked = changed(stored, {"spec/trust/keys/63/revokedAt": moment})
        updated = control_plane.admin.request("PUT", f"{path}/full-policy", revoked)
        spec = JILNetwork.parse(updated).spec
        assert spec.trust is not None
        assert spec.trust.keys[63].revoked_at is not None
        twice = changed(updated, {"spec/trust/keys/63": {**keys[0], "id": "another"}})
        with pytest.raises(ApiError, match="two keys have the same publicKey"):
            control_plane.admin.request("PUT", f"{path}/full-policy", twice)
    finally:
        control_plane.admin.delete(f"{path}/full-policy")


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("JILNetwork", "spec/trust/keys", []),
        ("JILNetwork", "spec/trust/keys/0/roles", []),
        ("JILNetwork", "spec/trust/keys/0/roles", ["auditor"]),
        ("JILNetwork", "spec/trust/keys/0/algorithm", "RSA"),
        ("JILNetwork", "spec/trust/keys/0/id", "a" * 64),
        ("JILNetwork", "spec/trust/keys/0/notBefore", "yesterday"),
        ("JILNetwork", "spec/trust/tracks", []),
        ("JILNetwork", "spec/trust/tracks/0/approvals", 17),
        ("JILNetwork", "spec/trust/tracks/0/approvals", UNSET),
        ("JILNetwork", "spec/trust/tracks/0/signatures", 0),
        ("JILNetwork", "spec/trust/tracks/2/maxAgeDays", 0),
        ("JILNetwork", "spec/trust/repositories", []),
        ("JILRelease", "spec/envelopes", [f'{{"n":{n}}}' for n in range(33)]),
        ("JILRelease", "spec/envelopes", [""]),
        ("JILRelease", "spec/envelopes", ["x" * 131_073]),
        ("JILOperation", "spec/type", "Halt"),
        ("JILOperation", "spec/reason", ""),
        ("JILOperation", "spec/requestedBy", UNSET),
        ("JILOperation", "spec/breakGlass/until", "tomorrow"),
        ("JILImageAllowList", f"spec/digests/{DIGEST}/releases", []),
        ("JILImageAllowList", f"spec/digests/{DIGEST}/image", UNSET),
    ],
)
def test_value_out_of_bounds_is_refused_where_it_stands(
    kind: str, path: str, value: Any, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    context = {"spec/trust": TRUST} if kind == "JILNetwork" else {}
    base = _body(kind, context)
    where = collection(crds[kind], namespace) + f"{STRICT}&dryRun=All"
    control_plane.admin.create(where, base)
    with pytest.raises(ApiError) as refusal:
        control_plane.admin.create(where, changed(base, {path: value}))
    assert refusal.value.code == 422
    assert path.rpartition("/")[2] in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "path", "entries"),
    [
        ("JILNetwork", "spec/trust/keys", [*TRUST["keys"], {**TRUST["keys"][0], "owner": "other"}]),
        ("JILNetwork", "spec/trust/tracks", [*TRUST["tracks"], {"track": "devnet", "approvals": 3}]),
        ("JILNetwork", "spec/trust/repositories", ["registry.example.com/a", "registry.example.com/a"]),
        ("JILRelease", "spec/envelopes", ["{}", "{}"]),
    ],
)
def test_duplicate_entries_are_refused(
    kind: str, path: str, entries: list[Any], control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    context = {"spec/trust": TRUST} if kind == "JILNetwork" else {}
    with pytest.raises(ApiError, match="Duplicate value"):
        control_plane.admin.create(
            collection(crds[kind], namespace) + STRICT, changed(_body(kind, context), {path: entries})
        )


def test_two_people_add_their_envelopes_to_a_release_and_neither_erases_the_others(
    control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    admin, path = control_plane.admin, collection(crds["JILRelease"], namespace)
    admin.create(path + STRICT, _body("JILRelease", {"metadata/name": "signed", "spec/envelopes": ["[0]"]}))
    try:
        for manager in ("ops", "security"):
            body = _body("JILRelease", {"metadata/name": "signed", "spec/envelopes": [f'["{manager}"]']})
            stored = admin.apply(f"{path}/signed", body, manager=manager)
        assert JILRelease.parse(stored).spec.envelopes == ("[0]", '["ops"]', '["security"]')
        assert stored["metadata"]["generation"] == 3
    finally:
        admin.delete(f"{path}/signed")


def test_release_of_full_size_with_full_envelopes_can_be_signed_once_more(
    control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    services = [{"name": f"service-{n:03}", "image": image("node")} for n in range(250)]
    envelopes = [f"[{n}]" + " " * 30_000 for n in range(31)]
    path = collection(crds["JILRelease"], namespace)
    changes = {"metadata/name": "full-signed", "spec/services": services, "spec/envelopes": envelopes}
    stored = control_plane.admin.create(path + STRICT, _body("JILRelease", changes))
    try:
        more = changed(stored, {"spec/envelopes": [*envelopes, "[31]"]})
        assert len(control_plane.admin.request("PUT", f"{path}/full-signed", more)["spec"]["envelopes"]) == 32
    finally:
        control_plane.admin.delete(f"{path}/full-signed")


def test_one_image_has_a_verdict_for_each_network(
    control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    admin, path = control_plane.admin, collection(crds["JILRelease"], namespace)
    admin.create(path + STRICT, _body("JILRelease", {"metadata/name": "judged"}))
    verdicts = [
        {"network": network, "name": "cache", "image": image("cache")["image"], "verdict": verdict}
        for network, verdict in (("jil-devnet", "Verified"), ("jil-mainnet", "Refused"))
    ]
    try:
        stored = admin.merge(f"{path}/judged/status", {"status": {"images": verdicts}})
        assert [v.verdict for v in JILRelease.parse(stored).status.images] == ["Verified", "Refused"]
        with pytest.raises(ApiError, match="Duplicate value"):
            admin.merge(f"{path}/judged/status", {"status": {"images": [verdicts[0], verdicts[0]]}})
    finally:
        admin.delete(f"{path}/judged")


@pytest.mark.parametrize(
    ("short", "columns"),
    [
        ("jrel", "NAME VERSION BROKER TRUST MESSAGE AGE"),
        ("jop", "NAME TYPE REQUEST BY PHASE UNTIL REASON MESSAGE AGE"),
        ("jal", "NAME NETWORK POLICY AGE"),
    ],
)
def test_kubectl_get_shows_the_columns(
    short: str, columns: str, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    (kind,) = [kind for kind in crds if definition(kind).short_name == short]
    path = collection(crds[kind], namespace)
    name = control_plane.admin.create(path + STRICT, _body(kind))["metadata"]["name"]
    command = [str(control_plane.kubectl), "--kubeconfig", str(control_plane.kubeconfig)]
    try:
        shown = subprocess.run(
            [*command, "get", short, "-n", namespace, "-o", "wide"],
            check=True, capture_output=True, text=True, timeout=120,
        ).stdout  # fmt: skip
    finally:
        control_plane.admin.delete(f"{path}/{name}")
    assert " ".join(shown.splitlines()[0].split()) == columns
