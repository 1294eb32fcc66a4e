"""Order of starting and stopping, and the one act of a pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jil.api.labels import Component
from jil.plan.lifecycle import POD, ActKind, Goal, Workload, plan_lifecycle
from jil.plan.podview import PodView

INFRA = ("database", "cache", "broker", "validator")
SERVICES = ("rates", "transfers")


def pod(component: str, **changes: object) -> PodView:
    base = PodView(
        name=f"n-{component}-0",
        uid=f"uid-{component}",
        resource_version="1",
        component=component,
        kube_node="worker",
        phase="Running",
        ready=True,
        deleting=False,
        serving=component in SERVICES,
        permit=None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def workload(component: str, live: int | None = 1, *, pods: bool = True, declared: int = 1) -> Workload:
    kind = "StatefulSet" if component in INFRA else "Deployment"
    return Workload(
        f"n-{component}", kind, component, declared, live, (pod(component),) if pods and (live or 0) > 0 else ()
    )


def node(live: int | None = 1) -> list[Workload]:
    return [workload(c, live) for c in (*INFRA, "health", *SERVICES)]


def test_a_new_node_starts_its_foundation_and_holds_services_until_that_is_ready() -> None:
    plan = plan_lifecycle(Goal.RUNNING, node(live=None))
    assert {n for n, r in plan.replicas.items() if r > 0} == {f"n-{c}" for c in (*INFRA, "health")}
    assert plan.act is None
    assert not plan.done


def test_services_start_when_database_cache_and_broker_are_ready() -> None:
    workloads = [w if w.component in (*INFRA, "health") else workload(w.component, 0) for w in node()]
    plan = plan_lifecycle(Goal.RUNNING, workloads)
    assert plan.replicas["n-transfers"] == 1


def test_services_that_run_are_not_taken_down_because_the_database_restarts() -> None:
    workloads = [workload("database", 1, pods=False) if w.component == "database" else w for w in node()]
    assert plan_lifecycle(Goal.RUNNING, workloads).replicas["n-transfers"] == 1


def test_a_running_node_at_rest_has_nothing_to_do() -> None:
    plan = plan_lifecycle(Goal.RUNNING, node())
    assert plan.done
    assert plan.act is None
    assert plan.waiting is None


def _stop_sequence(goal: Goal) -> list[str]:
    """Drives the plan as the reconciler would, pods ending between two passes."""
    workloads = node()
    done: list[str] = []
    for _ in range(50):
        plan = plan_lifecycle(goal, workloads)
        if plan.done:
            return done
        assert plan.act is not None
        done += [f"{act.kind}:{act.target}" for act in plan.acts]
        targets = {act.target for act in plan.acts}
        if plan.act.kind is ActKind.SERVING_OFF:
            workloads = [
                replace(w, pods=tuple(replace(p, serving=False) if p.name in targets else p for p in w.pods))
                for w in workloads
            ]
        elif plan.act.kind is ActKind.SCALE_DOWN:
            workloads = [replace(w, live_replicas=0, pods=()) if w.name in targets else w for w in workloads]
        elif plan.act.kind is ActKind.DELETE_WORKLOAD:
            workloads = [replace(w, live_replicas=None) if w.name in targets else w for w in workloads]
    raise AssertionError(f"never done: {done}")


def test_stopping_goes_serving_off_services_health_validator_broker_cache_database() -> None:
    assert _stop_sequence(Goal.STOPPED) == [
        "ServingOff:n-rates-0",
        "ServingOff:n-transfers-0",
        "ScaleDown:n-rates",
        "ScaleDown:n-transfers",
        "ScaleDown:n-health",
        "ScaleDown:n-validator",
        "ScaleDown:n-broker",
        "ScaleDown:n-cache",
        "ScaleDown:n-database",
    ]


def test_ac_41_deletion_stops_in_the_same_order_and_removes_each_workload() -> None:
    sequence = _stop_sequence(Goal.DELETED)
    scaled = [s.split(":")[1] for s in sequence if s.startswith("ScaleDown")]
    removed = [s.split(":")[1] for s in sequence if s.startswith("DeleteWorkload")]
    assert scaled[-4:] == ["n-validator", "n-broker", "n-cache", "n-database"]
    assert removed[-4:] == ["n-validator", "n-broker", "n-cache", "n-database"]


def test_the_next_stage_waits_for_the_pods_of_the_one_before() -> None:
    workloads = [
        replace(w, live_replicas=0, pods=(pod(w.component, deleting=True, serving=False),))
        if w.component in SERVICES
        else w
        for w in node()
    ]
    plan = plan_lifecycle(Goal.STOPPED, workloads)
    assert plan.act is None
    assert plan.waiting is not None
    assert "n-rates-0" in plan.waiting


def test_the_validators_grant_is_needed_before_the_first_act_of_a_stop() -> None:
    assert plan_lifecycle(Goal.STOPPED, node()).needs_power_grant
    without = [w for w in node() if w.component != Component.VALIDATOR]
    assert not plan_lifecycle(Goal.STOPPED, without).needs_power_grant


def test_maintenance_takes_traffic_off_and_leaves_everything_running() -> None:
    plan = plan_lifecycle(Goal.MAINTENANCE, node())
    assert plan.act is not None
    assert plan.act.kind is ActKind.SERVING_OFF
    assert set(plan.replicas.values()) == {1}


def test_back_from_maintenance_traffic_returns() -> None:
    workloads = [
        replace(w, pods=tuple(replace(p, serving=False) for p in w.pods)) if w.component in SERVICES else w
        for w in node()
    ]
    plan = plan_lifecycle(Goal.RUNNING, workloads)
    assert plan.act is not None
    assert plan.act.kind is ActKind.SERVING_ON


@pytest.mark.parametrize("goal", list(Goal))
def test_i8_the_plan_depends_on_what_is_there_and_not_on_how_it_came_about(goal: Goal) -> None:
    for workloads in (node(), node(live=None), node(live=0)):
        assert plan_lifecycle(goal, workloads) == plan_lifecycle(goal, list(workloads))


def test_a_stopped_node_starts_again_from_the_database_up() -> None:
    plan = plan_lifecycle(Goal.RUNNING, node(live=0))
    assert plan.replicas["n-database"] == 1
    assert plan.replicas["n-transfers"] == 0


def test_what_the_release_no_longer_has_is_not_scaled_down_by_an_apply() -> None:
    plan = plan_lifecycle(Goal.RUNNING, [*node(), workload("old", 2, declared=0)])
    assert plan.replicas["n-old"] == 2
    assert plan.act is not None
    assert (plan.act.kind, plan.act.target) == (ActKind.SCALE_DOWN, "n-old")


def test_a_lowered_count_is_an_act_of_its_own_and_no_apply() -> None:
    workloads = [workload("rates", 3) if w.component == "rates" else w for w in node()]
    plan = plan_lifecycle(Goal.RUNNING, workloads)
    assert plan.replicas["n-rates"] == 3
    assert plan.act is not None
    assert (plan.act.kind, plan.act.target, plan.act.replicas) == (ActKind.SCALE_DOWN, "n-rates", 1)


@pytest.mark.parametrize("goal", [Goal.STOPPED, Goal.DELETED])
def test_i2_only_acts_of_one_kind_on_services_are_done_side_by_side(goal: Goal) -> None:
    workloads = [*node(), *(workload(f"svc-{n}") for n in range(200))]
    steps = 0
    for _ in range(40):
        plan = plan_lifecycle(goal, workloads)
        if plan.done:
            break
        steps += 1
        if len(plan.acts) > 1:
            assert len({act.kind for act in plan.acts}) == 1
            assert all(act.component not in (*INFRA, "health") for act in plan.acts)
        targets = {act.target for act in plan.acts}
        deleted = plan.act is not None and plan.act.kind is ActKind.DELETE_WORKLOAD
        workloads = [
            replace(w, live_replicas=None if deleted else 0, pods=()) if w.name in targets else w for w in workloads
        ]
        workloads = [
            replace(w, pods=tuple(replace(p, serving=p.serving and p.name not in targets) for p in w.pods))
            for w in workloads
        ]
    assert plan.done
    assert steps < 20, "two hundred services take no more steps than two"


def test_a_service_that_left_the_release_is_removed_once_nothing_of_it_runs() -> None:
    gone = replace(workload("old", 0, declared=0), wanted=False)
    plan = plan_lifecycle(Goal.RUNNING, [*node(), gone])
    assert [(act.kind, act.target) for act in plan.acts] == [(ActKind.DELETE_WORKLOAD, "n-old")]
    still = replace(gone, pods=(pod("old", deleting=True, serving=False),))
    assert plan_lifecycle(Goal.RUNNING, [*node(), still]).acts == ()


def test_a_service_that_an_override_sets_to_zero_is_not_removed() -> None:
    workloads = [*node(), workload("idle", 0, declared=0)]
    assert plan_lifecycle(Goal.RUNNING, workloads).acts == ()


def _alone(component: str, **changes: object) -> Workload:
    """A pod whose StatefulSet was deleted with --cascade=orphan."""
    base: dict[str, object] = {"on_its_own": True, "serving": False}
    left = pod(component, **{**base, **changes})
    return Workload(left.name, POD, component, 0, None, (left,), wanted=False)


@pytest.mark.parametrize("goal", [Goal.STOPPED, Goal.DELETED])
def test_i2_a_validator_pod_without_its_statefulset_is_still_there_and_asked_for_first(goal: Goal) -> None:
    rest = [workload(c) for c in ("database", "cache", "broker")]
    plan = plan_lifecycle(goal, [*rest, _alone("validator")])
    assert [(act.kind, act.target, act.target_kind) for act in plan.acts] == [
        (ActKind.DELETE_POD, "n-validator-0", "Pod")
    ]
    assert plan.needs_power_grant, "the database is not touched before it may go"
    ending = plan_lifecycle(goal, [*rest, _alone("validator", deleting=True)])
    assert (ending.act, ending.done, ending.stranded) == (None, False, False)
    assert ending.waiting == "pods to end: n-validator-0"


@pytest.mark.parametrize("goal", [Goal.STOPPED, Goal.DELETED])
@pytest.mark.parametrize("component", ["validator", "rates"])
def test_i2_nothing_is_done_while_a_pod_is_left_that_is_not_ours_to_delete(goal: Goal, component: str) -> None:
    plan = plan_lifecycle(goal, [_alone(component, on_its_own=False)])
    assert (plan.act, plan.done, plan.stranded) == (None, False, True)
    assert plan.needs_power_grant == (component == "validator")
    assert plan.waiting is not None
    assert f"n-{component}-0" in plan.waiting


@pytest.mark.parametrize("goal", list(Goal))
def test_i2_a_statefulset_that_is_made_anew_does_not_begin_by_ending_the_pod_it_adopts(goal: Goal) -> None:
    gone = replace(workload("validator", None), pods=(pod("validator"),))
    plan = plan_lifecycle(goal, [w if w.component != "validator" else gone for w in node()])
    assert plan.replicas["n-validator"] == 1
    assert not plan.done
