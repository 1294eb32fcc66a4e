"""The operator's own life in the cluster: drains, two replicas, rights, upgrade and uninstall. Runs after the others."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
import yaml

from testbed import cluster, quickstart
from testbed.quickstart import SYSTEM
from tests import audit, history, rbac_usage
from tests.e2e.demo import Demo

OPERATOR = "app.kubernetes.io/name=jil-operator"


@pytest.mark.timeout(1200)
def test_a_drained_machine_loses_its_pods_under_a_grant_and_they_return_with_it(demo: Demo) -> None:
    """A real `kubectl drain`: evictions of the validator are refused, the operator moves it when the gate allows."""
    pod, namespace = demo.child("pod", "validator-0"), demo.node.namespace
    machine, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]

    def there() -> set[str]:
        """UIDs of the node's pods on the machine."""
        pods = demo.get("pods", "-n", namespace)["items"]
        return {p["metadata"]["uid"] for p in pods if p["spec"].get("nodeName") == machine}

    before = there()
    height, logged = demo.chain_height(), len(_log(demo))
    try:
        options = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s")
        said = demo.kubectl("drain", machine, *options, timeout_s=320)
        assert f"node/{machine} drained" in said, said
        assert uid in before
        assert not there(), "all of them have left, and none has come back"
        demo.until(
            lambda: "Unschedulable" in json.dumps(demo.status().get("conditions", [])),
            "the wait for the machine to show",
            120,
        )
        assert demo.status()["waitingFor"]["message"]
        grant = next(g for g in _grants(demo) if g["target"]["uid"] == uid)
        assert (grant["act"], grant["component"]) == ("Drain", "validator")
        assert f"kubectl uncordon {machine}" in grant["reason"], "the grant says what the pod will wait for"
    finally:
        demo.kubectl("uncordon", machine)
    demo.until_phase("Ready", 240)
    assert demo.child("pod", "validator-0")["spec"]["nodeName"] == machine
    demo.until(lambda: demo.chain_height() > height, "the chain to go on", 120)
    demo.until(
        lambda: uid not in [g["target"]["uid"] for g in _ledger(demo)["open"]], "the grant to be given back", 120
    )
    _no_eviction_came_before_the_operators_own_deletion(_log(demo)[logged:], pod["metadata"]["name"], uid)


def _no_eviction_came_before_the_operators_own_deletion(log: list[dict[str, Any]], pod: str, uid: str) -> None:
    """The API server lets a pod be evicted that is being deleted already: that is the drain's second try."""
    operator = f"system:serviceaccount:{SYSTEM}:jil-operator"
    ours = [e for e in log if e["verb"] == "delete" and e["user"]["username"] == operator and _is_about(e, pod)]
    deleted = [e["requestReceivedTimestamp"] for e in ours if uid in json.dumps(e.get("requestObject", {}))]
    evictions = [e for e in log if e.get("objectRef", {}).get("subresource") == "eviction" and _is_about(e, pod)]
    let_through = [e["requestReceivedTimestamp"] for e in evictions if e["responseStatus"]["code"] == 201]
    assert deleted, "the operator moved the pod itself"
    assert not let_through or min(let_through) > min(deleted), "an eviction of the validator passed the gate by"


def _is_about(event: dict[str, Any], pod: str) -> bool:
    reference = event.get("objectRef", {})
    return reference.get("resource") == "pods" and reference.get("name") == pod


def _ledger(demo: Demo) -> dict[str, Any]:
    data = demo.get("configmap", "ledger-quickstart", "-n", SYSTEM)["data"]
    found: dict[str, Any] = json.loads(next(iter(data.values())))
    return found


def _grants(demo: Demo) -> list[dict[str, Any]]:
    ledger = _ledger(demo)
    return [*ledger["open"], *ledger["closed"]]


def _leader(demo: Demo) -> str:
    return str(demo.get("lease", "jil-operator", "-n", SYSTEM)["spec"]["holderIdentity"]).rsplit("_", 1)[0]


def _replicas(demo: Demo) -> tuple[list[str], list[str]]:
    """Names of all the operator's pods, and of those that are ready."""
    pods = demo.get("pods", "-n", SYSTEM, "-l", OPERATOR)["items"]
    ready = [
        pod
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]
    return [pod["metadata"]["name"] for pod in pods], [pod["metadata"]["name"] for pod in ready]


def test_two_replicas_the_leader_is_killed_and_the_other_takes_over_in_twenty_seconds(demo: Demo) -> None:
    quickstart.install_operator(demo.target, demo.images, "--set", "replicas=2")
    login = (f"{demo.node.name}-pull", "-n", demo.node.namespace)
    took: list[float] = []
    while not took or took[-1] >= 20:
        # A machine that stands still is too late once or twice, a lease that is too long every time.
        assert len(took) < 3, f"{took} seconds"
        # A replica that still starts could not take over.
        demo.until(lambda: [len(names) for names in _replicas(demo)] == [2, 2], "two replicas", 180)
        demo.until(lambda: _leader(demo) in _replicas(demo)[1], "one of them to lead", 120)
        leader = _leader(demo)
        demo.kubectl("patch", "secret", *login, "--type=merge", "-p", '{"data": {"somebody": "ZWxzZQ=="}}')
        demo.kubectl("delete", "pod", leader, "-n", SYSTEM, "--grace-period=0", "--force", "--wait=false")
        took.append(demo.until(lambda leader=leader: _leader(demo) != leader, "another leader", 120))
    service = demo.child("service", "broker")["metadata"]["uid"]
    demo.kubectl("delete", "service", f"{demo.node.name}-broker", "-n", demo.node.namespace)
    demo.until(lambda: demo.child("service", "broker")["metadata"]["uid"] != service, "the new leader to work", 120)
    demo.until(lambda: "somebody" not in demo.get("secret", *login)["data"], "the node's login to be put right", 120)
    quickstart.install_operator(demo.target, demo.images)
    demo.until(lambda: len(demo.get("pods", "-n", SYSTEM, "-l", OPERATOR)["items"]) == 1, "one replica again", 180)
    demo.until_phase("Ready")


def _log(demo: Demo) -> list[dict[str, Any]]:
    ours = cluster.Cluster(os.environ.get("JIL_CLUSTER", "jil"))
    return [json.loads(line) for line in cluster.audit_log(ours).splitlines() if line.strip()]


def test_i2_every_disruptive_request_of_the_whole_run_has_its_grant(demo: Demo) -> None:
    report = audit.check(_log(demo), user=f"system:serviceaccount:{SYSTEM}:jil-operator")
    report.assert_clean(at_least=10)


def test_the_operator_has_every_right_that_it_used_and_none_that_it_did_not(demo: Demo) -> None:
    """Over the whole run: refused images, bring-up, drift, stop, delete, drain, a second node, a deleted namespace."""
    account = rbac_usage.ServiceAccount(SYSTEM, "jil-operator")
    releases = ("jil-operator", demo.node.jurisdiction, quickstart.SECOND.jurisdiction)
    texts = [demo.target.helm("get", "manifest", release, "-n", SYSTEM) for release in releases]
    manifests = [m for m in yaml.safe_load_all("\n---\n".join(texts)) if m]
    usage = rbac_usage.compare(rbac_usage.rights_of(manifests, account), _log(demo), account)
    assert not usage.ungranted, usage.text()
    # Which Events a run has depends on what happens to it: a repetition patches a series, a lost ledger is told in
    # default. A Lease is made only where somebody deleted the chart's. tests/cluster shows all of these in use.
    excused = {("events", "create"), ("events", "patch"), ("leases", "create")}
    assert not [right for right in usage.unused if (right.resource, right.verb) not in excused], usage.text()


def test_ac_42_a_second_manager_that_applies_the_same_manifests_twice_sees_no_drift(demo: Demo) -> None:
    manifests = quickstart.manifests(demo.target, demo.node, demo.images)
    for _ in range(2):
        demo.kubectl(
            "apply",
            "--server-side",
            "--field-manager=argocd-controller",
            "--force-conflicts",
            "-f",
            "-",
            stdin=manifests,
        )
    before = demo.get("jilnode", demo.node.name, "-n", demo.node.namespace)
    time.sleep(3)
    diff = ("diff", "--server-side", "--field-manager=argocd-controller", "--force-conflicts", "-f", "-")
    # A status that is written between kubectl's two readings would show as a difference; drift shows every time.
    demo.until(lambda: demo.kubectl(*diff, stdin=manifests) == "", "no difference")
    after = demo.get("jilnode", demo.node.name, "-n", demo.node.namespace)
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["spec"] == before["spec"]


def test_helm_test_passes(demo: Demo) -> None:
    demo.target.helm("test", "jil-operator", "--namespace", SYSTEM, "--timeout", "240s")


def test_uninstalled_the_nodes_keep_running_and_reinstalled_the_operator_finds_them(demo: Demo) -> None:
    pods = {p["metadata"]["uid"] for p in demo.get("pods", "-n", demo.node.namespace)["items"]}
    height = demo.chain_height()
    demo.target.helm("uninstall", "jil-operator", "--namespace", SYSTEM, "--wait")
    demo.until(lambda: demo.chain_height() > height + 2, "the chain to go on without the operator", 120)
    assert {p["metadata"]["uid"] for p in demo.get("pods", "-n", demo.node.namespace)["items"]} == pods
    assert demo.record()["bootstrapped"] is True
    quickstart.install_operator(demo.target, demo.images)
    demo.until(
        lambda: demo.get("deployment", "jil-operator", "-n", SYSTEM)["status"].get("readyReplicas") == 1,
        "the operator",
        180,
    )
    # Its Lease is a new one; the ledger is still sealed with the number of the operator before.
    sealed_by = lambda: str(_ledger(demo)["seal"]["holder"])  # noqa: E731
    demo.until(lambda: sealed_by().startswith(_leader(demo)), "the new operator to seal the ledger", 120)
    service = demo.child("service", "cache")["metadata"]["uid"]
    demo.kubectl("delete", "service", f"{demo.node.name}-cache", "-n", demo.node.namespace)
    demo.until(lambda: demo.child("service", "cache")["metadata"]["uid"] != service, "the operator to work again", 120)
    assert {p["metadata"]["uid"] for p in demo.get("pods", "-n", demo.node.namespace)["items"]} == pods


def test_i2_over_the_whole_run_nothing_was_taken_away_without_a_grant_and_no_invariant_was_broken(demo: Demo) -> None:
    """The witness of the fault harness, over what this cluster's API server wrote down of everything above."""

    def process(event: Any) -> str:
        """Several operators have one account; the token says whose pod it is in."""
        extra = event["user"].get("extra") or {}
        return str((extra.get("authentication.kubernetes.io/pod-name") or [event["user"]["username"]])[0])

    account = f"system:serviceaccount:{SYSTEM}:jil-operator"
    found = history.prove(_log(demo), users=[account], who=process)
    found.assert_clean(disruptions=20, permits=2, secrets=12, terms=3)
