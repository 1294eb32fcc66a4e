"""The Secret with a node's login: what is written, and above all what is not."""

from __future__ import annotations

import base64
import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jil.api import kinds, labels
from jil.cluster.errors import NotOurs
from jil.cluster.login_key import LoginKey
from jil.cluster.pull_login import CONFIG, LoginOf, PullLogins
from jil.plan.pull_login import LoginTerms
from tests.unit.cluster.memory_api import NAMESPACE, FakeClock, MemoryApi
from tests.unit.cluster.test_login_key import pem

NAME = "ch-zug-01-pull"
REGISTRY = "registry.example:5000"
NODE = LoginOf("ch-zug-01", NAMESPACE, "uid-of-the-node", "CH-ZUG-01", "jil-devnet")


@dataclass
class Rig:
    api: MemoryApi
    clock: FakeClock
    key: Path
    logins: PullLogins

    async def ensure(self, whose: LoginOf = NODE) -> bool:
        """Whether a new login was made."""
        return (await self.logins.ensure(whose, self.clock.now())).written

    def secret(self, name: str = NAME) -> dict[str, Any]:
        return copy.deepcopy(self.api.live(kinds.SECRET, name))

    def pair(self, name: str = NAME) -> tuple[str, str]:
        config = json.loads(base64.b64decode(self.secret(name)["data"][CONFIG]))
        user, _, token = base64.b64decode(config["auths"][REGISTRY]["auth"]).decode().partition(":")
        return user, token

    async def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        secret = self.secret()
        change(secret)
        await self.api.replace(kinds.SECRET, secret)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    key = tmp_path / "issuer.pem"
    key.write_bytes(pem(Ed25519PrivateKey.generate()))
    api, ids = MemoryApi(), itertools.count(1)
    logins = PullLogins(api, LoginKey(key), LoginTerms(REGISTRY, 3600), make_id=lambda: f"id-{next(ids)}")
    return Rig(api, FakeClock(), key, logins)


async def test_the_secret_is_made_as_a_kubelet_reads_it(rig: Rig) -> None:
    assert await rig.ensure()
    secret = rig.secret()
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert list(secret["data"]) == [CONFIG]
    user, token = rig.pair()
    assert user == "node/CH-ZUG-01"
    assert len(token.split(".")) == 3
    meta = secret["metadata"]
    assert meta["labels"][labels.NODE] == "ch-zug-01"
    assert meta["labels"][labels.NODE_UID] == "uid-of-the-node"
    assert "jil.io/identity" not in meta["labels"], "it is no key: nothing guards it"
    owner = {"apiVersion": "jil.io/v1alpha1", "kind": "JILNode", "name": "ch-zug-01", "uid": "uid-of-the-node"}
    assert meta["ownerReferences"] == [owner]


async def test_a_young_login_is_left_alone_and_an_old_one_is_replaced_in_place(rig: Rig) -> None:
    await rig.ensure()
    first, writes = rig.secret(), rig.api.writes
    for _ in range(20):
        rig.clock.advance(100)
        assert not await rig.ensure()
    assert rig.api.writes == writes
    rig.clock.advance(401)
    assert await rig.ensure()
    second = rig.secret()
    assert rig.api.writes == writes + 1
    assert second["data"] != first["data"]
    assert second["metadata"]["uid"] == first["metadata"]["uid"], "kubelets know whose image it is by the Secret's UID"


async def test_two_nodes_have_two_logins(rig: Rig) -> None:
    await rig.ensure()
    await rig.ensure(replace(NODE, node="ch-zug-02", uid="u2", node_id="CH-ZUG-02"))
    assert rig.pair() != rig.pair("ch-zug-02-pull")
    assert rig.pair("ch-zug-02-pull")[0] == "node/CH-ZUG-02"


def _data(text: str) -> Callable[[dict[str, Any]], object]:
    return lambda secret: secret["data"].update({CONFIG: base64.b64encode(text.encode()).decode()})


def _claims(change: dict[str, object]) -> Callable[[dict[str, Any]], object]:
    """Other claims under the old signature."""

    def edit(secret: dict[str, Any]) -> None:
        config = json.loads(base64.b64decode(secret["data"][CONFIG]))
        user, _, token = base64.b64decode(config["auths"][REGISTRY]["auth"]).decode().partition(":")
        header, payload, signature = token.split(".")
        claims = {**json.loads(base64.urlsafe_b64decode(payload + "==")), **change}
        payload = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=").decode()
        pair = base64.b64encode(f"{user}:{header}.{payload}.{signature}".encode()).decode()
        _data(json.dumps({"auths": {REGISTRY: {"auth": pair}}}))(secret)

    return edit


FOREIGN: dict[str, Callable[[dict[str, Any]], object]] = {
    "no data": lambda secret: secret.pop("data"),
    "nothing": _data(""),
    "no JSON": _data("x"),
    "deep JSON": _data("[" * 100_000),
    "another registry": _data('{"auths": {"other.example": {"auth": "eDp5"}}}'),
    "a password": _data(f'{{"auths": {{"{REGISTRY}": {{"auth": "eDp5"}}}}}}'),
    "no base64": _data(f'{{"auths": {{"{REGISTRY}": {{"auth": "ä"}}}}}}'),
    "a list": _data('{"auths": []}'),
    "another login beside it": lambda secret: secret["data"].update({"other": "eA=="}),
    "a later end": _claims({"exp": 1900000000}),
    "another id": _claims({"jti": "x"}),
    "another node": _claims({"sub": "SG-MAS-01"}),
}


@pytest.mark.parametrize("what", FOREIGN)
async def test_what_somebody_else_put_into_it_is_put_right(rig: Rig, what: str) -> None:
    await rig.ensure()
    await rig.edit(FOREIGN[what])
    spoiled = rig.secret().get("data")
    assert await rig.ensure()
    assert rig.secret()["data"] != spoiled
    assert rig.pair()[0] == "node/CH-ZUG-01"
    assert not await rig.ensure()


async def test_labels_are_mended_without_a_new_login_and_those_of_others_stay(rig: Rig) -> None:
    await rig.ensure()
    before = rig.pair()

    def edit(secret: dict[str, Any]) -> None:
        secret["metadata"]["labels"] |= {labels.NODE: "other", "team": "a"}
        secret["metadata"]["annotations"] = {"note": "mine"}
        secret["metadata"]["ownerReferences"] = [{"kind": "ConfigMap", "name": "x", "uid": "y", "apiVersion": "v1"}]

    await rig.edit(edit)
    assert not await rig.ensure()
    meta = rig.secret()["metadata"]
    assert (meta["labels"][labels.NODE], meta["labels"]["team"], meta["annotations"]) == (
        "ch-zug-01",
        "a",
        {"note": "mine"},
    )
    assert [owner["kind"] for owner in meta["ownerReferences"]] == ["ConfigMap", "JILNode"]
    assert rig.pair() == before


async def test_a_node_that_was_applied_again_takes_its_secret_up(rig: Rig) -> None:
    await rig.ensure()
    again = replace(NODE, uid="another-uid")
    assert not await rig.ensure(again)
    meta = rig.secret()["metadata"]
    assert [owner["uid"] for owner in meta["ownerReferences"]] == ["another-uid"]
    assert meta["labels"][labels.NODE_UID] == "another-uid"


async def test_a_foreground_deletion_does_not_take_the_login_of_what_still_runs(rig: Rig) -> None:
    await rig.ensure()
    await rig.ensure(replace(NODE, owned=False))
    assert "ownerReferences" not in rig.secret()["metadata"]


async def test_a_new_key_means_a_new_login(rig: Rig) -> None:
    await rig.ensure()
    rig.key.write_bytes(pem(Ed25519PrivateKey.generate()) + b"\n")
    assert await rig.ensure()
    assert not await rig.ensure()


async def test_other_terms_mean_a_new_login(rig: Rig) -> None:
    await rig.ensure()
    rig.logins.terms = LoginTerms(REGISTRY, 600)
    assert await rig.ensure()
    assert not await rig.ensure()


@pytest.mark.parametrize(
    "foreign",
    [
        {"type": "kubernetes.io/dockerconfigjson"},
        {"type": "Opaque", "metadata": {"labels": {labels.APP_MANAGED_BY: "jil-operator", "jil.io/identity": "true"}}},
        {
            "type": "Opaque",
            "metadata": {"labels": {labels.APP_MANAGED_BY: "jil-operator", labels.APP_NAME: "pull-login"}},
        },
    ],
    ids=["a person's", "a key", "of another type"],
)
async def test_i5_a_secret_of_that_name_that_is_no_login_of_ours_is_never_touched(
    rig: Rig, foreign: dict[str, Any]
) -> None:
    rig.api.put(kinds.SECRET, NAME, data={"a": "Yg=="}, **copy.deepcopy(foreign))
    before, writes = rig.secret(), rig.api.writes
    with pytest.raises(NotOurs):
        await rig.ensure()
    assert (rig.secret(), rig.api.writes) == (before, writes)


async def test_a_secret_that_appears_between_the_look_and_the_post_is_looked_at(rig: Rig) -> None:
    """The API server answers 409 to the POST: another leader made it, or a person did."""
    rig.api.put(kinds.SECRET, NAME, data={"a": "Yg=="}, type="Opaque")
    before = rig.secret()
    real, asked = rig.api.get, itertools.count()

    async def get(kind: kinds.Kind, name: str, namespace: str | None = None) -> dict[str, Any]:
        return await real(kind, "nothing" if next(asked) == 0 else name, namespace)

    rig.api.get = get  # type: ignore[method-assign]
    with pytest.raises(NotOurs):
        await rig.ensure()
    assert rig.secret() == before
