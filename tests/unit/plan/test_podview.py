"""Reading a Pod: the few facts that decisions are made of."""

from __future__ import annotations

from typing import Any

from jil.plan.podview import machine_lost, pod_view


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


def test_how_a_container_ended_is_told_with_the_runtimes_word() -> None:
    crash = [
        {
            "name": "validator",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        }
    ]
    assert "last exit code 137, OOMKilled" in pod_view(_pod(containerStatuses=crash)).trouble_message


def test_a_crash_loop_stays_told_while_the_container_runs_between_two_ends() -> None:
    again = {
        "name": "validator",
        "ready": False,
        "restartCount": 3,
        "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
    }
    view = pod_view(_pod(containerStatuses=[again]))
    assert view.trouble == "Restarted"
    assert "3 times (last exit code 1, Error)" in view.trouble_message
    assert pod_view(_pod(containerStatuses=[{**again, "ready": True}])).trouble is None, "it has recovered"


def test_a_container_that_has_just_failed_is_in_trouble_and_one_that_did_its_work_is_not() -> None:
    failed = {"name": "guard", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    done = {"name": "guard", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    assert pod_view(_pod(phase="Pending", initContainerStatuses=[failed])).trouble == "Error"
    assert pod_view(_pod(phase="Pending", initContainerStatuses=[done])).trouble is None


def test_a_pod_whose_volumes_do_not_come_says_where_to_look() -> None:
    waiting = {"name": "database", "state": {"waiting": {"reason": "ContainerCreating"}}}
    since = "2026-11-21T12:00:00Z"
    sandbox = {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": since}
    view = pod_view(_pod(phase="Pending", containerStatuses=[waiting], conditions=[sandbox]))
    assert view.trouble is None
    assert all(word in view.starting for word in ("ContainerCreating", "worker", since, "volumes", "describe pod"))


def test_a_slow_start_is_told_as_such() -> None:
    slow = {"name": "broker", "state": {"running": {"startedAt": "2026-11-21T12:00:00Z"}}, "started": False}
    view = pod_view(_pod(containerStatuses=[slow]))
    assert (
        view.starting
        == "container broker runs since 2026-11-21T12:00:00Z on worker and has not passed its startup probe yet"
    )


def test_a_machine_that_does_not_report_is_lost_and_one_without_a_word_is_not() -> None:
    ready = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "T", "message": "Kubelet stopped posting"}
    node = {"metadata": {"name": "worker"}, "status": {"conditions": [ready]}}
    assert machine_lost(node) == "Kubernetes node worker is not ready since T: Kubelet stopped posting"
    assert machine_lost({"metadata": {"name": "worker"}, "status": {}}) == ""
    assert machine_lost({**node, "status": {"conditions": [{**ready, "status": "True"}]}}) == ""
    assert machine_lost(None) == ""
