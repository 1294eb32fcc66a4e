"""Running, Stopped, Maintenance and deletion, through the gate and in order."""

from __future__ import annotations

from typing import Any

from tests import audit
from tests.sim.home import Home
from tests.sim.world import JIL, SYSTEM, World

CORE = "/api/v1/namespaces"
APPS = "/apis/apps/v1/namespaces"
ORDER = ["transfers", "health", "validator", "broker", "cache", "database"]


def _scalings(world: World, home: Home, since: int) -> list[dict[str, Any]]:
    """Requests of the operator that set replicas of a workload and were carried out, or may have been, in the order of the
    audit log. One that met another version was not: it is decided anew."""
    found = []
    for entry in world.plane.audit_entries(since):
        body = entry.get("requestObject")
        if (
            entry["verb"] == "patch"
            and (audit.carried_out(entry) or audit.may_be_carried_out(entry))
            and entry["objectRef"].get("namespace") == home.namespace
            and entry["objectRef"]["resource"] in ("statefulsets", "deployments")
            and isinstance(body, dict)
            and body.get("spec", {}).get("replicas") == 0
            and "template" not in body["spec"]
        ):
            found.append(entry)
    return found


def _components(scalings: list[dict[str, Any]], home: Home) -> list[str]:
    """Whose they are; a request that had to be sent again counts where it was sent first."""
    return list(dict.fromkeys(e["objectRef"]["name"].removeprefix(f"{home.name}-") for e in scalings))


def test_stopped_goes_in_order_under_grants_and_starts_again(world: World, running: Home) -> None:
    claims = world.api.get(f"{CORE}/{running.namespace}/persistentvolumeclaims")["items"]
    since = world.plane.audit_position()
    world.patch_node(running.namespace, running.name, {"state": "Stopped"})
    world.until(lambda: world.phase(running.namespace, running.name) == "Stopped", "the node to stop")
    scalings = _scalings(world, running, since)
    assert _components(scalings, running) == ORDER
    for entry in scalings:
        assert "grant/" in entry["userAgent"], entry["userAgent"]
    assert world.api.get(f"{CORE}/{running.namespace}/pods")["items"] == []
    status = world.get_node(running.namespace, running.name)["status"]
    assert status["state"] == "Stopped"
    assert world.condition(running.namespace, running.name, "Ready")["status"] == "True", "Stopped is healthy"
    after = world.api.get(f"{CORE}/{running.namespace}/persistentvolumeclaims")["items"]
    assert {c["metadata"]["uid"] for c in after} == {c["metadata"]["uid"] for c in claims}
    world.patch_node(running.namespace, running.name, {"state": "Running"})
    world.until_ready(running.namespace, running.name)
    ledger = f"{CORE}/{SYSTEM}/configmaps/ledger-{running.network}"
    world.until(
        lambda: '"open":[]' in world.api.get(ledger)["data"]["ledger"].replace(" ", ""),
        "the grant to be given back now that the validator runs again",
    )


def test_maintenance_takes_traffic_off_and_keeps_every_pod(world: World, running: Home) -> None:
    pods = {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{running.namespace}/pods")["items"]}
    world.patch_node(running.namespace, running.name, {"state": "Maintenance"})
    world.until(lambda: world.phase(running.namespace, running.name) == "Maintenance", "maintenance")

    def serving() -> list[str]:
        pods = [p["metadata"]["labels"] for p in world.api.get(f"{CORE}/{running.namespace}/pods")["items"]]
        return [labels["jil.io/serving"] for labels in pods if labels["app.kubernetes.io/name"] == "transfers"]

    world.until(lambda: serving() == ["false"], "the traffic to be off")
    assert {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{running.namespace}/pods")["items"]} == pods
    assert world.condition(running.namespace, running.name, "Serving")["reason"] == "Maintenance"
    world.patch_node(running.namespace, running.name, {"state": "Running"})
    world.until_ready(running.namespace, running.name)
    assert world.condition(running.namespace, running.name, "Serving")["status"] == "True"


def test_i2_a_network_that_may_not_halt_keeps_its_only_validator(world: World) -> None:
    member = {"nodeId": "US-DAL-01", "zone": "US/SEC", "founder": True, "namespace": "jil-no-halt"}
    world.network("no-halt", [member], allow_halt=False)
    world.jurisdiction("jil-no-halt", "no-halt", zone="US/SEC")
    world.node("jil-no-halt", "us-dal-01", "US-DAL-01")
    world.until_ready("jil-no-halt", "us-dal-01")
    pods = {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/jil-no-halt/pods")["items"]}
    world.patch_node("jil-no-halt", "us-dal-01", {"state": "Stopped"})

    def refused() -> bool:
        waiting = world.get_node("jil-no-halt", "us-dal-01")["status"].get("waitingFor", {})
        return waiting.get("reason") == "WaitingForGrant" and "allowHalt" in waiting["message"]

    world.until(refused, "the refusal to show")
    after = {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/jil-no-halt/pods")["items"]}
    assert after == pods, "a node whose validator may not go stays whole"
    labels = [
        p["metadata"]["labels"].get("jil.io/serving", "true")
        for p in world.api.get(f"{CORE}/jil-no-halt/pods")["items"]
    ]
    assert set(labels) == {"true"}
    world.api.delete(f"{JIL}/namespaces/jil-no-halt/jilnodes/us-dal-01")
    world.until(
        lambda: world.condition("jil-no-halt", "us-dal-01", "Ready").get("reason") == "DeletionBlocked",
        "the deletion to be blocked, with the arithmetic",
    )
    assert {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/jil-no-halt/pods")["items"]} == pods
    world.api.request(
        "PATCH",
        f"{JIL}/jilnetworks/no-halt",
        {"spec": {"disruption": {"allowHalt": True}}},
        content_type="application/merge-patch+json",
    )
    world.until(
        lambda: (
            not any(
                n["metadata"]["name"] == "us-dal-01"
                for n in world.api.get(f"{JIL}/namespaces/jil-no-halt/jilnodes")["items"]
            )
        ),
        "the deletion to go on once it is allowed",
    )


def test_i2_every_disruptive_request_of_this_run_has_its_grant(world: World, running: Home) -> None:
    """Runs last in this file on the audit log of everything that happened before in this world."""
    world.patch_node(running.namespace, running.name, {"state": "Stopped"})
    world.until(lambda: world.phase(running.namespace, running.name) == "Stopped", "the node to stop")
    report = audit.check(world.plane.audit_entries(0), user="admin")
    report.assert_clean(at_least=6)  # the stop alone has six workloads


def test_pruning_with_foreground_deletion_kills_nothing_before_its_turn(world: World, running: Home) -> None:
    path = f"{JIL}/namespaces/{running.namespace}/jilnodes/{running.name}"
    since = world.plane.audit_position()
    world.api.request("DELETE", path, {"propagationPolicy": "Foreground"})
    world.until(lambda: not world.api.get(f"{JIL}/namespaces/{running.namespace}/jilnodes")["items"], "the node to go")
    assert _components(_scalings(world, running, since), running) == ORDER, (
        "the garbage collector took nothing: the operator did, in order"
    )
    assert len(world.api.get(f"{CORE}/{running.namespace}/persistentvolumeclaims")["items"]) == 4
