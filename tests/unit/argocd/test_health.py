"""Argo CD's health of JIL objects, computed by the shipped script from statuses as the operator writes them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from jil.api.conditions import NODE_CONDITIONS, ConditionType, Finding, Reason, false, merge, true
from jil.plan.findings import NodeFacts, Verdict, judge, refused
from jil.plan.lifecycle import Goal
from tests.argocd import SCRIPT, health
from tests.unit.plan.test_lifecycle import node

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ROOT = SCRIPT.parents[2]


def _object(verdict: Verdict, generation: int = 1, **metadata: Any) -> dict[str, Any]:
    """A JILNode as it stands in the cluster after its status was written."""
    conditions = merge((), verdict.findings, full_set=NODE_CONDITIONS, generation=1, now=NOW)
    status = {"observedGeneration": 1, "phase": verdict.phase, "conditions": [c.wire() for c in conditions]}
    return {"kind": "JILNode", "metadata": {"generation": generation, **metadata}, "status": status}


def _judged(goal: Goal, **changes: Any) -> Verdict:
    live = 0 if goal is Goal.STOPPED else 1
    facts = NodeFacts(
        goal=goal,
        workloads=[replace(w, pods=w.pods if live else ()) for w in node(live=live)],
        health=None,
        network_height=None,
        identity=true(ConditionType.IDENTITY_READY, Reason.READY),
        storage=true(ConditionType.STORAGE_READY, Reason.READY),
        hold=None,
        now=NOW,
    )
    return judge(replace(facts, **changes))


def _ready(reason: Reason, phase: str) -> Verdict:
    findings: tuple[Finding, ...] = (false(ConditionType.READY, reason, "why"),)
    return Verdict(findings, phase)


def test_a_stopped_node_is_healthy_because_its_spec_says_so() -> None:
    verdict = _judged(Goal.STOPPED)
    assert verdict.phase == "Stopped"
    assert health(_object(verdict))[0] == "Healthy"


def test_a_blocked_deletion_is_progressing_and_says_what_it_waits_for() -> None:
    blocked = _ready(Reason.DELETION_BLOCKED, "Deleting")
    status, message = health(_object(blocked, deletionTimestamp="2026-11-21T12:00:00Z"))
    assert status == "Progressing"
    assert message == "DeletionBlocked: why"


@pytest.mark.parametrize("reason", [Reason.RELEASE_NOT_FOUND, Reason.NODE_ID_CLAIMED, Reason.NAME_TAKEN])
def test_a_spec_that_cannot_be_followed_is_degraded_with_the_remedy(reason: Reason) -> None:
    assert health(_object(refused(reason, "do this"))) == ("Degraded", f"{reason}: do this")


@pytest.mark.parametrize("reason", [Reason.KEY_LOST, Reason.SIGN_STATE_LOST, Reason.FENCING_UNCONFIRMED])
def test_a_loss_is_degraded(reason: Reason) -> None:
    held = _judged(Goal.RUNNING, hold=(reason, "gone"))
    assert health(_object(held))[0] == "Degraded"


@pytest.mark.parametrize("reason", [Reason.WAITING_FOR_POD, Reason.WAITING_FOR_GENESIS, Reason.WAITING_FOR_PERMIT])
def test_what_is_on_its_way_is_progressing(reason: Reason) -> None:
    assert health(_object(_ready(reason, "Provisioning")))[0] == "Progressing"


@pytest.mark.parametrize(("phase", "told"), [("Provisioning", "Progressing"), ("Degraded", "Degraded")])
def test_a_component_that_is_not_well_is_a_step_of_a_start_and_a_fault_of_a_node_that_was_ready(
    phase: str, told: str
) -> None:
    assert health(_object(_ready(Reason.UNHEALTHY, phase)))[0] == told


def test_a_status_of_an_older_generation_is_no_verdict_on_the_new_one() -> None:
    assert health(_object(_judged(Goal.STOPPED), generation=2))[0] == "Progressing"


def test_an_object_that_nobody_has_looked_at_is_progressing() -> None:
    assert health({"kind": "JILNode", "metadata": {"generation": 1}})[0] == "Progressing"
    assert health({"kind": "JILNode", "metadata": {}, "status": {}})[0] == "Progressing"


def test_every_reason_that_the_script_knows_exists() -> None:
    named = set(re.findall(r"(\w+) = true", SCRIPT.read_text()))
    assert named <= {reason.value for reason in Reason}
    assert len(named) > 20


def test_the_documentation_configures_every_kind_with_a_status() -> None:
    text = (ROOT / "docs" / "argocd.md").read_text()
    named = set(re.findall(r"resource\.customizations\.health\.jil\.io_(\w+)", text))
    crds = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")]
    with_conditions = {
        crd["spec"]["names"]["kind"]
        for crd in crds
        if "conditions"
        in crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].get("status", {}).get("properties", {})
    }
    assert named == with_conditions
