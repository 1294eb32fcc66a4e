"""The API server itself holds what a JILNodeRecord promises, whoever writes and however: the last line of defence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jil.api.kinds import JIL_NODE_RECORD
from jil.api.labels import FIELD_MANAGER
from testbed.apiclient import ApiError
from testbed.controlplane import ControlPlane
from tests.cluster.api.conftest import Manifest
from tests.cluster.api.rule_cases import BASES, KEY_A, KEY_B, PEER_A, PEER_B, UNSET, changed

KEYS = {
    "validator": {"publicKey": KEY_A, "address": "A" * 40, "fingerprint": "a" * 64},
    "node": {"peerId": PEER_A, "fingerprint": "b" * 64},
    "credentials": {"fingerprint": "c" * 64},
}
FULL = changed(
    BASES["JILNodeRecord"],
    {
        "spec/keys": KEYS,
        "spec/genesisHash": "d" * 64,
        "spec/bootstrapped": True,
        "spec/highestSignedHeight": 100,
    },
)

Write = Callable[..., Manifest]


@pytest.fixture(params=["apply", "replace", "merge patch"])
def write(
    request: pytest.FixtureRequest, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> Iterator[Write]:
    """``write(changes)`` brings the full record, with ``changes``, to the API server in one of three ways.

    With server-side apply of the full intent a field that is left out is removed: one forgotten line in the operator
    would be enough to lose a fact.
    """
    admin = control_plane.admin
    name = FULL["metadata"]["name"]
    path = JIL_NODE_RECORD.path(namespace=namespace, name=name)
    head = JIL_NODE_RECORD.head(name, namespace)
    admin.apply(path, {**head, "spec": FULL["spec"]}, manager=FIELD_MANAGER)

    def do(changes: dict[str, Any]) -> Manifest:
        wanted = changed(FULL, changes)["spec"]
        if request.param == "apply":
            return admin.apply(path, {**head, "spec": wanted}, manager=FIELD_MANAGER)
        if request.param == "replace":
            stored = admin.get(path)
            return admin.request("PUT", path, {**stored, "spec": wanted})
        gone = {name: None for name in FULL["spec"] if name not in wanted}
        keys = {name: None for name in KEYS if name not in wanted.get("keys", {})}
        return admin.merge(path, {"spec": {**wanted, **gone, "keys": {**wanted.get("keys", {}), **keys}}})

    yield do
    admin.delete(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec/keys/validator/publicKey": KEY_B},
        {"spec/keys/validator/fingerprint": "e" * 64},
        {"spec/keys/node/peerId": PEER_B},
        {"spec/keys/credentials/fingerprint": "e" * 64},
        {"spec/keys/validator": UNSET},
        {"spec/keys/node": UNSET},
        {"spec/keys/credentials": UNSET},
        {"spec/keys": UNSET},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_i5_recorded_key_can_be_neither_replaced_nor_forgotten(changes: dict[str, Any], write: Write) -> None:
    with pytest.raises(ApiError, match="is set once and can neither be changed nor removed"):
        write(changes)


@pytest.mark.parametrize("changes", [{"spec/bootstrapped": False}, {"spec/bootstrapped": UNSET}], ids=["false", "gone"])
def test_i1_second_permit_to_create_the_sign_state_cannot_become_possible(
    changes: dict[str, Any], write: Write
) -> None:
    with pytest.raises(ApiError, match="bootstrapped cannot go back"):
        write(changes)


@pytest.mark.parametrize("height", [99, 0, UNSET], ids=["lower", "zero", "gone"])
def test_i1_highest_signed_height_never_goes_back(height: Any, write: Write) -> None:
    with pytest.raises(ApiError, match="highestSignedHeight cannot go back"):
        write({"spec/highestSignedHeight": height})
    assert write({"spec/highestSignedHeight": 101})["spec"]["highestSignedHeight"] == 101


def test_i4_record_is_taken_over_by_the_node_that_is_applied_again(write: Write) -> None:
    stored = write({"spec/owner/uid": "another", "spec/releases": [], "spec/templateVersion": 2})
    assert stored["spec"]["owner"]["uid"] == "another"
    assert stored["spec"]["keys"] == KEYS


def test_second_claim_of_a_node_id_is_a_conflict(write: Write, control_plane: ControlPlane, namespace: str) -> None:
    """The name is the claim: POST decides who was first."""
    with pytest.raises(ApiError) as refusal:
        control_plane.admin.create(
            JIL_NODE_RECORD.path(namespace=namespace),
            {**JIL_NODE_RECORD.head("ch-zug-01", namespace), "spec": BASES["JILNodeRecord"]["spec"]},
        )
    assert refusal.value.code == 409
