"""A node's login as its reconcile sees it: how often it is looked at, and what is told."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from jil.api import kinds, labels
from jil.api.conditions import Finding, Reason
from jil.api.node import JILNode
from jil.api.record import JILNodeRecord
from jil.cluster.errors import Conflict, Forbidden, Invalid, ServerUnavailable, TooManyRequests
from jil.controller.deps import Deps
from jil.controller.node_pull_login import AGAIN_SECONDS, NodePullLogin, nodes_by_login
from jil.engine.queue import Key
from jil.engine.settings import Settings
from jil.engine.store import Store
from tests.cluster.api.case import BASES
from tests.unit.cluster.memory_api import FakeClock, MemoryApi
from tests.unit.cluster.test_login_key import pem

SPACE, NAME = "jil-ch-finma", "ch-zug-01"
KEY = Key(kinds.JIL_NODE.kind, SPACE, NAME)
SECRET = f"{NAME}-pull"


@dataclass
class Rig:
    key: Path
    api: MemoryApi = field(default_factory=MemoryApi)
    clock: FakeClock = field(default_factory=FakeClock)
    told: list[str] = field(default_factory=list)
    reads: int = 0

    def warning(self, raw: object, reason: str, note: str, *, action: str) -> None:
        self.told.append(str(reason))

    def make(self, **more: Any) -> NodePullLogin:
        deps = SimpleNamespace(client=self, clock=self.clock, events=self)
        settings = Settings(node_login_registry="registry.example", node_login_key=str(self.key), **more)
        return NodePullLogin(cast(Deps, deps), settings)

    async def get(self, *call: Any) -> dict[str, Any]:
        self.reads += 1
        return await self.api.get(*call)

    async def create(self, *call: Any) -> dict[str, Any]:
        return await self.api.create(*call)

    async def replace(self, *call: Any) -> dict[str, Any]:
        return await self.api.replace(*call)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    (tmp_path / "issuer.pem").write_bytes(pem(Ed25519PrivateKey.generate()))
    return Rig(tmp_path / "issuer.pem")


def _node(**meta: Any) -> JILNode:
    raw = BASES["JILNode"]
    metadata = {"name": NAME, "namespace": SPACE, "uid": "u1", "resourceVersion": "1", **meta}
    return JILNode.parse({**raw, "metadata": metadata})


def _record() -> JILNodeRecord:
    raw = BASES["JILNodeRecord"]
    meta = {"name": NAME, "namespace": "jil-system", "uid": "r", "resourceVersion": "1"}
    return JILNodeRecord.parse({**raw, "metadata": meta})


async def _ensure(logins: NodePullLogin, **meta: Any) -> Finding:
    return await logins.ensure(_node(**meta), {}, _record())


async def test_a_node_at_rest_costs_no_write_and_one_read_in_five_minutes(rig: Rig) -> None:
    logins = rig.make()
    first = await _ensure(logins)
    assert (first.status, rig.reads, rig.api.writes) == ("True", 1, 1)
    for _ in range(30):  # half an hour, a look a minute
        rig.clock.advance(60)
        assert await _ensure(logins) == first
    assert (rig.reads, rig.api.writes) == (1 + 6, 1)


async def test_a_login_is_renewed_in_time_and_the_condition_says_nothing_of_it(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jil.audit")
    logins = rig.make()
    first, before = await _ensure(logins), rig.api.live(kinds.SECRET, SECRET)["data"]
    for _ in range(12):
        rig.clock.advance(logins.due_in(KEY) or 0)
        assert await _ensure(logins) == first, "the same words: no write of the status"
    assert rig.api.writes == 2
    assert rig.api.live(kinds.SECRET, SECRET)["data"] != before
    assert rig.told == [], "a renewal is no news"
    lines = [record.__dict__["audit"] for record in caplog.records if record.name == "jil.audit"]
    assert [line["action"] for line in lines] == ["pull_login.issued"] * 2
    assert {(line["nodeId"], line["registry"]) for line in lines} == {(_record().spec.node_id, "registry.example")}
    assert rig.api.live(kinds.SECRET, SECRET)["data"][".dockerconfigjson"] not in caplog.text


async def test_what_somebody_did_to_the_secret_is_seen_within_five_minutes(rig: Rig) -> None:
    logins = rig.make()
    await _ensure(logins)
    rig.api.remove(kinds.SECRET, SECRET)
    rig.clock.advance(299)
    await _ensure(logins)
    assert not rig.api.exists(kinds.SECRET, SECRET)
    rig.clock.advance(1)
    await _ensure(logins)
    assert rig.api.exists(kinds.SECRET, SECRET)


async def test_a_short_life_is_looked_at_ten_times(rig: Rig) -> None:
    logins = rig.make(node_login_lifetime=60)
    await _ensure(logins)
    assert logins.due_in(KEY) == 6.0


async def test_a_key_that_is_missing_is_told_with_the_remedy_and_mended_by_itself(rig: Rig) -> None:
    content = rig.key.read_bytes()
    rig.key.unlink()
    logins = rig.make()
    finding = await _ensure(logins)
    assert (finding.status, finding.reason) == ("False", Reason.LOGIN_KEY_UNREADABLE)
    assert "registries.nodeLogins.keySecret" in finding.message
    assert "Pods run on" in finding.message
    assert rig.told == ["LoginKeyUnreadable"]
    rig.key.write_bytes(content)
    rig.clock.advance(300)
    assert (await _ensure(logins)).status == "True"


async def test_a_key_that_breaks_leaves_the_login_that_is_there(rig: Rig) -> None:
    logins = rig.make()
    await _ensure(logins)
    before = rig.api.live(kinds.SECRET, SECRET)["data"]
    rig.key.write_bytes(b"")
    rig.clock.advance(3000)
    assert (await _ensure(logins)).status == "False"
    assert rig.api.live(kinds.SECRET, SECRET)["data"] == before


async def test_a_secret_of_somebody_else_is_left_and_told(rig: Rig) -> None:
    rig.api.put(kinds.SECRET, SECRET, type="Opaque", data={"a": "Yg=="})
    finding = await _ensure(rig.make())
    assert (finding.status, finding.reason) == ("False", Reason.NAME_TAKEN)
    assert f"kubectl delete secret -n {SPACE} {SECRET}" in finding.message
    assert rig.api.live(kinds.SECRET, SECRET)["data"] == {"a": "Yg=="}


@pytest.mark.parametrize("error", [Forbidden, Invalid])
async def test_a_write_that_the_api_server_refuses_ends_no_reconcile(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: type[Forbidden | Invalid]
) -> None:
    async def refuse(*_: object) -> None:
        raise error("POST", "/x", status=403, message="no")

    monkeypatch.setattr(rig.api, "create", refuse)
    finding = await _ensure(rig.make())
    assert (finding.status, finding.reason) == ("False", Reason.FORBIDDEN)


@pytest.mark.parametrize("error", [ServerUnavailable, TooManyRequests])
async def test_i3_secrets_that_cannot_be_written_just_now_hold_nothing_else_up_and_are_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: type[ServerUnavailable | TooManyRequests]
) -> None:
    """A webhook for Secrets that fails closed answers 500 for ever; permits and drains go on."""

    async def refuse(*_: object) -> None:
        raise error("POST", "/x", status=500, message="failed calling webhook")

    logins = rig.make()
    with monkeypatch.context() as away:
        away.setattr(rig.api, "create", refuse)
        finding = await _ensure(logins)
        assert (finding.status, finding.reason) == ("False", Reason.LOGIN_UNWRITTEN)
        assert "failed calling webhook" in finding.message
        due = logins.due_in(KEY)
        assert due is not None
        assert due <= AGAIN_SECONDS
    rig.clock.advance(AGAIN_SECONDS)
    assert (await _ensure(logins)).status == "True"


async def test_a_conflict_is_for_the_work_queue(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise Conflict("POST", "/x", status=409)

    monkeypatch.setattr(rig.api, "create", refuse)
    with pytest.raises(Conflict):
        await _ensure(rig.make())


async def test_a_pass_that_did_not_come_to_the_login_is_not_asked_again_at_once(rig: Rig) -> None:
    """An unreadable JILNode never gets there: with a date in the past it would turn in the queue for ever."""
    logins = rig.make()
    await _ensure(logins)
    rig.clock.advance(5000)
    assert logins.due_in(KEY) is None


async def test_a_forgotten_node_is_not_looked_after(rig: Rig) -> None:
    logins = rig.make()
    await _ensure(logins)
    logins.forget(KEY)
    assert logins.due_in(KEY) is None


async def test_a_foreground_deletion_takes_the_owner_off_at_once(rig: Rig) -> None:
    logins = rig.make()
    await _ensure(logins)
    assert rig.api.live(kinds.SECRET, SECRET)["metadata"]["ownerReferences"]
    await _ensure(logins, finalizers=["jil.io/node", "foregroundDeletion"])
    assert "ownerReferences" not in rig.api.live(kinds.SECRET, SECRET)["metadata"]


def test_nodes_are_counted_by_their_condition() -> None:
    store = Store()
    conditions = [
        [("True", "Ready")],
        [("True", "Ready")],
        [("False", "LoginKeyUnreadable")],
        [("True", "Disabled")],
        [("True", "Stopped")],
        [("Unknown", "NotReconciled")],
        [],
    ]
    for number, found in enumerate(conditions):
        rows = [{"type": "PullLoginReady", "status": status, "reason": reason} for status, reason in found]
        rows.append({"type": "Ready", "status": "False", "reason": "PodFailed"})
        meta = {"name": f"n{number}", "namespace": SPACE, "uid": str(number), "resourceVersion": "1"}
        store.put(kinds.JIL_NODE, {"metadata": meta, "status": {"conditions": rows}})
    assert nodes_by_login(store) == {"fresh": 2, "failed": 1}


async def test_without_a_registry_nothing_is_read_or_written(rig: Rig) -> None:
    deps = SimpleNamespace(client=rig, clock=rig.clock, events=rig)
    logins = NodePullLogin(cast(Deps, deps), Settings())
    finding = await _ensure(logins)
    assert (finding.status, finding.reason) == ("True", Reason.DISABLED)
    assert (rig.reads, rig.api.writes, logins.due_in(KEY)) == (0, 0, None)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"node_login_registry": "r.example"}, "need both"),
        ({"node_login_key": "/k"}, "need both"),
        ({"node_login_registry": "https://r.example", "node_login_key": "/k"}, "pattern"),
        ({"node_login_registry": "r.example/path", "node_login_key": "/k"}, "pattern"),
        ({"node_login_lifetime": 9}, "greater than or equal to 10"),
        (
            {"node_login_registry": "r.example", "node_login_key": "/k", "image_mirror": "m.example/jil"},
            "mirror's host",
        ),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_at_the_start(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings(**settings)


def test_a_login_at_the_mirror_is_a_login_where_pods_pull() -> None:
    made = Settings(node_login_registry="m.example:5000", node_login_key="/k", image_mirror="m.example:5000/jil")
    assert made.node_login_registry == "m.example:5000"
    assert labels.pull_secret(NAME) == SECRET
