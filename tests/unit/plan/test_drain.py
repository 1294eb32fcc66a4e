"""Which pods leave a Kubernetes node that is being emptied, and what they are told to wait for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jil.plan.acts import Act
from jil.plan.drain import LEAVING_TAINTS, leaving, plan_drain
from jil.plan.podview import PodView


def machine(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "machine-1"}, "spec": spec}


def pod(component: str, kube_node: str | None = "machine-1") -> PodView:
    return PodView(
        name=f"ch-zug-01-{component}-0",
        uid=f"uid-{component}",
        resource_version="7",
        component=component,
        kube_node=kube_node,
        phase="Running",
        ready=True,
        deleting=False,
        serving=False,
        permit=None,
    )


PODS = [pod(one) for one in ("database", "cache", "broker", "validator", "health", "transfers")]
CORDONED = machine(unschedulable=True)


def test_a_healthy_node_keeps_its_pods() -> None:
    assert leaving(machine()) is None
    assert plan_drain(machine(), PODS, {}) == ()


def test_a_cordoned_node_is_left_in_order_the_validator_first_and_the_database_last() -> None:
    acts = plan_drain(CORDONED, PODS, {})
    assert [one.pod.component for one in acts] == ["validator", "broker", "cache", "database"]
    assert {one.act for one in acts} == {Act.DRAIN}
    assert {one.reason for one in acts} == {"machine-1 is cordoned"}


def test_services_and_health_are_left_to_eviction() -> None:
    assert not {"health", "transfers"} & {one.pod.component for one in plan_drain(CORDONED, PODS, {})}


@pytest.mark.parametrize("key", LEAVING_TAINTS)
@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_a_taint_that_announces_the_nodes_end_is_a_drain(key: str, effect: str) -> None:
    assert len(plan_drain(machine(taints=[{"key": key, "effect": effect}]), PODS, {})) == 4


@pytest.mark.parametrize(
    "taint",
    [
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"},
        {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},
        {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"},
        {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"},
        {"key": "DeletionCandidateOfClusterAutoscaler", "effect": "PreferNoSchedule"},
        {"key": "karpenter.sh/disrupted", "effect": "PreferNoSchedule"},
        {"key": "dedicated", "value": "jil", "effect": "NoSchedule"},
    ],
)
def test_i2_a_broken_or_merely_disliked_node_is_not_a_drain(taint: dict[str, str]) -> None:
    assert plan_drain(machine(taints=[taint]), PODS, {}) == ()


def test_pods_elsewhere_or_already_ending_or_ended_are_left_alone() -> None:
    gone = [
        pod("validator", "machine-2"),
        pod("broker", None),
        replace(pod("cache"), deleting=True),
        replace(pod("database"), phase="Failed"),
    ]
    assert plan_drain(CORDONED, gone, {}) == ()


def test_the_wait_for_a_local_volume_is_said_with_the_command_that_ends_it() -> None:
    [act] = plan_drain(CORDONED, [pod("validator")], {"ch-zug-01-validator-0": "machine-1"})
    assert "stays Pending until machine-1 takes pods again" in act.returns
    assert "kubectl uncordon machine-1" in act.returns


def test_a_volume_that_moves_is_said_to_move() -> None:
    [act] = plan_drain(CORDONED, [pod("validator")], {})
    assert "moves with it" in act.returns
    [act] = plan_drain(CORDONED, [pod("validator")], {"ch-zug-01-validator-0": "machine-2"})
    assert "starts again on machine-2" in act.returns


def test_the_same_pods_give_the_same_plan_in_any_order() -> None:
    assert plan_drain(CORDONED, PODS, {}) == plan_drain(CORDONED, list(reversed(PODS)), {})
