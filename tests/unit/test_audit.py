"""The witness that maps disruptive requests to grants: what it must see, and every violation planted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.audit import Report, check

OPERATOR = "system:serviceaccount:jil-system:jil-operator"
POD_URI = "/api/v1/namespaces/jil-ch-finma/pods/ch-zug-01-validator-0"


def at(second: float) -> str:
    return f"2027-01-15T08:00:{second:09.6f}Z"


def event(verb: str, resource: str, name: str, second: float, body: Any = None, **changes: Any) -> dict[str, Any]:
    base = {
        "stage": "ResponseComplete",
        "verb": verb,
        "requestURI": "/",
        "user": {"username": OPERATOR},
        "userAgent": "jil-operator/0.1.0 reconcile/0123abcd",
        "objectRef": {"resource": resource, "namespace": "jil-ch-finma", "name": name},
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": at(second),
        "stageTimestamp": at(second + 0.01),
        "requestObject": body,
    }
    return {**base, **changes}


def grant(act: str, kind: str, name: str, grant_id: str = "g-1", **changes: Any) -> dict[str, Any]:
    target = {"kind": kind, "namespace": "jil-ch-finma", "name": name, "uid": "uid-1", "resourceVersion": "7"}
    return {"id": grant_id, "act": act, "target": target, **changes}


def ledger(second: float, *, open: tuple[Any, ...] = (), closed: tuple[Any, ...] = ()) -> dict[str, Any]:
    text = json.dumps({"open": list(open), "closed": list(closed)})
    written = event("update", "configmaps", "ledger-jil-devnet", second, {"data": {"ledger": text}})
    written["objectRef"]["namespace"] = "jil-system"
    return written


def under(grant_id: str | None, one: dict[str, Any]) -> dict[str, Any]:
    agent = "jil-operator/0.1.0 reconcile/0123abcd"
    return {**one, "userAgent": f"{agent} grant/{grant_id}" if grant_id else agent}


PRECONDITIONS = {"preconditions": {"uid": "uid-1", "resourceVersion": "7"}}
METADATA = {"uid": "uid-1", "resourceVersion": "7"}
POD, SET = "ch-zug-01-validator-0", "ch-zug-01-validator"

REQUESTS = {
    "delete pod": (grant("DeletePod", "Pod", POD), event("delete", "pods", POD, 5, PRECONDITIONS)),
    "drain pod": (grant("Drain", "Pod", POD), event("delete", "pods", POD, 5, PRECONDITIONS)),
    "delete workload": (
        grant("DeleteWorkload", "StatefulSet", SET),
        event("delete", "statefulsets", SET, 5, PRECONDITIONS),
    ),
    "prune": (
        grant("Prune", "NetworkPolicy", "old"),
        event("delete", "networkpolicies", "old", 5, PRECONDITIONS),
    ),
    "scale": (
        grant("Stop", "StatefulSet", SET),
        event("patch", "statefulsets", SET, 5, {"metadata": METADATA, "spec": {"replicas": 0}}),
    ),
    "disarm": (
        grant("Disarm", "StatefulSet", SET),
        event(
            "patch",
            "statefulsets",
            SET,
            5,
            {"metadata": METADATA, "spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}},
        ),
    ),
    "serving off": (
        grant("ServingOff", "Pod", POD),
        event("patch", "pods", POD, 5, {"metadata": {**METADATA, "labels": {"jil.io/serving": "false"}}}),
    ),
}


def run(*events: dict[str, Any]) -> Report:
    return check(list(events), user=OPERATOR)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("recorded", [False, True], ids=["held open", "recorded and closed at once"])
def test_i2_a_request_under_its_grant_is_covered(name: str, recorded: bool) -> None:
    entry, request = REQUESTS[name]
    book = ledger(1, closed=(entry | {"outcome": "Recorded"},)) if recorded else ledger(1, open=(entry,))
    report = run(under("g-1", request), book)
    report.assert_clean()
    assert [used for _, used in report.covered] == ["g-1"]


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize(
    ("plant", "why"),
    [
        ("no grant named", "names no grant"),
        ("a grant of no ledger", "stands in no ledger"),
        ("a grant written afterwards", "after the request came in"),
        ("a grant given back before", "before the request came in"),
        ("another act", "is for Nothing"),
        ("another object", "/elsewhere"),
        ("another uid", "is for UID"),
        ("no preconditions", "not both preconditions"),
        ("no resourceVersion", "not both preconditions"),
    ],
)
def test_i2_every_planted_violation_is_seen(name: str, plant: str, why: str) -> None:
    entry, request = REQUESTS[name]
    used: str | None = "g-1"
    events = [ledger(1, open=(entry,))]
    if plant == "no grant named":
        used = None
    elif plant == "a grant of no ledger":
        used = "g-2"
    elif plant == "a grant written afterwards":
        events = [ledger(6, open=(entry,))]
    elif plant == "a grant given back before":
        events.append(ledger(2, closed=(entry | {"outcome": "Returned"},)))
    elif plant == "another act":
        events = [ledger(1, open=(entry | {"act": "Nothing"},))]
    elif plant == "another object":
        events = [ledger(1, open=(entry | {"target": entry["target"] | {"name": "elsewhere"}},))]
    elif plant == "another uid":
        events = [ledger(1, open=(entry | {"target": entry["target"] | {"uid": "uid-2"}},))]
    else:
        drop = ("resourceVersion",) if plant == "no resourceVersion" else ("uid", "resourceVersion")
        body = {
            key: {inner: v for inner, v in value.items() if inner not in drop} if isinstance(value, dict) else value
            for key, value in request["requestObject"].items()
        }
        request = {**request, "requestObject": body}
    report = run(*events, under(used, request))
    [violation] = report.violations
    assert why in violation.why
    with pytest.raises(AssertionError, match=r"ch-zug-01|old"):
        report.assert_clean(0)


@pytest.mark.parametrize(
    "body",
    [
        [{"op": "replace", "path": "/spec/replicas", "value": 0}],
        [{"op": "replace", "path": "/spec/updateStrategy/rollingUpdate/partition", "value": 0}],
        [{"op": "remove", "path": "/spec/updateStrategy/rollingUpdate"}],
        [{"op": "remove", "path": "/spec/updateStrategy"}],
        [{"op": "replace", "path": "/spec/updateStrategy", "value": {"type": "OnDelete"}}],
        {"spec": {"updateStrategy": {"type": "OnDelete"}}},
        {"spec": {"replicas": 0}},
    ],
)
def test_i2_whatever_lowers_replicas_or_partition_is_seen(body: Any) -> None:
    assert len(run(event("patch", "statefulsets", SET, 5, body)).violations) == 1


def test_i2_evictions_collections_and_serving_by_json_patch_are_seen() -> None:
    evicted = event("create", "pods", POD, 5)
    evicted["objectRef"]["subresource"] = "eviction"
    flipped = [{"op": "replace", "path": "/metadata/labels/jil.io~1serving", "value": "false"}]
    for one in (
        evicted,
        event("deletecollection", "pods", "", 5),
        event("patch", "pods", POD, 5, flipped),
        event("patch", "pods", POD, 5, {"metadata": {"labels": {"jil.io/serving": None}}}),
        event("delete", "secrets", "ch-zug-01-validator-key", 5),
    ):
        assert len(run(one).violations) == 1, one


def test_i2_a_service_scaled_from_three_to_two_is_a_disruption_and_back_is_none() -> None:
    def scaled(second: float, replicas: int) -> dict[str, Any]:
        return event("patch", "deployments", "ch-zug-01-transfers", second, {"spec": {"replicas": replicas}})

    assert len(run(scaled(1, 3), scaled(2, 2)).violations) == 1
    assert run(scaled(1, 2), scaled(2, 3)).violations == []


def test_i2_what_takes_nothing_away_is_left_alone() -> None:
    armed = {"spec": {"replicas": 1, "serviceName": "x", "updateStrategy": {"rollingUpdate": {"partition": 1}}}}
    stopped = {"metadata": {"name": SET}, "spec": {"replicas": 0, "updateStrategy": {"type": "OnDelete"}}}
    report = run(
        event("patch", "statefulsets", SET, 1, armed),
        event("patch", "statefulsets", SET, 2, {"metadata": {"annotations": {"a": "b"}}}),
        event("patch", "pods", POD, 3, {"metadata": {"labels": {"jil.io/serving": "true"}}}),
        event("patch", "statefulsets", "new", 4, stopped, responseStatus={"code": 201}),
        event("create", "statefulsets", "", 4, stopped, responseStatus={"code": 201}),
        event("delete", "pods", POD, 5, responseStatus={"code": 409}),
        event("delete", "pods", POD, 5, requestURI=POD_URI + "?dryRun=All"),
        event("delete", "pods", POD, 5, user={"username": "alice"}),
        event("delete", "pods", POD, 5, stage="RequestReceived"),
        event("get", "pods", POD, 5),
    )
    assert report.violations == []
    assert report.covered == []


def test_a_log_in_which_nothing_was_disrupted_is_no_proof() -> None:
    with pytest.raises(AssertionError, match="0 disruptive requests"):
        run().assert_clean()


def test_the_ledger_of_another_namespace_is_no_ledger() -> None:
    entry, request = REQUESTS["delete pod"]
    forged = ledger(1, open=(entry,))
    forged["objectRef"]["namespace"] = "jil-ch-finma"
    [violation] = run(forged, under("g-1", request)).violations
    assert "stands in no ledger" in violation.why
