"""Statuses of simulated pods: the shapes that a real kubelet writes, at every moment of a failure and after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jil.plan.podview import pod_view
from tests.sim.fates import (
    CrashLoop,
    Fate,
    ImagePullFailure,
    InitFailure,
    Life,
    Ready,
    Report,
    SlowStart,
    Unschedulable,
    VolumeStuck,
    ended,
    essence,
    report,
)

T0 = datetime(2026, 11, 21, 12, tzinfo=UTC)


def pod(*, init: bool = False, bound: bool = True) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "database", "image": "r/db@sha256:ab"}]}
    if init:
        spec["initContainers"] = [{"name": "guard", "image": "r/v@sha256:cd"}]
    if bound:
        spec["nodeName"] = "sim-node-1"
    return {"metadata": {"name": "n-database-0", "namespace": "ns", "uid": "u", "labels": {}}, "spec": spec}


class Kubelet:
    """One pod's reports over time."""

    def __init__(self, body: dict[str, Any], fate: Fate, *, may_pass: bool = True) -> None:
        self.body, self.fate, self.may_pass = body, fate, may_pass
        self.life = Life(T0, T0)

    def at(self, seconds: float) -> Report:
        now = T0 + timedelta(seconds=seconds)
        return report(self.body, self.fate, self.life, now, may_pass=self.may_pass)

    def turn(self, fate: Fate, seconds: float) -> None:
        self.fate = fate
        self.life.turn(T0 + timedelta(seconds=seconds))


def conditions(found: Report) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c.get("reason", "")) for c in found.status["conditions"]}


def test_a_good_pod_is_ready_at_once_with_all_five_conditions() -> None:
    found = Kubelet(pod(), Ready()).at(0)
    assert found.status["phase"] == "Running"
    assert conditions(found) == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"), ("True", "")
    )
    assert found.running == {"database"}
    assert found.again_in is None


def test_a_crash_loop_runs_ends_and_is_backed_off_and_counts_its_restarts() -> None:
    kubelet = Kubelet(pod(), CrashLoop(exit_code=137, reason="OOMKilled", run_s=1, back_off_s=2))
    first = kubelet.at(0)
    assert "running" in first.status["containerStatuses"][0]["state"]
    assert conditions(first)["Ready"] == ("False", "ContainersNotReady")
    waiting = kubelet.at(1.5).status["containerStatuses"][0]
    assert waiting["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert (
        "back-off 10s restarting failed container=database pod=n-database-0_ns(u)"
        in (waiting["state"]["waiting"]["message"])
    )
    assert waiting["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert waiting["restartCount"] == 0
    again = kubelet.at(3.5).status["containerStatuses"][0]
    assert again["restartCount"] == 1
    assert again["lastState"]["terminated"]["exitCode"] == 137
    assert kubelet.at(5).status["phase"] == "Running", "a crash loop is phase Running"
    kubelet.turn(Ready(), 6)
    well = kubelet.at(6).status["containerStatuses"][0]
    assert (well["ready"], well["restartCount"]) == (True, 1), "what was counted stays counted"
    assert well["lastState"]["terminated"]["exitCode"] == 137


def test_an_image_that_does_not_come_alternates_between_the_error_and_the_back_off() -> None:
    kubelet = Kubelet(pod(), ImagePullFailure(attempt_s=1, back_off_s=2))
    words = [kubelet.at(s).status["containerStatuses"][0]["state"]["waiting"] for s in (0.5, 2, 3.5)]
    assert [w["reason"] for w in words] == ["ErrImagePull", "ImagePullBackOff", "ErrImagePull"]
    assert words[1]["message"].startswith('Back-off pulling image "r/db@sha256:ab": ErrImagePull:')
    found = kubelet.at(2)
    assert found.status["phase"] == "Pending"
    assert found.status["containerStatuses"][0]["imageID"] == ""
    assert found.running == frozenset()


def test_a_failing_init_container_keeps_the_main_one_waiting() -> None:
    kubelet = Kubelet(pod(init=True), InitFailure(run_s=1, back_off_s=2))
    found = kubelet.at(2)
    assert found.status["initContainerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert found.status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    assert conditions(found)["Initialized"] == ("False", "ContainersNotInitialized")
    assert found.status["phase"] == "Pending"
    kubelet.turn(Ready(), 3)
    assert conditions(kubelet.at(3))["Ready"] == ("True", "")


def test_a_guard_waits_for_its_permit_and_is_not_run_again_after_it_passed() -> None:
    kubelet = Kubelet(pod(init=True), Ready(), may_pass=False)
    waiting = kubelet.at(0)
    assert "running" in waiting.status["initContainerStatuses"][0]["state"]
    assert waiting.running == {"guard"}
    kubelet.may_pass = True
    assert conditions(kubelet.at(1))["Ready"] == ("True", "")
    kubelet.may_pass = False
    assert conditions(kubelet.at(2))["Ready"] == ("True", "")


def test_a_pod_that_nobody_can_place_has_the_schedulers_word_and_no_containers() -> None:
    found = Kubelet(pod(bound=False), Unschedulable()).at(0)
    assert found.status["phase"] == "Pending"
    assert conditions(found) == {"PodScheduled": ("False", "Unschedulable")}
    assert "containerStatuses" not in found.status


def test_a_slow_start_runs_and_is_not_ready_until_its_time() -> None:
    kubelet = Kubelet(pod(), SlowStart(5))
    found = kubelet.at(2)
    assert found.running == {"database"}
    assert conditions(found)["Ready"][0] == "False"
    assert found.again_in == pytest.approx(3)
    assert conditions(kubelet.at(5))["Ready"][0] == "True"


@pytest.mark.parametrize(("init", "reason"), [(False, "ContainerCreating"), (True, "PodInitializing")])
def test_a_stuck_volume_shows_in_an_event_and_not_in_the_status(init: bool, reason: str) -> None:
    found = Kubelet(pod(init=init), VolumeStuck()).at(60)
    assert found.status["containerStatuses"][0]["state"] == {"waiting": {"reason": reason}}
    assert conditions(found)["PodReadyToStartContainers"][0] == "False"
    assert [n.reason for n in found.notes] == ["FailedMount"]
    assert found.running == frozenset()


def test_times_of_conditions_move_only_with_their_status() -> None:
    kubelet = Kubelet(pod(), SlowStart(5))
    first = {c["type"]: c["lastTransitionTime"] for c in kubelet.at(1).status["conditions"]}
    second = {c["type"]: c["lastTransitionTime"] for c in kubelet.at(3).status["conditions"]}
    assert first == second
    third = {c["type"]: c["lastTransitionTime"] for c in kubelet.at(6).status["conditions"]}
    assert third["Ready"] != first["Ready"]
    assert third["PodScheduled"] == first["PodScheduled"]


def test_an_ended_pod_is_what_the_operator_takes_for_an_observed_end() -> None:
    body = pod(init=True)
    life = Life(T0, T0)
    assert pod_view({**body, "status": ended(body, life, T0)}).containers_ended
    assert not pod_view({**body, "status": report(body, Ready(), life, T0).status}).containers_ended


def test_the_same_moment_gives_the_same_essence() -> None:
    kubelet = Kubelet(pod(), CrashLoop())
    assert essence(kubelet.at(1).status) == essence(kubelet.at(1).status)
    assert essence(kubelet.at(0.1).status) != essence(kubelet.at(1).status)
