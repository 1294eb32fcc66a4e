"""I8 on kind: the operator's leading process gets a SIGKILL in the middle of the turns of a real node's life.

A second node joins and the operator dies twice in its bring-up; the first, whose key signs the chain, is stopped, deleted
and applied again. `tests/faults` has every point of every turn, with simulated pods; here are a handful with real ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from testbed import cluster, quickstart
from testbed.quickstart import SECOND, SYSTEM, DemoNode
from tests import audit
from tests.e2e.demo import Demo
from tests.e2e.kills import ACCOUNT, Api, Death, Log, Place, about, killed_at, told
from tests.faults.scene import kept
from tests.sim.world import JIL

OPERATOR = "app.kubernetes.io/name=jil-operator"
RECORDS = f"{JIL}/namespaces/{SYSTEM}/jilnoderecords"
NO_EVIDENCE = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
"""Hash of an empty list: nobody has proof of two signatures for one height."""


@dataclass
class Crashes:
    """Two replicas of the operator, the audit log, and what was there before the first of them died."""

    demo: Demo
    log: Log
    height: int
    """Of the chain."""
    signed: int
    """The last height that the first node's validator signed."""
    restarts: int
    """Of the operator's containers."""
    deaths: list[Death] = field(default_factory=list)

    def kept(self, node: DemoNode) -> dict[str, str]:
        return kept(Api(self.demo).get, node.namespace, node.name)

    def at(self, phase: str, node: DemoNode) -> bool:
        """Whether the node says so of its newest generation."""
        found = self.demo.get("jilnode", node.name, "-n", node.namespace)
        status = found.get("status", {})
        return bool(status.get("phase") == phase and status["observedGeneration"] == found["metadata"]["generation"])

    def proven(self, node: DemoNode, *deaths: Death, before: dict[str, str]) -> None:
        """What was there before a death is there unchanged (I5), what was taken away had its grant (I2), and whoever died
        had done some of the turn and left some of it; then nothing is written any more."""
        now = self.kept(node)
        changed = {what: now.get(what, "gone") for what, value in before.items() if now.get(what) != value}
        assert not changed, changed
        report = audit.check(self.log.events(), user=ACCOUNT)
        assert not report.violations, "\n".join(map(str, report.violations))
        done = {holder: about(steps, node) for holder, steps in self.log.lives(deaths[0].holder).items()}
        for holder, steps in done.items():
            print(f"{holder}: {len(steps)} steps, the last ones: {told(steps[-3:])}")
        for death in deaths:
            assert done.get(death.holder), f"{death.place.what}: {death.holder} had done nothing of the turn"
        last = list(done)[-1]
        assert last not in [death.holder for death in deaths], f"{last} is dead and wrote last"
        assert done[last], f"{last} had nothing left to do: the turn was over"
        self.deaths += deaths
        self.log.rest()


@pytest.fixture(scope="module")
def crashes(demo: Demo) -> Iterator[Crashes]:
    quickstart.install_operator(demo.target, demo.images, "--set", "replicas=2")
    demo.until(lambda: len(_replicas(demo)) == 2, "two replicas")
    log = Log(cluster.Cluster(os.environ.get("JIL_CLUSTER", "jil")))
    restarts = sum(one["restartCount"] for one in _replicas(demo))
    yield Crashes(demo, log, demo.chain_height(), int(demo.sign_state()["height"]), restarts)
    quickstart.install_operator(demo.target, demo.images)


def _replicas(demo: Demo) -> list[dict[str, Any]]:
    """What the kubelets say of the operator's containers."""
    return [pod["status"]["containerStatuses"][0] for pod in demo.get("pods", "-n", SYSTEM, "-l", OPERATOR)["items"]]


def _sets(node: DemoNode) -> str:
    return f"/apis/apps/v1/namespaces/{node.namespace}/statefulsets"


def _recorded(node: DemoNode, part: str, what: str) -> Callable[[str, Any], bool]:
    def reached(_: str, record: Any) -> bool:
        return record["metadata"]["name"] == node.name and bool((record["spec"].get(part) or {}).get(what))

    return reached


def test_i8_i5_killed_when_its_keys_are_recorded_and_again_at_its_first_permit_a_node_comes_up_with_those_keys(
    crashes: Crashes,
) -> None:
    demo, log = crashes.demo, crashes.log
    log.mark()
    keys = Place("its keys are recorded", RECORDS, _recorded(SECOND, "keys", "validator"))
    with killed_at(demo, keys) as first:
        demo.declare(SECOND)
    before = crashes.kept(SECOND)
    assert "recorded key validator" in before
    permit = Place("its validator may start", RECORDS, _recorded(SECOND, "permit", "podUID"))
    with killed_at(demo, permit, after=first) as second:
        assert not crashes.at("Ready", SECOND)
    before |= crashes.kept(SECOND)
    assert before["bootstrapped"]
    demo.until(lambda: crashes.at("Ready", SECOND), "the second node to be ready", 200)
    crashes.proven(SECOND, first, second, before=before)
    height = demo.chain_height(SECOND)
    demo.until(lambda: demo.chain_height(SECOND) > height + 1, "the second node to follow the chain", 60)
    assert not log.steps(), told(log.steps())


def test_i8_i2_killed_when_the_validator_is_told_to_stop_a_stop_is_ended_by_the_next_leader(crashes: Crashes) -> None:
    demo, log, node = crashes.demo, crashes.log, crashes.demo.node
    before = crashes.kept(node)

    def reached(event: str, workload: Any) -> bool:
        name, replicas = workload["metadata"]["name"], workload["spec"]["replicas"]
        return event == "MODIFIED" and name == f"{node.name}-validator" and replicas == 0

    log.mark()
    with killed_at(demo, Place("its validator is told to stop", _sets(node), reached)) as death:
        demo.patch_state("Stopped")
    demo.until(lambda: crashes.at("Stopped", node), "the node to be stopped", 120)
    assert demo.get("pods", "-n", node.namespace, "-l", f"app.kubernetes.io/instance={node.name}")["items"] == []
    crashes.proven(node, death, before=before)


def test_i8_i2_killed_when_half_of_it_is_removed_a_deletion_is_ended_by_the_next_leader(crashes: Crashes) -> None:
    demo, log, node = crashes.demo, crashes.log, crashes.demo.node
    before, api = crashes.kept(node), Api(demo)
    assert not log.steps(), told(log.steps())
    # A stopped node is gone in a second: it is held at the validator until the one who deletes it has died.
    validator = ("statefulset", f"{node.name}-validator", "-n", node.namespace)
    demo.kubectl("patch", *validator, "--type=merge", "-p", '{"metadata": {"finalizers": ["tests.jil.io/held"]}}')

    def reached(_: str, workload: Any) -> bool:
        return workload["metadata"]["name"] == validator[1] and "deletionTimestamp" in workload["metadata"]

    log.mark()
    path = f"{JIL}/namespaces/{node.namespace}/jilnodes/{node.name}"
    with killed_at(demo, Place("its validator's StatefulSet is removed", _sets(node), reached)) as death:
        demo.kubectl("annotate", "jilnode", node.name, "-n", node.namespace, f"jil.io/confirm-delete={node.name}")
        demo.kubectl("delete", "jilnode", node.name, "-n", node.namespace, "--wait=false")
    assert api.get(path) is not None
    demo.kubectl("patch", *validator, "--type=merge", "-p", '{"metadata": {"finalizers": []}}')
    demo.until(lambda: api.get(path) is None, "the JILNode to be gone", 120)
    left = demo.get(
        "pods,statefulsets,deployments", "-n", node.namespace, "-l", f"app.kubernetes.io/instance={node.name}"
    )
    assert left["items"] == []
    crashes.proven(node, death, before=before)


def test_i8_i5_killed_when_its_second_workload_is_made_again_a_node_is_what_it_was_and_the_chain_goes_on(
    crashes: Crashes,
) -> None:
    demo, log, node = crashes.demo, crashes.log, crashes.demo.node
    before = crashes.kept(node)
    assert not log.steps(), told(log.steps())
    log.mark()
    place = Place("two StatefulSets are made again", _sets(node), lambda event, _: event == "ADDED", nth=2)
    with killed_at(demo, place) as death:
        demo.kubectl("apply", "-f", "-", stdin=quickstart.manifests(demo.target, node, demo.images))
    demo.until(lambda: crashes.at("Ready", node), "the node to be ready again", 200)
    crashes.proven(node, death, before=before)
    height = demo.chain_height()
    demo.until(lambda: demo.chain_height(SECOND) > height + 1, "the chain to go on, with both", 60)
    assert not log.steps(), told(log.steps())


def test_i8_nobody_signed_a_height_twice_and_both_nodes_keep_one_chain(crashes: Crashes) -> None:
    demo = crashes.demo
    assert int(demo.sign_state()["height"]) > crashes.signed > 0, "this one votes, and goes on where it was"
    last = demo.chain_height()
    demo.until(lambda: demo.chain_height(SECOND) >= last, "the second node to have that block", 60)
    mine, theirs = _blocks(demo, demo.node, crashes.height, last), _blocks(demo, SECOND, crashes.height, last)
    assert list(mine) == list(range(crashes.height, last + 1))
    assert mine == theirs
    assert {evidence for _, evidence in mine.values()} == {NO_EVIDENCE}


def _blocks(demo: Demo, node: DemoNode, first: int, last: int) -> dict[int, tuple[str, str]]:
    """Hash and evidence of a node's blocks, by height."""
    found = {}
    base = f"/api/v1/namespaces/{node.namespace}/services/{node.name}-rpc:26657/proxy/blockchain"
    for low in range(first, last + 1, 20):  # more are not told at once
        page = json.loads(demo.kubectl("get", "--raw", f"{base}?minHeight={low}&maxHeight={min(low + 19, last)}"))
        for meta in page["result"]["block_metas"]:
            found[int(meta["header"]["height"])] = (meta["block_id"]["hash"], meta["header"]["evidence_hash"])
    return dict(sorted(found.items()))


def test_i8_it_was_sigkill_every_time_and_the_operators_containers_run_again(crashes: Crashes) -> None:
    def ended() -> int:
        """How often a process of the operator has ended since the first turn; by SIGKILL, as far as is told."""
        replicas = _replicas(crashes.demo)
        last = [one["lastState"]["terminated"] for one in replicas if one["restartCount"]]
        assert {(one["exitCode"], one["reason"]) for one in last} == {(137, "Error")}
        return sum(int(one["restartCount"]) for one in replicas if one["ready"]) - crashes.restarts

    assert crashes.deaths
    crashes.demo.until(lambda: ended() == len(crashes.deaths), "the operator's containers to run again", 120)
