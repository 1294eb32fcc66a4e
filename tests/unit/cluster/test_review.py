"""What a plain write may not do to a running workload (I2: the gate is the only way down)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from jil.api import kinds
from jil.cluster.errors import GrantRequired
from jil.cluster.fieldset import Field
from jil.cluster.review import review
from jil.plan.acts import Act
from tests.unit.cluster.objects import statefulset, stored


def sts(*, replicas: int = 1, partition: int | None = 1, strategy: str = "RollingUpdate") -> dict[str, Any]:
    rolling = {"rollingUpdate": {"partition": partition}} if partition is not None else {}
    return statefulset(replicas=replicas, updateStrategy={"type": strategy, **rolling})


def check(intent: dict[str, Any], live: dict[str, Any], *, changes: bool = False, removed: Any = ()) -> str | None:
    try:
        review(kinds.STATEFUL_SET, intent, stored(live, "x"), template_changes=changes, removed=removed)
    except GrantRequired as refusal:
        return refusal.act
    return None


@pytest.mark.parametrize(
    ("live", "intent", "changes", "needs"),
    [
        (sts(), sts(), False, None),
        (sts(), sts(), True, None),  # armed: a template change moves nothing
        (sts(), sts(replicas=0), False, Act.STOP),
        (sts(replicas=3, partition=3), sts(replicas=2, partition=3), False, Act.STOP),
        (sts(replicas=0), sts(replicas=1), False, None),  # starting takes nothing away
        (sts(replicas=0, partition=0), sts(replicas=1, partition=0), True, None),
        (sts(), sts(partition=0), False, Act.DISARM),
        (sts(), sts(partition=None), False, Act.DISARM),  # no partition is partition 0
        (sts(), sts(partition=None, strategy="OnDelete"), False, Act.DISARM),
        (sts(partition=0), sts(partition=1), False, None),  # arming again
        (sts(partition=0), sts(partition=1), True, None),  # arming and changing are one write
        (sts(partition=0), sts(partition=0), False, None),
        (sts(partition=0), sts(partition=0), True, Act.DISARM),  # would replace the pod at once
        (sts(replicas=3, partition=2), sts(replicas=3, partition=2), True, Act.DISARM),
    ],
)
def test_i2_what_takes_a_pod_down_needs_a_grant(
    live: dict[str, Any], intent: dict[str, Any], changes: bool, needs: Act | None
) -> None:
    assert check(intent, live, changes=changes) == needs


@pytest.mark.parametrize(
    ("removed", "needs"),
    [
        ((Field("spec"), Field("replicas")), Act.STOP),
        ((Field("spec"), Field("updateStrategy")), Act.DISARM),
        ((Field("spec"), Field("updateStrategy"), Field("rollingUpdate"), Field("partition")), Act.DISARM),
    ],
)
def test_i2_removing_a_field_may_not_lower_anything_either(removed: Any, needs: Act) -> None:
    live, intent = sts(replicas=3, partition=3), sts(replicas=3, partition=3)
    assert check(intent, live, removed=[removed]) == needs


def test_i2_removing_something_from_the_template_needs_the_statefulset_armed() -> None:
    path = (Field("spec"), Field("template"), Field("spec"), Field("tolerations"))
    assert check(sts(), sts(), removed=[path]) is None
    assert check(sts(partition=0), sts(partition=0), removed=[path]) == Act.DISARM


def test_an_intent_without_replicas_leaves_them_and_so_lowers_nothing() -> None:
    intent = sts()
    del intent["spec"]["replicas"]
    assert check(intent, sts(replicas=3, partition=3)) == Act.DISARM  # because of the partition only
    intent["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 3
    assert check(intent, sts(replicas=3, partition=3)) is None


def test_a_deployment_may_change_its_template_but_not_shrink() -> None:
    intent = {**statefulset(replicas=2), "kind": "Deployment"}
    live = stored(copy.deepcopy(intent), "x")
    review(kinds.DEPLOYMENT, intent, live, template_changes=True)
    intent["spec"]["replicas"] = 1
    with pytest.raises(GrantRequired, match="from 2 to 1"):
        review(kinds.DEPLOYMENT, intent, live, template_changes=False)


def test_pods_are_never_applied() -> None:
    with pytest.raises(GrantRequired):
        review(kinds.POD, statefulset(), stored(statefulset(), "x"), template_changes=False)


def test_a_review_covers_exactly_the_version_that_was_looked_at() -> None:
    live = stored(statefulset(), "x")
    reviewed = review(kinds.STATEFUL_SET, statefulset(), live, template_changes=False)
    body = statefulset()
    assert not reviewed.covers(kinds.STATEFUL_SET, body)
    body["metadata"] |= {"uid": "uid-1", "resourceVersion": "10"}
    assert reviewed.covers(kinds.STATEFUL_SET, body)
    body["metadata"]["resourceVersion"] = "11"
    assert not reviewed.covers(kinds.STATEFUL_SET, body)
    assert reviewed.at("10")
    assert not reviewed.at("11")
