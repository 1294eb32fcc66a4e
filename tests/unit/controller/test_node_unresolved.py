"""A node that cannot be resolved, or is gone: it is heard, let start and given back to all the same, for it may sign."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.api.node import JILNode
from jil.controller.app import expected_node_id
from jil.controller.deps import Deps
from jil.controller.finalizer import FINALIZER
from jil.controller.node import NodeReconciler
from jil.controller.permits import PermitFor
from jil.controller.release_trust import ReleaseTrust
from jil.engine.queue import Key
from jil.engine.store import Store
from jil.plan.lifecycle import Goal
from tests.cluster.api.case import BASES, changed

SPACE, NAME = "jil-ch-finma", "ch-zug-01"
KEY = Key(kinds.JIL_NODE.kind, SPACE, NAME)


class Health:
    """Who is polled."""

    def __init__(self) -> None:
        self.wanted: set[tuple[str, str]] = set()

    def watch(self, key: tuple[str, str]) -> None:
        self.wanted.add(key)

    def forget(self, key: tuple[str, str]) -> None:
        self.wanted.discard(key)


class Rig:
    """A reconciler that knows what is in its store; what it does to the world is written down in ``done``."""

    def __init__(self) -> None:
        self.store, self.health, self.done = Store(), Health(), list[tuple[str, Any]]()
        deps = SimpleNamespace(
            store=self.store, health=self.health, records=self, system_namespace="jil-system", orphan_grace=0.0
        )
        self.nodes = NodeReconciler(cast(Deps, deps), cast(ReleaseTrust, None))
        for part in ("_status", "_acts", "_volumes", "_permits"):
            setattr(self.nodes, part, self)
        self.record: Any = None

    def put(self, kind: Kind, name: str, **more: Any) -> None:
        marks = labels.pod_labels(node=NAME, component="health", network="jil-devnet", jurisdiction="ch")
        meta = {"name": name, "namespace": SPACE, "uid": f"uid-{name}", "resourceVersion": "1", "labels": marks}
        self.store.put(kind, {**kind.head(name, SPACE), "metadata": meta, **more})

    def declare(self, **changes: Any) -> dict[str, Any]:
        node = changed(
            BASES["JILNode"],
            {
                "metadata/name": NAME,
                "metadata/namespace": SPACE,
                "metadata/uid": "own",
                "metadata/resourceVersion": "1",
            },
        )
        node = changed(node, {path.replace("__", "/"): value for path, value in changes.items()})
        self.store.put(kinds.JIL_NODE, node)
        return node

    # -- the parts that would act --------------------------------------------------------------------------------------
    async def write(self, *args: Any, **more: Any) -> None:
        self.done.append(("status", args[2]))

    async def read(self, node_id: str) -> Any:
        return self.record

    async def note_end(self, record: Any) -> Any:
        return record

    async def validator_host(self, record: Any) -> None:
        return None

    async def ensure(self, ctx: PermitFor, record: Any, *, only_on: str | None) -> tuple[Any, None]:
        self.done.append(("permit", (ctx.namespace, ctx.name)))
        return record, None

    async def perform(self, subject: Any, plan: Any) -> str:
        return "no validator can be spared now"

    async def blocked(self, raw: Any, denial: str) -> None:
        self.done.append(("blocked", denial))

    async def settle(self, subject: Any, goal: Goal) -> None:
        self.done.append(("settle", goal))

    async def drain(self, subject: Any, only_on: Any) -> None:
        self.done.append(("drain", only_on))


@pytest.mark.parametrize("spec", [{"spec__state": "Nonsense"}, {"metadata__deletionTimestamp": "2026-01-01T00:00:00Z"}])
async def test_i2_a_node_that_no_pass_gets_through_is_heard_after_a_restart(spec: dict[str, Any]) -> None:
    """Not heard, it counts as away: one such node, and no other validator may stop."""
    rig = Rig()
    rig.declare(**spec)
    rig.put(kinds.SERVICE, f"{NAME}-health")
    await rig.nodes(KEY)
    assert rig.health.wanted == {(SPACE, NAME)}


async def test_i2_a_node_whose_jilnode_is_gone_is_heard_until_its_children_are_gone_too() -> None:
    rig = Rig()
    rig.put(kinds.SERVICE, f"{NAME}-health")
    await rig.nodes(KEY)
    assert rig.health.wanted == {(SPACE, NAME)}
    rig.store.remove(kinds.SERVICE, rig.store.list(kinds.SERVICE)[0])
    await rig.nodes(KEY)
    assert rig.health.wanted == set()


async def test_a_node_that_has_no_health_endpoint_yet_is_not_polled() -> None:
    rig = Rig()
    rig.declare(spec__state="Nonsense")
    await rig.nodes(KEY)
    assert rig.health.wanted == set()


@pytest.mark.parametrize("state", ["Running", "Maintenance", "Stopped"])
async def test_i2_a_node_with_a_fault_in_its_spec_is_drained_and_gives_its_grants_back(state: str) -> None:
    rig = Rig()
    raw = rig.declare(spec__state=state)
    owner = SimpleNamespace(uid="own")
    rig.record = SimpleNamespace(spec=SimpleNamespace(owner=owner, network="jil-devnet"))
    await rig.nodes._guard(JILNode.parse(raw), raw)
    assert rig.done == [("settle", Goal(state)), ("drain", {})]
    owner.uid = "another"
    rig.done.clear()
    await rig.nodes._guard(JILNode.parse(raw), raw)
    assert rig.done == [], "the record of another node is not this one's to act on"


@pytest.mark.parametrize(("owner", "replicas", "let"), [("own", 1, True), ("another", 1, False), ("own", 0, False)])
async def test_i2_a_validator_that_may_not_go_yet_is_let_start_again_while_its_deletion_waits(
    owner: str, replicas: int, let: bool
) -> None:
    """Evicted meanwhile, it would wait for a permit for ever, and with it everybody whose stop waits for its return."""
    rig = Rig()
    rig.declare(metadata__deletionTimestamp="2026-01-01T00:00:00Z", metadata__finalizers=[FINALIZER])
    rig.put(kinds.STATEFUL_SET, f"{NAME}-validator", spec={"replicas": replicas})
    rig.record = SimpleNamespace(spec=SimpleNamespace(owner=SimpleNamespace(uid=owner), network="jil-devnet"))
    await rig.nodes(KEY)
    permit = [("permit", (SPACE, NAME))] if let else []
    assert rig.done == [*permit, ("blocked", "no validator can be spared now")]


def test_who_answers_is_not_asked_of_a_jilnode_that_does_not_say() -> None:
    rig = Rig()
    assert expected_node_id(rig.store, (SPACE, NAME)) is None
    rig.declare(spec__nodeId="CH-ZUG-01")
    assert expected_node_id(rig.store, (SPACE, NAME)) == "CH-ZUG-01"
    node = rig.store.get(kinds.JIL_NODE, SPACE, NAME)
    assert node is not None
    rig.store.put(kinds.JIL_NODE, {**node, "spec": {}, "metadata": {**node["metadata"], "resourceVersion": "2"}})
    assert expected_node_id(rig.store, (SPACE, NAME)) is None
