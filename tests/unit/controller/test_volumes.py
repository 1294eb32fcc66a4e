"""Whose volume a claim is: nobody's yet, this node's, or that of another node that had the name before (I4)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.kinds import Kind
from jil.api.labels import Component
from jil.api.record import JILNodeRecord
from jil.cluster.errors import Conflict
from jil.controller.deps import Deps
from jil.controller.volumes import Volumes, VolumesOutcome
from jil.engine.store import Store
from tests.unit.render.samples import zurich

CTX = zurich()
CLAIM = labels.child_name(CTX.name, Component.CACHE)


class Rig:
    """Claims as they are in the cluster, records as the watch has them; ``applied``: what was written over a claim."""

    def __init__(self) -> None:
        self.store, self.live, self.applied = Store(), dict[str, dict[str, Any]](), list[str]()
        self.reads, self.refuses_versions = 0, False
        deps = SimpleNamespace(
            store=self.store, applier=self, records=self, find=self.find, system_namespace="jil-system"
        )
        self.volumes = Volumes(cast(Deps, deps))

    def claim(self, name: str, uid: str) -> None:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        self.live[name] = {"metadata": {"name": name, "namespace": CTX.namespace, "uid": uid}, "spec": spec}

    def record(self, node_id: str, volumes: dict[str, str]) -> JILNodeRecord:
        raw = {
            **kinds.JIL_NODE_RECORD.head(labels.record_name(node_id), "jil-system"),
            "spec": {
                "nodeId": node_id,
                "network": "jil-devnet",
                "owner": {"namespace": CTX.namespace, "name": CTX.name, "uid": f"uid-{node_id}"},
                "clusterUID": "cluster",
                "templateVersion": 1,
                "volumes": [{"component": component, "pvcUID": uid} for component, uid in volumes.items()],
            },
        }
        raw["metadata"] = {**cast("dict[str, Any]", raw["metadata"]), "uid": node_id, "resourceVersion": "1"}
        self.store.put(kinds.JIL_NODE_RECORD, raw)
        return JILNodeRecord.parse(raw)

    async def find(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        self.reads += 1
        return self.live.get(name)

    async def create(self, intent: dict[str, Any]) -> Any:
        if self.refuses_versions or intent["metadata"]["name"] in self.live:
            raise Conflict("PATCH", "/x", status=409)
        return await self.ensure(intent, None)

    async def ensure(self, intent: dict[str, Any], live: dict[str, Any] | None) -> Any:
        name = intent["metadata"]["name"]
        self.applied.append(name)
        if live is None:
            self.claim(name, f"new-{name}")
        return SimpleNamespace(object=self.live[name])

    async def change(self, record: JILNodeRecord, *, volumes: Any) -> JILNodeRecord:
        return record.model_copy(update={"spec": record.spec.model_copy(update={"volumes": volumes})})

    async def own(self, volumes: dict[str, str] | None = None) -> VolumesOutcome:
        return await self.volumes.ensure(CTX, self.record(CTX.node.node_id, volumes or {}))


async def test_i4_a_volume_that_is_kept_for_another_node_is_not_taken_by_one_that_has_its_name_now() -> None:
    rig = Rig()
    rig.claim(CLAIM, "kept")
    rig.record("CH-OLD-09", {"cache": "kept"})
    outcome = await rig.own()
    assert outcome.blocked == {Component.CACHE}
    assert outcome.record.spec.volume("cache") is None
    assert CLAIM not in rig.applied, "nor labelled as this node's"
    assert outcome.finding.reason is Reason.NAME_TAKEN
    for word in (CLAIM, "kept", "CH-OLD-09", "under another name"):
        assert word in outcome.finding.message


@pytest.mark.parametrize("recorded", [None, {"cache": "mine"}])
async def test_i4_a_claim_that_no_other_record_names_is_this_nodes(recorded: dict[str, str] | None) -> None:
    """Made by an operator that was killed before it wrote the record, or recorded as it should be."""
    rig = Rig()
    rig.claim(CLAIM, "mine")
    rig.record("CH-OLD-09", {"cache": "another"})
    outcome = await rig.own(recorded)
    assert outcome.blocked == frozenset()
    found = outcome.record.spec.volume("cache")
    assert found is not None
    assert found.pvc_uid == "mine"
    assert CLAIM in rig.applied


async def test_claims_of_a_new_node_are_made_without_being_looked_for() -> None:
    rig = Rig()
    outcome = await rig.own()
    assert rig.reads == 0
    assert {v.pvc_uid for v in outcome.record.spec.volumes} == {f"new-{name}" for name in rig.live}
    assert len(rig.live) == 4


async def test_claims_are_also_made_by_an_api_server_that_makes_nothing_under_a_version() -> None:
    rig = Rig()
    rig.refuses_versions = True
    assert len((await rig.own()).record.spec.volumes) == len(rig.live) == 4
