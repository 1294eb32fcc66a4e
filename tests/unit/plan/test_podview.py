"""Reading a Pod: the few facts that decisions are made of."""

from __future__ import annotations

from typing import Any

from jil.plan.podview import pod_view


def _pod(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "n-validator-0",
            "uid": "u",
            "resourceVersion": "7",
            "labels": {"app.kubernetes.io/name": "validator"},
        },
        "spec": {"nodeName": "worker"},
        "status": {"phase": "Running", **status},
    }


def test_a_pod_that_pulls_its_image_is_on_its_way_and_not_in_trouble() -> None:
    waiting = [{"name": "validator", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    assert pod_view(_pod(containerStatuses=waiting)).trouble is None


def test_a_crash_loop_is_told_with_container_and_exit_code() -> None:
    crash = [
        {
            "name": "validator",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"exitCode": 2}},
        }
    ]
    view = pod_view(_pod(containerStatuses=crash))
    assert view.trouble == "CrashLoopBackOff"
    assert "validator" in view.trouble_message
    assert "exit code 2" in view.trouble_message


def test_an_unschedulable_pod_tells_the_schedulers_words() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    view = pod_view(_pod(phase="Pending", conditions=[condition]))
    assert (view.trouble, view.trouble_message) == ("Unschedulable", "0/3 nodes")


def test_i1_a_pod_is_observed_to_have_ended_only_when_its_kubelet_said_so_of_all_of_it() -> None:
    ended = {"name": "a", "state": {"terminated": {"exitCode": 0}}}
    running = {"name": "b", "state": {"running": {}}}
    assert pod_view(_pod(phase="Succeeded", containerStatuses=[ended])).containers_ended
    assert not pod_view(_pod(phase="Failed", containerStatuses=[ended, running])).containers_ended
    assert not pod_view(_pod(phase="Failed")).containers_ended, "no statuses yet is not an end"


def test_i1_a_container_that_is_about_to_be_restarted_in_place_is_no_end() -> None:
    crashed = {"name": "a", "state": {"terminated": {"exitCode": 137}}}
    assert not pod_view(_pod(phase="Running", containerStatuses=[crashed])).containers_ended


def test_i1_the_word_of_the_pod_garbage_collector_is_no_report_of_a_kubelet() -> None:
    stale = {"name": "a", "state": {"terminated": {"exitCode": 137}}}
    gc = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
    assert not pod_view(_pod(phase="Failed", conditions=[gc], containerStatuses=[stale])).containers_ended
