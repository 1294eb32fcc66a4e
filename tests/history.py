"""The invariants over a whole history: read from the API server's audit log alone, by a witness who shares no code.

``prove`` takes every event of a run, from its beginning, and gives the sentences that are wrong with it. ``tests/audit``
looks at what was taken away (I2: every disruptive request has its grant); here it is joined with the rest:

- I1 a permit to start is written into the record before the pod sees it, the right to create a sign state is given to
  one pod, and a pod is let start after another only when that one's end was reported or both must run on one machine;
- I1 nothing is force-deleted;
- I2 the ledger's fence never goes back and no open grant is lost from it; from the moment in which a lease changes hands
  the one before writes nothing;
- I4 what holds data is never deleted by the operator, and what a record says of keys and volumes never changes;
- I5 identity Secrets are made by POST, once, and never written again;
- I10 of users' objects only status and finalizers are written, and nothing that somebody else made is taken over.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests import audit

Event = Mapping[str, Any]
GROUP = "jil.io"
PERMIT = "jil.io/start-permit"
WRITES = ("create", "update", "patch", "delete", "deletecollection")
#: Kinds whose objects are made by people (or by a pipeline).
USERS_KINDS = ("jilnodes", "jilnetworks", "jiljurisdictions", "jilreleases", "jiloperations")
#: How the names of Secrets end that are no identity but a node's login at the registry, which is renewed.
LOGIN = "-pull"
#: What holds data, keys or memory.
KEPT = ("persistentvolumeclaims", "persistentvolumes", "secrets", "jilnoderecords", "namespaces", "nodes", *USERS_KINDS)
#: Made by others and written by us on purpose: permits and serving on pods, the reclaim policy of volumes, the Lease.
SHARED = ("pods", "persistentvolumes", "leases", "jilnoderecords", *USERS_KINDS)


@dataclass
class History:
    """What ``prove`` found. ``counts``: what it looked at, so that a proof over nothing is seen to be one."""

    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def assert_clean(self, **at_least: int) -> None:
        """Fails with every wrong sentence, or when less was looked at than the test must have caused."""
        assert not self.wrong, "\n".join(self.wrong)
        for what, least in at_least.items():
            assert self.counts.get(what, 0) >= least, f"{what}: {self.counts.get(what, 0)} in the log, at least {least}"


def prove(
    events: Iterable[Event],
    *,
    users: Iterable[str],
    system_namespace: str = "jil-system",
    who: Callable[[Event], str] | None = None,
) -> History:
    """``users``: whose requests are the operator's. ``who`` tells its processes apart (default: by the user's name)."""
    ours = frozenset(users)
    done = sorted(
        (one for one in events if audit.carried_out(one) and one["verb"] in WRITES), key=lambda one: one[RECEIVED]
    )
    history = History()
    for user in sorted(ours):
        report = audit.check(done, user=user, system_namespace=system_namespace)
        history.wrong += [f"I2 {violation}" for violation in report.violations]
        _count(history, "disruptions", len(report.covered))
    mine = [one for one in done if one["user"]["username"] in ours]
    _count(history, "writes", len(mine))
    _data(mine, history)
    _identity(mine, done, history)
    _users_objects(mine, history)
    _takeovers(done, ours, history)
    _records(done, history)
    _permits(done, ours, history)
    _ledgers(done, system_namespace, history)
    _fencing(done, ours, who or (lambda one: str(one["user"]["username"])), history)
    return history


def tally(events: Iterable[Event], *, users: Iterable[str]) -> Counter[str]:
    """How often the operator created and deleted objects, as ``create pods``: what was removed and made again shows
    here though the end is the same. Leases and Events come by the clock and are not counted."""
    return _counted((event for event in events if audit.carried_out(event)), users)


def unsure(events: Iterable[Event], *, users: Iterable[str]) -> Counter[str]:
    """How often the API server itself answered 5xx to what may have been such a request: one for which etcd took longer
    than the request was given is carried out all the same."""
    return _counted((event for event in events if audit.may_be_carried_out(event)), users)


def _counted(events: Iterable[Event], users: Iterable[str]) -> Counter[str]:
    ours = frozenset(users)
    counted: Counter[str] = Counter()
    for event in events:
        if event["user"]["username"] not in ours or event["objectRef"].get("subresource"):
            continue
        resource, code = event["objectRef"].get("resource", ""), event["responseStatus"]["code"]
        if resource in ("leases", "events"):
            continue
        if event["verb"] == "delete":
            counted[f"delete {resource}"] += 1
        elif code == 201 or code >= 500:
            counted[f"create {resource}"] += 1
    return counted


RECEIVED, ANSWERED = "requestReceivedTimestamp", "stageTimestamp"


def _count(history: History, what: str, number: int = 1) -> None:
    history.counts[what] = history.counts.get(what, 0) + number


def _say(history: History, rule: str, event: Event, what: str) -> None:
    history.wrong.append(f"{rule} {event[RECEIVED]} {event['user']['username']} {event['verb']} {_path(event)}: {what}")


def _ref(event: Event) -> tuple[str, str, str]:
    """Resource, namespace and name of the object."""
    ref = event["objectRef"]
    return ref.get("resource", ""), ref.get("namespace", ""), audit.name_of(event)


def _path(event: Event) -> str:
    return "/".join(part for part in (*_ref(event), event["objectRef"].get("subresource", "")) if part)


def _operations(event: Event) -> list[Mapping[str, Any]]:
    """A JSON patch's operations that change something."""
    body = event.get("requestObject")
    return [one for one in body if one.get("op") != "test"] if isinstance(body, list) else []


# -- I1, I4: what is kept -----------------------------------------------------------------------------------------------
def _data(mine: list[Event], history: History) -> None:
    for event in mine:
        if event["verb"] not in ("delete", "deletecollection"):
            continue
        resource = event["objectRef"].get("resource", "")
        if event["verb"] == "deletecollection":
            _say(history, "I4", event, "the operator never deletes whole collections")
        elif resource in KEPT:
            _say(history, "I4", event, "the operator never deletes what holds data, keys or memory")
        elif (event.get("requestObject") or {}).get("gracePeriodSeconds") == 0:
            _say(history, "I1", event, "a force-deletion: nobody knows when its process ended")


# -- I5: keys -----------------------------------------------------------------------------------------------------------
def _identity(mine: list[Event], done: list[Event], history: History) -> None:
    made: set[tuple[str, str, str]] = set()
    users = {one["user"]["username"] for one in mine}
    for event in done:
        ref = _ref(event)
        if ref[0] != "secrets" or ref[2].endswith(LOGIN):
            continue
        if event["verb"] == "delete":
            made.discard(ref)
        elif event["user"]["username"] not in users:
            continue
        elif event["verb"] != "create":
            _say(history, "I5", event, "a Secret of identity is made once and never written again")
        else:
            _count(history, "secrets")
            if ref[2] and ref in made:
                _say(history, "I5", event, "made a second time")
            made.add(ref)


# -- I10: what belongs to others ----------------------------------------------------------------------------------------
def _users_objects(mine: list[Event], history: History) -> None:
    for event in mine:
        ref = event["objectRef"]
        if ref.get("resource") not in (*USERS_KINDS, "namespaces", "nodes") or ref.get("subresource") == "status":
            continue
        operations = _operations(event)
        finalizers = operations and all(str(one["path"]).startswith("/metadata/finalizers") for one in operations)
        if event["verb"] != "patch" or not finalizers or ref.get("resource") in ("namespaces", "nodes"):
            _say(history, "I10", event, "of users' objects only status and finalizers are the operator's to write")


def _takeovers(done: list[Event], ours: frozenset[str], history: History) -> None:
    creators: dict[tuple[str, str, str], str] = {}
    for event in done:
        ref, user = _ref(event), event["user"]["username"]
        if event["objectRef"].get("subresource"):
            continue
        if event["verb"] == "delete":
            creators.pop(ref, None)
        elif event["responseStatus"]["code"] == 201:
            creators[ref] = user
        elif user in ours and ref[0] not in SHARED and creators.get(ref, user) not in ours:
            _say(history, "I10", event, f"{creators[ref]} made it, and nobody gave it to the operator")


# -- I4, I5: what a record says stays said ------------------------------------------------------------------------------
def _records(done: list[Event], history: History) -> None:
    known: dict[str, dict[str, str]] = {}
    for event in done:
        resource, _, name = _ref(event)
        if resource != "jilnoderecords":
            continue
        if event["verb"] == "delete":
            known.pop(name, None)
            continue
        facts = known.setdefault(name, {})
        for path, value in _said(event):
            _count(history, "recorded facts")
            before = facts.setdefault(path, value)
            if before != value:
                _say(history, "I4", event, f"{path} was {before} and is made {value}")
                facts[path] = value


def _said(event: Event) -> Iterable[tuple[str, str]]:
    """What a write to a record says of things that never change, as (path, value)."""
    body = event.get("requestObject")
    spec = (body.get("spec") or {}) if isinstance(body, Mapping) else {}
    for operation in _operations(event):
        parts = str(operation["path"]).split("/")
        if parts[:2] == ["", "spec"] and len(parts) == 3:
            if operation["op"] == "remove" and parts[2] in ("keys", "volumes", "genesisHash", "bootstrapped"):
                yield parts[2], "removed"
            spec = {**spec, parts[2]: operation.get("value")}
    for kind, key in (spec.get("keys") or {}).items():
        if key:
            yield f"keys.{kind}", json.dumps(key, sort_keys=True)
    for volume in spec.get("volumes") or ():
        yield f"volumes.{volume['component']}.pvcUID", str(volume["pvcUID"])
    if spec.get("genesisHash"):
        yield "genesisHash", str(spec["genesisHash"])
    if spec.get("bootstrapped") or (spec.get("bootstrapped") is False and not _new(event)):
        yield "bootstrapped", json.dumps(spec["bootstrapped"])


def _new(event: Event) -> bool:
    return bool(event["responseStatus"]["code"] == 201)


# -- I1: permits --------------------------------------------------------------------------------------------------------
@dataclass
class _Permitted:
    """A pod that was let start. ``ended``: its kubelet reported the end of every container."""

    uid: str
    mode: str
    machine: str | None
    ended: bool = False
    passed: bool = True


def _permits(done: list[Event], ours: frozenset[str], history: History) -> None:
    recorded: dict[str, tuple[str, str | None]] = {}  # pod UID -> (when it was in a record, machine)
    pods: dict[tuple[str, str], _Permitted] = {}
    for event in done:
        resource, namespace, name = _ref(event)
        body = event.get("requestObject")
        if resource == "jilnoderecords":
            for operation in _operations(event):
                if operation["path"] == "/spec/permit" and operation.get("value"):
                    permit = operation["value"]
                    recorded[permit["podUID"]] = (event[ANSWERED], permit.get("kubeNode"))
        elif resource == "pods" and event["objectRef"].get("subresource") == "status" and isinstance(body, Mapping):
            _reported(pods.get((namespace, name)), body.get("status") or {})
        elif resource == "pods" and event["user"]["username"] in ours and isinstance(body, Mapping):
            text = ((body.get("metadata") or {}).get("annotations") or {}).get(PERMIT)
            if text:
                _permitted(event, json.loads(text), body, recorded, pods, history)


def _reported(pod: _Permitted | None, status: Mapping[str, Any]) -> None:
    if pod is None:
        return
    if "containerStatuses" in status:  # a real kubelet patches what has changed: its other writes say nothing of it
        containers = status["containerStatuses"] or ()
        pod.ended = bool(containers) and all("terminated" in (one.get("state") or {}) for one in containers)
    for one in status.get("initContainerStatuses") or ():
        ended = (one.get("state") or {}).get("terminated")
        if one.get("name") == "guard":
            pod.passed = ended is None or ended.get("exitCode") == 0


def _permitted(
    event: Event,
    permit: Mapping[str, Any],
    body: Mapping[str, Any],
    recorded: Mapping[str, tuple[str, str | None]],
    pods: dict[tuple[str, str], _Permitted],
    history: History,
) -> None:
    _count(history, "permits")
    _, namespace, name = _ref(event)
    uid, mode = str(permit["podUID"]), str(permit["mode"])
    if body["metadata"].get("uid") != uid:
        _say(history, "I1", event, f"the permit is for pod {uid}, the write is not bound to it")
    entry = recorded.get(uid)
    if entry is None:
        _say(history, "I1", event, f"no record names pod {uid}: a permit that is not written down can be given twice")
    elif entry[0] > event[RECEIVED]:
        _say(history, "I1", event, f"the record names pod {uid} at {entry[0]} only, after the permit was sent")
    machine = entry[1] if entry else None
    before = pods.get((namespace, name))
    if before is not None and before.uid != uid:
        if not before.ended and (machine is None or before.machine != machine):
            _say(history, "I1", event, f"nobody reported the end of pod {before.uid}, which was let start before")
        if mode == "create" and before.passed:
            _say(history, "I1", event, f"pod {before.uid} had the right to start already: a sign state is created once")
    pods[namespace, name] = _Permitted(uid, mode, machine)


# -- I2: the ledger, and who may write ----------------------------------------------------------------------------------
def _ledgers(done: list[Event], system_namespace: str, history: History) -> None:
    known: dict[str, Mapping[str, Any]] = {}
    for event in done:
        resource, namespace, name = _ref(event)
        if resource != "configmaps" or namespace != system_namespace or not name.startswith("ledger-"):
            continue
        if event["verb"] == "delete":
            known.pop(name, None)
            continue
        try:
            ledger = json.loads(event["requestObject"]["data"]["ledger"])
        except (KeyError, TypeError, ValueError):
            continue
        _count(history, "ledger writes")
        before = known.get(name)
        known[name] = ledger
        if before is None:
            continue
        if ledger["seal"]["fence"] < before["seal"]["fence"]:
            _say(history, "I2", event, f"the fence goes from {before['seal']['fence']} to {ledger['seal']['fence']}")
        there = {one["id"] for part in ("open", "closed") for one in ledger.get(part) or ()}
        for one in before.get("open") or ():
            if one["id"] not in there:
                _say(history, "I2", event, f"open grant {one['id']} ({one['act']}) is gone from the ledger")


def _fencing(done: list[Event], ours: frozenset[str], who: Callable[[Event], str], history: History) -> None:
    """A process that does not hold the lease writes nothing from the moment in which another has taken it."""
    terms: list[tuple[str, str]] = []  # (since, process)
    for event in done:
        body = event.get("requestObject")
        if event["objectRef"].get("resource") == "leases" and isinstance(body, Mapping):
            holder = (body.get("spec") or {}).get("holderIdentity")
            if event["user"]["username"] in ours and holder and (not terms or terms[-1][1] != who(event)):
                terms.append((event[ANSWERED], who(event)))
                _count(history, "terms")
    for event in done:
        if event["user"]["username"] not in ours or event["objectRef"].get("resource") == "leases":
            continue
        holder = next((process for since, process in reversed(terms) if since < event[RECEIVED]), None)
        if holder is not None and holder != who(event):
            _say(history, "I2", event, f"{holder} holds the lease")
