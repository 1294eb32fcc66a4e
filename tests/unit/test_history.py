"""The witness of whole histories: a lawful one passes, and each way to break a rule is told."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.history import prove, tally, unsure

US, OTHER, KUBELET = "operator-a", "operator-b", "kubelet"
Events = list[dict[str, Any]]


class Log:
    """Writes audit events, one millisecond apart."""

    def __init__(self) -> None:
        self._clock = itertools.count(1)
        self.events: Events = []

    def add(self, user: str, verb: str, path: str, body: Any = None, code: int = 200, agent: str = "x") -> None:
        """``path``: resource/namespace/name, and /subresource."""
        parts = path.split("/")
        ref = dict(zip(("resource", "namespace", "name", "subresource"), parts, strict=False))
        moment = f"2026-01-01T00:00:00.{next(self._clock):06d}Z"
        self.events.append(
            {
                "stage": "ResponseComplete",
                "verb": verb,
                "user": {"username": user},
                "userAgent": agent,
                "objectRef": ref,
                "requestObject": body,
                "responseStatus": {"code": code},
                "requestReceivedTimestamp": moment,
                "stageTimestamp": moment,
                "requestURI": "/",
            }
        )

    def lease(self, user: str) -> None:
        self.add(user, "update", "leases/jil-system/jil-operator", {"spec": {"holderIdentity": f"{user}_1"}})

    def record(self, **spec: Any) -> None:
        operations = [{"op": "add", "path": f"/spec/{key}", "value": value} for key, value in spec.items()]
        self.add(US, "patch", "jilnoderecords/jil-system/n", operations)

    def permit(self, uid: str, mode: str = "require", machine: str = "m1", *, written: bool = True) -> None:
        if written:
            self.record(permit={"podUID": uid, "kubeNode": machine, "mode": mode})
        text = json.dumps({"podUID": uid, "mode": mode})
        body = {"metadata": {"uid": uid, "annotations": {"jil.io/start-permit": text}}}
        self.add(US, "patch", "pods/ns/n-validator-0", body)

    def ended(self) -> None:
        gone = {"containerStatuses": [{"name": "validator", "state": {"terminated": {"exitCode": 0}}}]}
        self.add(KUBELET, "patch", "pods/ns/n-validator-0/status", {"status": gone})

    def ledger(self, fence: int, *open_grants: str, closed: tuple[str, ...] = ()) -> None:
        def entries(ids: tuple[str, ...]) -> list[dict[str, Any]]:
            return [{"id": one, "act": "Stop", "target": {}, "outcome": "Returned"} for one in ids]

        document = {"seal": {"fence": fence}, "open": entries(open_grants), "closed": entries(closed)}
        body = {"data": {"ledger": json.dumps(document)}}
        self.add(US, "update", "configmaps/jil-system/ledger-net", body)


def wrong(log: Log) -> list[str]:
    return prove(log.events, users=[US, OTHER]).wrong


def lawful() -> Log:
    """A bring-up, a restart of the pod on the same machine, a change of leaders, a stop that was granted."""
    log = Log()
    log.lease(US)
    log.add(US, "create", "secrets/jil-system/n-validator-key", code=201)
    log.record(keys={"validator": {"fingerprint": "f"}}, genesisHash="g", bootstrapped=True)
    log.permit("pod-1", "create")
    log.ended()
    log.permit("pod-2")
    log.ledger(1, "g-1")
    log.ledger(2, closed=("g-1",))
    finalizers = [{"op": "test", "path": "/metadata/resourceVersion"}, {"op": "add", "path": "/metadata/finalizers"}]
    log.add(US, "patch", "jilnodes/ns/n", finalizers)
    log.add(US, "patch", "jilnodes/ns/n/status", {})
    log.lease(OTHER)
    log.add(OTHER, "patch", "services/ns/n-cache", {}, code=201)
    return log


def test_a_lawful_history_passes_and_says_how_much_it_looked_at() -> None:
    history = prove(lawful().events, users=[US, OTHER])
    history.assert_clean(writes=10, permits=2, secrets=1, terms=2)


def test_a_proof_over_nothing_fails() -> None:
    with pytest.raises(AssertionError, match="permits: 0 in the log"):
        prove([], users=[US]).assert_clean(permits=1)


BREACHES: dict[str, tuple[Callable[[Log], None], str]] = {
    "a claim is deleted": (
        lambda log: log.add(OTHER, "delete", "persistentvolumeclaims/ns/c"),
        "I4 .* never deletes what holds data",
    ),
    "a collection is deleted": (lambda log: log.add(OTHER, "deletecollection", "pods/ns"), "I4 .* whole collections"),
    "a pod is force-deleted": (
        lambda log: log.add(OTHER, "delete", "pods/ns/p", {"gracePeriodSeconds": 0}),
        "I1 .* force-deletion",
    ),
    "an act has no grant": (lambda log: log.add(OTHER, "delete", "deployments/ns/d", {}), "I2 .* names no grant"),
    "a key is made twice": (
        lambda log: log.add(OTHER, "create", "secrets/jil-system/n-validator-key", code=201),
        "I5 .* a second time",
    ),
    "a key is written again": (
        lambda log: log.add(OTHER, "update", "secrets/jil-system/n-validator-key"),
        "I5 .* never written again",
    ),
    "a spec is written": (
        lambda log: log.add(OTHER, "patch", "jilnodes/ns/n", {"spec": {"state": "Stopped"}}),
        "I10 .* only status and finalizers",
    ),
    "a foreign object is taken over": (
        lambda log: (
            log.add("somebody", "create", "services/ns/theirs", code=201),
            log.add(OTHER, "patch", "services/ns/theirs", {}),
        )[0],
        "I10 .* somebody made it",
    ),
    "a recorded key changes": (
        lambda log: log.record(keys={"validator": {"fingerprint": "other"}}),
        "I4 .* keys.validator was",
    ),
    "a recorded genesis is removed": (
        lambda log: log.add(
            US, "patch", "jilnoderecords/jil-system/n", [{"op": "remove", "path": "/spec/genesisHash"}]
        ),
        "I4 .* genesisHash",
    ),
    "a permit is not written down": (lambda log: log.permit("pod-3", written=False), "I1 .* no record names pod"),
    "a pod starts after one that nobody saw end": (
        lambda log: log.permit("pod-3", machine="m2"),
        "I1 .* nobody reported the end of pod pod-2",
    ),
    "a sign state is created twice": (
        lambda log: (log.ended(), log.permit("pod-3", "create"))[0],
        "I1 .* a sign state is created once",
    ),
    "the fence goes back": (lambda log: log.ledger(1, closed=("g-1",)), "I2 .* the fence goes from 2 to 1"),
    "an open grant is lost": (
        lambda log: (log.ledger(2, "g-2", closed=("g-1",)), log.ledger(2, closed=("g-1",)))[0],
        "I2 .* open grant g-2",
    ),
    "a deposed leader writes": (
        lambda log: log.add(US, "patch", "services/ns/n-cache", {}),
        "I2 .* operator-b holds the lease",
    ),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_every_breach_is_told(breach: str) -> None:
    log = lawful()
    act, told = BREACHES[breach]
    act(log)
    found = wrong(log)
    assert [line for line in found if re.search(told, line)], found


def test_what_was_removed_and_made_again_is_counted() -> None:
    log = Log()
    log.add(US, "create", "services/ns/s", code=201)
    log.add(US, "delete", "services/ns/s")
    log.add(US, "create", "services/ns/s", code=201)
    log.add(US, "create", "leases/ns/l", code=201)
    log.add(KUBELET, "create", "pods/ns/p", code=201)
    assert tally(log.events, users=[US]) == {"create services": 2, "delete services": 1}


def test_what_the_api_server_answered_with_an_error_of_its_own_may_have_been_done() -> None:
    log = Log()
    log.add(US, "patch", "services/ns/s", code=504)
    log.add(US, "delete", "services/ns/s", code=500)
    log.add(US, "patch", "services/ns/s", code=409)
    log.add(US, "get", "services/ns/s", code=504)
    log.add(US, "patch", "jilnodes/ns/n/status", code=504)
    log.add(OTHER, "patch", "services/ns/s", code=504)
    assert tally(log.events, users=[US]) == {}
    assert unsure(log.events, users=[US]) == {"create services": 1, "delete services": 1}


def test_a_kubelet_that_patches_something_else_afterwards_takes_no_end_back() -> None:
    log = Log()
    log.permit("pod-1", "create")
    log.ended()
    log.add(KUBELET, "patch", "pods/ns/n-validator-0/status", {"status": {"conditions": [{"type": "Ready"}]}})
    log.permit("pod-2", machine="m2")
    assert wrong(log) == []


def test_a_login_at_the_registry_is_renewed_and_no_key() -> None:
    log = Log()
    log.add(US, "create", "secrets/ns/n-pull", code=201)
    log.add(US, "update", "secrets/ns/n-pull")
    assert wrong(log) == []
    log.add(US, "update", "secrets/ns/n-pull-key")
    assert re.match("I5 .*n-pull-key", wrong(log)[0])
