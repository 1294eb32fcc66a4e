"""Every disruptive request has its grant: read from the API server's audit log alone (I2).

An independent witness: it shares no code with the operator. It reads two things from the log, the ledger ConfigMaps as
they were written and the requests that take something away, and demands of each such request that

- its User-Agent names a grant (``grant/<id>``) that a ledger held *before* the request came in, and that was not given
  back before it;
- the grant is for this act on this object, by UID;
- the request carries UID and resourceVersion as preconditions, so that it can hit nothing else.

The log must have request bodies (level Request) for writes to ConfigMaps, workloads and pods.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SERVING = "jil.io/serving"
WORKLOADS = ("statefulsets", "deployments")
#: Act in the ledger -> what it may do, as (operation, resource). ``*``: everything that is no pod and no workload.
MAY: Mapping[str, tuple[tuple[str, str], ...]] = {
    "Stop": (("scale", "statefulsets"), ("scale", "deployments")),
    "Disarm": (("disarm", "statefulsets"),),
    "ServingOff": (("serving-off", "pods"),),
    "Drain": (("delete", "pods"),),
    "DeletePod": (("delete", "pods"),),
    "DeleteWorkload": (("delete", "statefulsets"), ("delete", "deployments")),
    "Prune": (("delete", "*"),),
}
_GRANT = re.compile(r"\bgrant/(\S+)")


@dataclass(frozen=True)
class Disruption:
    """One request that takes something away and was carried out. ``operation``: delete, scale, disarm, serving-off."""

    operation: str
    resource: str
    namespace: str
    name: str
    user: str
    grant: str | None
    uid: str | None
    resource_version: str | None
    received: str

    def __str__(self) -> str:
        return f"{self.received} {self.user}: {self.operation} {self.resource} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Violation:
    """A disruptive request that its grant does not cover."""

    request: Disruption
    why: str

    def __str__(self) -> str:
        return f"{self.request}: {self.why}"


@dataclass
class Report:
    """``covered``: request and grant id. ``grants``: every grant that any ledger held, with its written facts."""

    covered: list[tuple[Disruption, str]] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    grants: dict[str, dict[str, Any]] = field(default_factory=dict)

    def assert_clean(self, at_least: int = 1) -> None:
        """Fails with every violation, or when fewer disruptive requests were seen than the test must have made."""
        assert not self.violations, "\n".join(map(str, self.violations))
        assert len(self.covered) >= at_least, f"{len(self.covered)} disruptive requests in the log, expected {at_least}"


@dataclass
class _Held:
    entry: dict[str, Any]
    since: str
    until: str | None = None


def check(events: Iterable[Mapping[str, Any]], *, user: str, system_namespace: str = "jil-system") -> Report:
    """The report over an audit log for the requests of ``user``, e.g. ``system:serviceaccount:jil-system:jil-operator``.

    ``events``: the parsed lines, in any order. Ledgers count whoever wrote them; refused requests and dry runs do not.
    """
    done = [one for one in events if carried_out(one)]
    held = _ledgers(done, system_namespace)
    report = Report(grants={grant: one.entry for grant, one in held.items()})
    for request in disruptions(done):
        if request.user != user:
            continue
        why = _fault(request, held)
        if why:
            report.violations.append(Violation(request, why))
        else:
            report.covered.append((request, request.grant or ""))
    return report


def carried_out(event: Mapping[str, Any]) -> bool:
    """Whether a request changed something: refused ones and dry runs did not."""
    return (
        event.get("stage") == "ResponseComplete"
        and event.get("responseStatus", {}).get("code", 500) < 300
        and "objectRef" in event
        and "dryRun=" not in event.get("requestURI", "")
    )


def may_be_carried_out(event: Mapping[str, Any]) -> bool:
    """Whether a request to change something was answered with an error that leaves open whether it did."""
    return (
        event.get("stage") == "ResponseComplete"
        and event.get("responseStatus", {}).get("code", 0) >= 500
        and event["verb"] in ("create", "update", "patch", "delete")
        and "objectRef" in event
        and "dryRun=" not in event.get("requestURI", "")
    )


# -- what was granted ---------------------------------------------------------------------------------------------------
def _ledgers(done: list[Mapping[str, Any]], system_namespace: str) -> dict[str, _Held]:
    """Grant id -> since when a ledger held it, and until when (None: to the end)."""
    held: dict[str, _Held] = {}
    for event in sorted(done, key=lambda one: one["stageTimestamp"]):
        ref = event["objectRef"]
        ledger = ref.get("name", "").startswith("ledger-") and ref.get("namespace") == system_namespace
        if not ledger or ref.get("resource") != "configmaps" or event["verb"] not in ("create", "update", "patch"):
            continue
        try:
            document = json.loads((event.get("requestObject") or {})["data"]["ledger"])
        except (KeyError, TypeError, ValueError):
            continue
        for entry in (*document.get("open", ()), *document.get("closed", ())):
            held.setdefault(entry["id"], _Held(entry, event["stageTimestamp"]))
        for entry in document.get("closed", ()):
            given_back = entry.get("outcome") != "Recorded" and held[entry["id"]].until is None
            if given_back:
                held[entry["id"]].until = event["stageTimestamp"]
    return held


# -- what was done ------------------------------------------------------------------------------------------------------
def disruptions(done: list[Mapping[str, Any]]) -> list[Disruption]:
    """The requests that took something away. Lowering is seen against what earlier requests in the log had set."""
    found: list[Disruption] = []
    known: dict[tuple[str, str, str, str], int] = {}
    for event in sorted(done, key=lambda one: one["stageTimestamp"]):
        ref, verb = event["objectRef"], event["verb"]
        resource, subresource = ref.get("resource", ""), ref.get("subresource", "")
        body = event.get("requestObject")
        if verb in ("delete", "deletecollection") or (subresource == "eviction" and verb == "create"):
            found.append(_request("delete", event, (body or {}).get("preconditions") or {}))
            for operation in ("scale", "disarm"):
                known.pop((resource, ref.get("namespace", ""), name_of(event), operation), None)
        elif resource in WORKLOADS and subresource in ("", "scale") and verb in ("create", "update", "patch"):
            where = (resource, ref.get("namespace", ""), name_of(event))
            # Server-side apply creates by PATCH too; what did not exist is not lowered.
            created = event["responseStatus"]["code"] == 201
            for operation, value in _settings(body, whole=verb in ("create", "update")):
                before = known.get((*where, operation), 1)
                known[*where, operation] = value
                if value < before and not created:
                    found.append(_request(operation, event, _metadata(body)))
        elif resource == "pods" and subresource == "" and verb in ("update", "patch") and _serving_off(body):
            found.append(_request("serving-off", event, _metadata(body)))
    return found


def _request(operation: str, event: Mapping[str, Any], precondition: Mapping[str, Any]) -> Disruption:
    ref = event["objectRef"]
    named = _GRANT.search(event.get("userAgent", ""))
    return Disruption(
        operation=operation if event["verb"] != "deletecollection" else "deletecollection",
        resource=ref["resource"],
        namespace=ref.get("namespace", ""),
        name=name_of(event),
        user=event["user"]["username"],
        grant=named.group(1) if named else None,
        uid=precondition.get("uid"),
        resource_version=precondition.get("resourceVersion"),
        received=event["requestReceivedTimestamp"],
    )


def name_of(event: Mapping[str, Any]) -> str:
    """The object's name; of a POST it stands in the body only."""
    body = event.get("requestObject")
    named = body.get("metadata", {}).get("name", "") if isinstance(body, Mapping) else ""
    return str(event["objectRef"].get("name") or named)


def _metadata(body: Any) -> Mapping[str, Any]:
    """UID and resourceVersion that a write demands: of an object its metadata, of a JSON patch its tests."""
    if isinstance(body, Mapping):
        return body.get("metadata") or {}
    return {
        str(operation.get("path", "")).removeprefix("/metadata/"): operation.get("value")
        for operation in body or ()
        if operation.get("op") == "test"
    }


def _settings(body: Any, *, whole: bool) -> list[tuple[str, int]]:
    """What a write sets, as (scale, replicas) and (disarm, partition)."""
    if isinstance(body, list):
        return [one for operation in body for one in _json_patch_settings(operation)]
    spec = (body or {}).get("spec") or {}
    found: list[tuple[str, int]] = []
    if isinstance(spec.get("replicas"), int):
        found.append(("scale", spec["replicas"]))
    if "updateStrategy" in spec or (whole and "serviceName" in spec):
        found.append(("disarm", _partition(spec.get("updateStrategy"))))
    return found


def _json_patch_settings(operation: Mapping[str, Any]) -> list[tuple[str, int]]:
    path, value, removes = operation.get("path", ""), operation.get("value"), operation.get("op") == "remove"
    if operation.get("op") == "test":
        return []
    if path == "/spec/replicas":
        return [("scale", 1 if removes else int(value or 0))]
    if path.startswith("/spec/updateStrategy"):
        if path.endswith("/partition"):
            return [("disarm", 0 if removes else int(value or 0))]
        whole = path == "/spec/updateStrategy" and not removes
        return [("disarm", _partition(value) if whole else _partition({"rollingUpdate": value}) if value else 0)]
    return []


def _partition(strategy: Any) -> int:
    if not isinstance(strategy, Mapping) or strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return 0
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


def _serving_off(body: Any) -> bool:
    if isinstance(body, list):
        pointer = "/metadata/labels/" + SERVING.replace("/", "~1")
        return any(
            operation.get("op") != "test" and operation.get("path") == pointer and operation.get("value") != "true"
            for operation in body
        )
    labels = ((body or {}).get("metadata") or {}).get("labels") or {}
    return SERVING in labels and labels[SERVING] != "true"


# -- the comparison -----------------------------------------------------------------------------------------------------
def _fault(request: Disruption, held: Mapping[str, _Held]) -> str | None:
    if request.operation == "deletecollection":
        return "a whole collection was deleted: no grant covers that"
    if request.grant is None:
        return "the User-Agent names no grant"
    grant = held.get(request.grant)
    if grant is None:
        return f"grant {request.grant} stands in no ledger"
    if grant.since > request.received:
        return f"grant {request.grant} was written at {grant.since}, after the request came in"
    if grant.until is not None and grant.until < request.received:
        return f"grant {request.grant} was given back at {grant.until}, before the request came in"
    return _mismatch(request, grant.entry)


def _mismatch(request: Disruption, entry: Mapping[str, Any]) -> str | None:
    target = entry["target"]
    covered = MAY.get(entry["act"], ())
    special = request.resource == "pods" or request.resource in WORKLOADS
    if (request.operation, request.resource if special else "*") not in covered:
        return f"grant {request.grant} is for {entry['act']}, not for {request.operation} of {request.resource}"
    granted = (_plural(target["kind"]), target["namespace"], target["name"])
    if (request.resource, request.namespace, request.name) != granted:
        return f"grant {request.grant} is for {target['kind']} {target['namespace']}/{target['name']}"
    if not request.uid or not request.resource_version:
        return "UID and resourceVersion are not both preconditions of the request"
    if request.uid != target["uid"]:
        return f"grant {request.grant} is for UID {target['uid']}, the request was for {request.uid}"
    return None


def _plural(kind: str) -> str:
    """The resource of a kind: NetworkPolicy is networkpolicies."""
    name = kind.lower()
    return f"{name.removesuffix('y')}ies" if name.endswith("y") else f"{name}s"
