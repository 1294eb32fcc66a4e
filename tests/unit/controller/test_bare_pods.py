"""Pods whose StatefulSet is gone (kubectl delete --cascade=orphan): they run, so they count."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.kinds import Kind
from jil.api.record import JILNodeRecord
from jil.cluster.grant import TargetRef
from jil.controller import node_facts
from jil.controller.deps import Deps
from jil.controller.node import NodeReconciler
from jil.controller.node_acts import NodeActs
from jil.controller.node_gate import ActSubject, FreeAct
from jil.controller.node_removal import NodeRemoval
from jil.engine.store import Store
from jil.plan.acts import Act
from jil.plan.lifecycle import POD, ActKind, LifecyclePlan
from jil.plan.lifecycle import Act as Step

SPACE, NAME = "jil-ch-finma", "ch-zug-01"


def _child(kind: Kind, name: str, component: str, **more: Any) -> dict[str, Any]:
    marks = labels.pod_labels(node=NAME, component=component, network="jil-devnet", jurisdiction="ch")
    meta = {"name": name, "namespace": SPACE, "uid": f"uid-{name}", "resourceVersion": "1", "labels": marks}
    return {**kind.head(name, SPACE), "metadata": meta, **more}


def _pod(component: str, name: str | None = None, *, controller: str | None = None, phase: str = "Running") -> Any:
    made = _child(kinds.POD, name or labels.pod_name(NAME, component), component, status={"phase": phase})
    if controller:
        made["metadata"]["ownerReferences"] = [{"kind": controller, "controller": True}]
    return made


def _store(*objects: tuple[Kind, dict[str, Any]]) -> Store:
    store = Store()
    for kind, obj in objects:
        store.put(kind, obj)
    return store


def _deps(store: Store, **more: Any) -> Deps:
    return cast(Deps, SimpleNamespace(store=store, **more))


def _subject() -> ActSubject:
    return ActSubject({"metadata": {"name": NAME}}, SPACE, NAME, "jil-devnet", None, cast(JILNodeRecord, None))


def test_i2_a_pod_without_a_workload_is_among_what_is_there() -> None:
    deps = _deps(_store((kinds.POD, _pod("validator"))))
    (found,) = node_facts.workloads(deps, SPACE, NAME, [])
    assert (found.name, found.kind, found.component, found.live_replicas) == (
        f"{NAME}-validator-0",
        POD,
        "validator",
        None,
    )
    assert found.pods[0].on_its_own


def test_i2_a_declared_statefulset_that_is_gone_still_has_its_pod() -> None:
    deps = _deps(_store((kinds.POD, _pod("validator"))))
    intent = _child(kinds.STATEFUL_SET, f"{NAME}-validator", "validator", spec={"replicas": 1})
    (found,) = node_facts.workloads(deps, SPACE, NAME, [intent])
    assert (found.kind, found.live_replicas, found.kept) == ("StatefulSet", None, 1)
    held = NodeReconciler._withhold({found.name: 1}, [found], (Reason.KEY_LOST, "no key"), frozenset())
    assert held == {found.name: 1}, "a hold never takes down what runs, by adoption neither"


@pytest.mark.parametrize(
    ("pod", "ours"),
    [
        (_pod("validator", f"{NAME}-validator-copy"), False),  # the gate knows one validator pod, by its name
        (_pod("rates", f"{NAME}-rates-x", controller="ReplicaSet"), False),
        (_pod("database"), True),
        (_pod("validator", phase="Failed"), True),
    ],
)
def test_i2_what_a_controller_would_make_again_or_the_gate_does_not_know_is_only_waited_for(
    pod: Any, ours: bool
) -> None:
    (found,) = node_facts.workloads(_deps(_store((kinds.POD, pod))), SPACE, NAME, [])
    assert found.pods[0].on_its_own is ours


def test_an_evicted_pod_of_a_service_holds_up_nothing() -> None:
    store = _store((kinds.POD, _pod("rates", f"{NAME}-rates-x", controller="ReplicaSet", phase="Failed")))
    assert node_facts.workloads(_deps(store), SPACE, NAME, []) == []


class _Acts:
    """Says what it was asked to remove."""

    def __init__(self) -> None:
        self.pruned: set[tuple[str, str]] = set()

    async def together(self, subject: ActSubject, acts: Sequence[FreeAct]) -> None:
        self.pruned |= {(one.kind.kind, one.name) for one in acts}


@pytest.mark.parametrize(("pod", "declared"), [(True, False), (True, True), (False, False)])
async def test_i2_what_belongs_to_a_validator_stays_while_its_pod_is_there(pod: bool, declared: bool) -> None:
    store = _store(
        (kinds.NETWORK_POLICY, _child(kinds.NETWORK_POLICY, f"{NAME}-p2p", "validator")),
        (kinds.POD_DISRUPTION_BUDGET, _child(kinds.POD_DISRUPTION_BUDGET, f"{NAME}-validator", "validator")),
        (kinds.NETWORK_POLICY, _child(kinds.NETWORK_POLICY, f"{NAME}-rates", "rates")),
    )
    if pod:
        store.put(kinds.POD, _pod("validator"))
    rendered = [_child(kinds.STATEFUL_SET, f"{NAME}-validator", "validator")] if declared else []
    acts = _Acts()
    await NodeRemoval(_deps(store), cast(NodeActs, acts)).prune(_subject(), rendered)
    assert ("NetworkPolicy", f"{NAME}-rates") in acts.pruned
    assert (("PodDisruptionBudget", f"{NAME}-validator") in acts.pruned) is (declared or not pod)


class _Gate:
    """A gate that refuses whatever would end the validator, and finds what the store has."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: list[tuple[Act, str, str]] = []

    def open(self, subject: ActSubject) -> list[dict[str, Any]]:
        return []

    async def target(self, kind: Kind, namespace: str, name: str) -> TargetRef | None:
        live = self._store.get(kind, namespace, name)
        return TargetRef(kind, namespace, name, live["metadata"]["uid"], "1") if live else None

    async def ask(self, subject: ActSubject, act: Act, target: TargetRef, component: str, reason: str) -> str:
        self.asked.append((act, target.name, component))
        return "not now"


async def test_i2_nothing_is_stopped_before_the_bare_validator_pod_may_go() -> None:
    store = _store((kinds.POD, _pod("validator")))
    acts, gate = NodeActs(_deps(store)), _Gate(store)
    acts._gate = cast(Any, gate)
    stop = Step(ActKind.SCALE_DOWN, f"{NAME}-rates", "Deployment", "rates")
    assert await acts.perform(_subject(), LifecyclePlan(acts=(stop,), needs_power_grant=True)) == "not now"
    end = Step(ActKind.DELETE_POD, f"{NAME}-validator-0", POD, "validator")
    assert await acts.perform(_subject(), LifecyclePlan(acts=(end,), needs_power_grant=True)) == "not now"
    assert gate.asked == [(Act.DELETE_POD, f"{NAME}-validator-0", "validator")] * 2
