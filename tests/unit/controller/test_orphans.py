"""Children whose JILNode is gone: how long they are left alone, and what is proof that it is gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.kinds import Kind
from jil.api.record import JILNodeRecord
from jil.cluster.errors import NotFound
from jil.controller import orphans
from jil.controller.deps import Deps
from jil.controller.node import NodeReconciler
from jil.controller.node_acts import NodeActs
from jil.controller.node_gate import ActSubject
from jil.controller.node_removal import NodeRemoval
from jil.controller.orphans import Orphans
from jil.controller.permits import PermitFor
from jil.controller.release_trust import ReleaseTrust
from jil.engine.queue import Key
from jil.engine.store import Store
from jil.plan.lifecycle import LifecyclePlan
from tests.cluster.api.case import BASES
from tests.unit.cluster.memory_api import FakeClock

SPACE, NAME, GRACE = "jil-ch-finma", "ch-zug-01", 60.0
KEY = Key(kinds.JIL_NODE.kind, SPACE, NAME)


class _Rig:
    """Services of a node that is gone, and the JILNode as the API server has it."""

    def __init__(self) -> None:
        self.store, self.clock, self.live = Store(), FakeClock(), cast("dict[str, Any] | None", None)
        self.steps, self.told, self._version = 0, 0, 10
        self.records, self.let_start = dict[str, dict[str, Any]](), list[str]()
        self.hold: tuple[Reason, str] | None = None
        self.refusal: str | None = None
        self.store.put(kinds.NAMESPACE, {"metadata": {"name": SPACE, "uid": "space", "resourceVersion": "1"}})
        marks = {labels.NODE: NAME, labels.NETWORK: "jil-devnet", labels.APP_NAME: "rates"}
        meta = {"name": f"{NAME}-rates", "namespace": SPACE, "uid": "s", "resourceVersion": "2", "labels": marks}
        self.store.put(kinds.SERVICE, {"metadata": meta})
        deps = SimpleNamespace(
            store=self.store,
            clock=self.clock,
            client=self,
            events=self,
            records=self,
            orphan_grace=GRACE,
            system_namespace="jil-system",
            cluster_uid=BASES["JILNodeRecord"]["spec"]["clusterUID"],
            health=SimpleNamespace(forget=lambda node: None),
        )
        self.deps = cast(Deps, deps)
        self.orphans = Orphans(self.deps, cast(NodeActs, self), cast(NodeRemoval, self), self.permit)

    async def read(self, node_id: str) -> JILNodeRecord | None:
        raw = self.records.get(node_id)
        return JILNodeRecord.parse(raw) if raw else None

    async def permit(self, node: PermitFor, record: JILNodeRecord) -> tuple[JILNodeRecord, tuple[Reason, str] | None]:
        self.let_start.append(record.spec.node_id)
        return record, self.hold

    async def get(self, kind: Kind, name: str, namespace: str) -> dict[str, Any]:
        if self.live is None:
            raise NotFound("GET", "/x", status=404)
        return self.live

    def warning(self, *_: object, **__: object) -> None:
        self.told += 1

    async def perform(self, subject: ActSubject, plan: LifecyclePlan) -> str | None:
        self.steps += 1
        return self.refusal

    async def clear(self, subject: ActSubject) -> bool:
        return False

    def node(self) -> dict[str, Any]:
        self._version += 1
        meta = {"name": NAME, "namespace": SPACE, "uid": f"n{self._version}", "resourceVersion": str(self._version)}
        return {"metadata": meta, "spec": {}}


async def _taken_down(rig: _Rig) -> None:
    await rig.orphans(KEY)
    rig.clock.advance(GRACE)
    await rig.orphans(KEY)
    assert (rig.steps, rig.told) == (1, 1)


async def test_i2_a_node_that_came_back_and_is_lost_again_has_its_whole_grace_again() -> None:
    rig = _Rig()
    await _taken_down(rig)
    reconcile = NodeReconciler(rig.deps, cast(ReleaseTrust, None))
    reconcile.orphans = rig.orphans
    back = rig.node()
    rig.store.put(kinds.JIL_NODE, back)
    reconcile._status = cast(Any, SimpleNamespace(write=_nothing))
    await reconcile(KEY)
    rig.store.remove(kinds.JIL_NODE, back)
    rig.clock.advance(3600)
    result = await rig.orphans(KEY)
    assert (rig.steps, result.requeue_after) == (1, GRACE), "it may be applied again, as after the first loss"
    rig.clock.advance(GRACE)
    await rig.orphans(KEY)
    assert (rig.steps, rig.told) == (2, 2), "and it is told again"


async def _nothing(*_: object, **__: object) -> None:
    """A status that is of no interest here."""


async def test_i2_a_node_that_only_the_api_server_knows_is_not_gone() -> None:
    rig = _Rig()
    await rig.orphans(KEY)
    rig.clock.advance(GRACE)
    rig.live = rig.node()
    assert (await rig.orphans(KEY)).requeue_after == 0.0, "the store knows it now: the next pass is the node's"
    assert rig.steps == 0
    rig.store.remove(kinds.JIL_NODE, rig.live)
    rig.live = None
    assert (await rig.orphans(KEY)).requeue_after == GRACE


async def test_what_the_store_takes_for_old_news_is_not_asked_for_in_a_circle() -> None:
    rig = _Rig()
    rig.live = rig.node()
    rig.store.put(kinds.JIL_NODE, rig.live)
    rig.store.remove(kinds.JIL_NODE, rig.live)
    for _ in range(3):
        await rig.orphans(KEY)
        rig.clock.advance(GRACE)
        result = await rig.orphans(KEY)
        assert result.requeue_after is not None
        assert result.requeue_after >= orphans.WAIT_SECONDS
    assert rig.steps == 0


def _record(node_id: str, uid: str, *, permit: str | None = None, owner: str = NAME) -> dict[str, Any]:
    spec = {
        **BASES["JILNodeRecord"]["spec"],
        "nodeId": node_id,
        "network": f"network-of-{node_id.lower()}",
        "owner": {"namespace": SPACE, "name": owner, "uid": uid},
    }
    if permit is not None:
        pod = labels.pod_name(NAME, labels.Component.VALIDATOR)
        spec["permit"] = {"podUID": permit, "podName": pod, "mode": "require", "issuedAt": "2027-01-15T08:00:00Z"}
    meta = {"name": node_id.lower(), "namespace": "jil-system", "uid": f"r-{node_id}", "resourceVersion": "5"}
    return {"metadata": meta, "spec": spec}


@pytest.mark.parametrize(
    ("records", "pod", "uids", "expected"),
    [
        # Two records bear the name; the one whose JILNode the children were made for is meant, wherever it stands.
        ([_record("CH-AAA-01", "old"), _record("CH-BBB-01", "new")], None, ["new"], "CH-BBB-01"),
        ([_record("CH-AAA-01", "new"), _record("CH-BBB-01", "old")], None, ["new"], "CH-AAA-01"),
        # The pod that runs was let start by a record: its key is in that one, whoever has taken it over since.
        (
            [_record("CH-AAA-01", "new"), _record("CH-BBB-01", "x", permit="p1", owner="other")],
            "p1",
            ["new"],
            "CH-BBB-01",
        ),
        # A guess would be the address of another key, or that there is none.
        ([_record("CH-AAA-01", "a"), _record("CH-BBB-01", "b")], None, ["a", "b"], None),
        ([_record("CH-AAA-01", "old")], None, ["new"], None),
        ([_record("CH-AAA-01", "old")], None, [], None),
        ([_record("CH-AAA-01", "a", permit="p1"), _record("CH-BBB-01", "a", permit="p1")], "p1", ["a"], None),
    ],
)
def test_i2_the_record_is_the_one_that_let_the_pod_start_or_that_its_children_were_made_for(
    records: list[dict[str, Any]], pod: str | None, uids: list[str], expected: str | None
) -> None:
    rig = _Rig()
    for one in records:
        rig.store.put(kinds.JIL_NODE_RECORD, one)
    marks = {labels.NODE: NAME, labels.APP_NAME: "validator"}
    if pod is not None:
        name = labels.pod_name(NAME, labels.Component.VALIDATOR)
        meta = {"name": name, "namespace": SPACE, "uid": pod, "resourceVersion": "3", "labels": marks}
        rig.store.put(kinds.POD, {"metadata": meta})
    children = [{"metadata": {"name": f"c-{uid}", "labels": {**marks, labels.NODE_UID: uid}}} for uid in uids]
    children.append({"metadata": {"name": "pod", "labels": marks}})
    subject = rig.orphans._subject(SPACE, NAME, children)
    assert (subject.record.spec.node_id if subject.record else None) == expected
    if expected is None:
        assert subject.address is None, "not known, which is not: there never was a key"


@pytest.mark.parametrize("pod", [None, "p1"])
def test_the_unreadable_record_of_another_node_holds_up_no_orphan(pod: str | None) -> None:
    rig = _Rig()
    newer = _record("CH-BBB-01", "x", owner="other")
    newer["spec"]["volumes"] = "as a newer operator writes them"
    rig.store.put(kinds.JIL_NODE_RECORD, newer)
    rig.store.put(kinds.JIL_NODE_RECORD, _record("CH-AAA-01", "new", permit=pod))
    marks = {labels.NODE: NAME, labels.NODE_UID: "new"}
    subject = rig.orphans._subject(SPACE, NAME, [{"metadata": {"name": "c", "labels": marks}}])
    assert subject.record is not None
    assert subject.record.spec.node_id == "CH-AAA-01"


def _validator(rig: _Rig, made_for: str) -> None:
    """The StatefulSet of the orphaned validator, and the pod that was made anew after an eviction."""
    marks = {labels.NODE: NAME, labels.APP_NAME: "validator", labels.NODE_UID: made_for}
    meta = {"namespace": SPACE, "resourceVersion": "3", "labels": marks}
    workload = {**kinds.STATEFUL_SET.head(NAME, SPACE), "metadata": {**meta, "name": f"{NAME}-validator", "uid": "w"}}
    rig.store.put(kinds.STATEFUL_SET, {**workload, "spec": {"replicas": 1}, "status": {}})
    pod = {**meta, "name": labels.pod_name(NAME, labels.Component.VALIDATOR), "uid": "anew", "labels": {**marks}}
    del pod["labels"][labels.NODE_UID]
    rig.store.put(kinds.POD, {"metadata": pod, "spec": {}, "status": {}})


async def test_i2_i3_an_evicted_pod_is_let_start_while_its_removal_is_refused_and_before_it_is_asked_for() -> None:
    """Else an eviction would do to the network what the gate refuses to do."""
    rig = _Rig()
    _validator(rig, "gone")
    record = _record("CH-AAA-01", "gone", permit="before")
    rig.store.put(kinds.JIL_NODE_RECORD, record)
    rig.records["CH-AAA-01"] = record
    rig.refusal = "no validator can be spared now"
    await rig.orphans(KEY)
    assert (rig.let_start, rig.steps) == (["CH-AAA-01"], 0), "it may be applied again: nothing is taken down yet"
    rig.clock.advance(GRACE)
    await rig.orphans(KEY)
    assert (rig.let_start, rig.steps) == (["CH-AAA-01"] * 2, 1)


async def test_i1_a_record_that_another_jilnode_has_taken_over_lets_no_orphan_start() -> None:
    rig = _Rig()
    _validator(rig, "gone")
    rig.store.put(kinds.JIL_NODE_RECORD, _record("CH-AAA-01", "gone"))
    rig.records["CH-AAA-01"] = _record("CH-AAA-01", "another", owner="ch-zug-02")
    await rig.orphans(KEY)
    rig.records["CH-AAA-01"] = _record("CH-AAA-01", "another")
    await rig.orphans(KEY)
    rig.records.clear()
    await rig.orphans(KEY)
    assert rig.let_start == []


async def test_i1_what_was_restored_from_another_cluster_is_not_let_start_without_its_jilnode() -> None:
    """Children and records come before the JILNodes, and the validator may be running where the backup was made."""
    rig = _Rig()
    _validator(rig, "gone")
    record = _record("CH-AAA-01", "gone")
    rig.store.put(kinds.JIL_NODE_RECORD, record)
    rig.records["CH-AAA-01"] = {**record, "spec": {**record["spec"], "clusterUID": "of-another-cluster"}}
    await rig.orphans(KEY)
    assert rig.let_start == []
    rig.records["CH-AAA-01"] = record
    await rig.orphans(KEY)
    assert rig.let_start == ["CH-AAA-01"]


async def test_i1_an_orphan_that_has_to_wait_says_why_where_it_is_read() -> None:
    rig = _Rig()
    _validator(rig, "gone")
    rig.store.put(kinds.JIL_NODE_RECORD, _record("CH-AAA-01", "gone"))
    rig.records["CH-AAA-01"] = _record("CH-AAA-01", "gone")
    rig.hold = (Reason.FENCING_UNCONFIRMED, "the pod before vanished unseen")
    await rig.orphans(KEY)
    assert rig.told == 1
