"""Conditions and phase: computed from what was observed, never from what was hoped for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jil.api.conditions import NODE_CONDITIONS, ConditionType, Reason, true
from jil.plan.findings import CATCH_UP_LAG, NodeFacts, Verdict, component_rows, judge, refused
from jil.plan.health import ChainHealth, ComponentHealth, HealthReading
from jil.plan.lifecycle import Goal, Workload
from tests.unit.plan.test_lifecycle import node, pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def reading(**changes: object) -> HealthReading:
    good = ComponentHealth(ok=True, version="1")
    base = HealthReading(
        at=NOW,
        components={"database": good, "cache": good, "broker": good},
        chain=ChainHealth(ok=True, height=100, voting_power=10, version="0.38.26"),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def facts(**changes: object) -> NodeFacts:
    base = NodeFacts(
        goal=Goal.RUNNING,
        workloads=node(),
        health=reading(),
        network_height=100,
        identity=true(ConditionType.IDENTITY_READY, Reason.READY),
        storage=true(ConditionType.STORAGE_READY, Reason.READY),
        hold=None,
        now=NOW,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def reason(verdict: Verdict, type_: ConditionType) -> str:
    return next(f.reason.value for f in verdict.findings if f.type == type_)


def test_every_verdict_has_every_condition_exactly_once() -> None:
    verdict = judge(facts())
    # ImageTrust is judged before anything else is looked at, and not by this.
    elsewhere = (ConditionType.IMAGE_TRUST, ConditionType.PULL_LOGIN_READY)
    assert [f.type for f in verdict.findings] == [t for t in NODE_CONDITIONS if t not in elsewhere]


def test_a_node_of_which_everything_runs_is_ready() -> None:
    verdict = judge(facts())
    assert verdict.phase == "Ready"
    assert all(f.status == "True" for f in verdict.findings)


def test_a_ready_pod_whose_component_does_not_answer_is_not_ready() -> None:
    bad = {"database": ComponentHealth(ok=False, error="no answer"), "cache": ComponentHealth(ok=True)}
    verdict = judge(facts(health=reading(components=bad)))
    assert reason(verdict, ConditionType.DATABASE_READY) == "Unhealthy"
    assert verdict.phase == "Degraded"


def test_the_same_on_a_first_start_is_a_step_and_no_fault() -> None:
    bad = {"database": ComponentHealth(ok=False, error="no answer")}
    assert judge(facts(health=reading(components=bad), ran_before=False)).phase == "Provisioning"


def test_an_unreadable_health_endpoint_is_unknown_and_never_well() -> None:
    verdict = judge(facts(health=None))
    finding = next(f for f in verdict.findings if f.type == ConditionType.VALIDATOR_READY)
    assert finding.status == "Unknown"
    assert verdict.phase != "Ready"


def test_an_old_reading_says_nothing_about_now() -> None:
    verdict = judge(facts(health=reading(at=NOW - timedelta(minutes=5))))
    assert reason(verdict, ConditionType.VALIDATOR_READY) == "HealthUnreadable"


@pytest.mark.parametrize(
    ("height", "catching_up", "phase"),
    [
        (100, False, "Ready"),
        (100 - CATCH_UP_LAG, False, "Ready"),
        (100 - CATCH_UP_LAG - 1, False, "CatchingUp"),
        (100, True, "CatchingUp"),
    ],
)
def test_a_node_that_is_behind_its_network_is_catching_up(height: int, catching_up: bool, phase: str) -> None:
    chain = ChainHealth(ok=True, height=height, catching_up=catching_up)
    assert judge(facts(health=reading(chain=chain))).phase == phase


def test_a_hold_of_the_validator_is_told_with_its_reason() -> None:
    verdict = judge(facts(hold=(Reason.FENCING_UNCONFIRMED, "vanished")))
    assert reason(verdict, ConditionType.VALIDATOR_READY) == "FencingUnconfirmed"
    assert verdict.phase == "Degraded"


def test_trouble_of_a_pod_is_told_in_the_kubelets_words() -> None:
    broken = pod("broker", ready=False, trouble="ImagePullBackOff", trouble_message="not found")
    workloads = [replace(w, pods=(broken,)) if w.component == "broker" else w for w in node()]
    verdict = judge(facts(workloads=workloads))
    message = next(f.message for f in verdict.findings if f.type == ConditionType.BROKER_READY)
    assert "ImagePullBackOff" in message


def test_stopped_as_declared_is_healthy() -> None:
    gone = [replace(w, live_replicas=0, pods=(), declared=0) for w in node()]
    verdict = judge(facts(goal=Goal.STOPPED, workloads=gone, health=None))
    assert verdict.phase == "Stopped"
    assert verdict.findings[-1].status == "True"


def test_stopping_is_not_stopped_while_a_pod_is_there() -> None:
    leaving = [replace(w, live_replicas=0) for w in node()]
    assert judge(facts(goal=Goal.STOPPED, workloads=leaving)).phase == "Stopping"


def test_maintenance_is_healthy_without_serving() -> None:
    off = [replace(w, pods=tuple(replace(p, serving=False) for p in w.pods)) for w in node()]
    verdict = judge(facts(goal=Goal.MAINTENANCE, workloads=off))
    assert verdict.phase == "Maintenance"
    assert reason(verdict, ConditionType.SERVING) == "Maintenance"


def test_maintenance_is_not_reached_while_a_pod_takes_traffic() -> None:
    """Taking it off may meet a conflict, or a gate that says no: what status tells is what is."""
    verdict = judge(facts(goal=Goal.MAINTENANCE, workloads=node()))
    names = sorted(p.name for w in node() for p in w.pods if p.serving)
    assert names
    assert verdict.phase == "Ready"
    serving = next(f for f in verdict.findings if f.type is ConditionType.SERVING)
    assert serving.status == "True"
    for finding in (serving, verdict.findings[-1]):
        assert all(name in finding.message for name in names)


def test_a_refused_spec_says_one_thing() -> None:
    verdict = refused(Reason.RELEASE_NOT_FOUND, "apply it")
    assert verdict.phase == "Invalid"
    assert {f.reason for f in verdict.findings} == {Reason.RELEASE_NOT_FOUND}


def test_components_show_the_image_that_runs_and_the_version_they_report() -> None:
    workloads = [
        Workload("n-database", "StatefulSet", "database", 1, 1, (pod("database", image="repo@sha256:aa"),)),
        Workload("n-validator", "StatefulSet", "validator", 1, 1, ()),
    ]
    rows = component_rows(workloads, reading())
    assert rows[0] == {"name": "database", "ready": True, "image": "repo@sha256:aa", "version": "1"}
    assert rows[1] == {"name": "validator", "ready": False, "version": "0.38.26"}


def test_a_pod_on_a_lost_machine_is_unknown_and_named_with_its_machine() -> None:
    lost = pod("broker", ready=False, machine_lost="Kubernetes node m1 is not ready since T: silent")
    workloads = [replace(w, pods=(lost,)) if w.component == "broker" else w for w in node()]
    verdict = judge(facts(workloads=workloads))
    finding = next(f for f in verdict.findings if f.type == ConditionType.BROKER_READY)
    assert (finding.status, finding.reason) == ("Unknown", Reason.MACHINE_LOST)
    assert "m1" in finding.message
    assert verdict.phase == "Degraded"


def test_what_a_pod_on_its_way_waits_for_is_told() -> None:
    slow = pod("broker", ready=False, starting="container broker runs and has not passed its startup probe yet")
    workloads = [replace(w, pods=(slow,)) if w.component == "broker" else w for w in node()]
    finding = next(f for f in judge(facts(workloads=workloads)).findings if f.type == ConditionType.BROKER_READY)
    assert finding.reason is Reason.WAITING_FOR_POD
    assert "startup probe" in finding.message


def test_services_that_are_held_for_their_foundation_say_what_for() -> None:
    workloads = [
        replace(w, live_replicas=0, pods=())
        if w.is_service
        else w
        if w.component != "database"
        else replace(w, pods=())
        for w in node()
    ]
    verdict = judge(facts(workloads=workloads, ran_before=False))
    assert reason(verdict, ConditionType.SERVICES_READY) == "WaitingForDependency"
    message = next(f.message for f in verdict.findings if f.type is ConditionType.SERVICES_READY)
    assert "database, cache, broker are ready; not yet: database" in message
