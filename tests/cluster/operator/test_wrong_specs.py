"""Wrong specs give one clear condition with the remedy, and harm nothing."""

from __future__ import annotations

from tests.sim.home import Home
from tests.sim.world import JIL, World

CORE = "/api/v1/namespaces"
MERGE = "application/merge-patch+json"


def _reason(world: World, namespace: str, name: str) -> tuple[str, str]:
    condition = world.condition(namespace, name, "SpecValid")
    return condition.get("reason", ""), condition.get("message", "")


def _expect(world: World, namespace: str, name: str, reason: str, remedy: str) -> None:
    world.until(lambda: _reason(world, namespace, name)[0] == reason, f"{namespace}/{name} to say {reason}")
    assert remedy in _reason(world, namespace, name)[1]
    assert world.phase(namespace, name) == "Invalid"
    assert world.api.get(f"{CORE}/{namespace}/pods")["items"] == []


def test_an_unknown_release_is_told_and_mended_by_applying_it(world: World) -> None:
    member = {"nodeId": "FR-PAR-01", "zone": "FR/AMF", "founder": True, "namespace": "jil-no-release"}
    world.network("no-release", [member])
    world.jurisdiction("jil-no-release", "no-release", zone="FR/AMF", release="r-missing")
    world.node("jil-no-release", "fr-par-01", "FR-PAR-01")
    _expect(world, "jil-no-release", "fr-par-01", "ReleaseNotFound", "apply it")
    world.release("r-missing")
    world.until_ready("jil-no-release", "fr-par-01")


def test_a_namespace_without_labels_is_refused_with_the_command_that_mends_it(world: World) -> None:
    member = {"nodeId": "FR-PAR-02", "zone": "FR/AMF", "founder": True, "namespace": "jil-bare"}
    world.network("bare", [member])
    world.ensure_namespace("jil-bare")
    body = {
        "apiVersion": "jil.io/v1alpha1",
        "kind": "JILJurisdiction",
        "metadata": {"name": "main", "namespace": "jil-bare"},
        "spec": {"zone": "FR/AMF", "network": "bare", "release": "r1"},
    }
    world.api.create(f"{JIL}/namespaces/jil-bare/jiljurisdictions", body)
    world.node("jil-bare", "fr-par-02", "FR-PAR-02")
    _expect(world, "jil-bare", "fr-par-02", "NamespaceNotLabelled", "kubectl label namespace jil-bare")
    labels = {
        "jil.io/network": "bare",
        "jil.io/jurisdiction": "main",
        "pod-security.kubernetes.io/enforce": "restricted",
    }
    world.api.request("PATCH", "/api/v1/namespaces/jil-bare", {"metadata": {"labels": labels}}, content_type=MERGE)
    world.until_ready("jil-bare", "fr-par-02")


def test_a_node_without_a_jurisdiction_is_told(world: World) -> None:
    world.ensure_namespace("jil-nothing")
    world.node("jil-nothing", "fr-par-03", "FR-PAR-03")
    _expect(world, "jil-nothing", "fr-par-03", "JurisdictionNotFound", "create one")


def test_a_second_jurisdiction_in_one_namespace_stops_nothing_that_runs(world: World, running: Home) -> None:
    pods = {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{running.namespace}/pods")["items"]}
    body = {
        "apiVersion": "jil.io/v1alpha1",
        "kind": "JILJurisdiction",
        "metadata": {"name": "second", "namespace": running.namespace},
        "spec": {"zone": "CH/FINMA", "network": running.network, "release": "r1"},
    }
    path = f"{JIL}/namespaces/{running.namespace}/jiljurisdictions"
    world.api.create(path, body)
    world.until(
        lambda: _reason(world, running.namespace, running.name)[0] == "SecondJurisdiction",
        "the second one to be told",
    )
    assert {p["metadata"]["uid"] for p in world.api.get(f"{CORE}/{running.namespace}/pods")["items"]} == pods
    world.api.delete(f"{path}/second")
    world.until_ready(running.namespace, running.name)


def test_a_node_id_that_is_no_member_is_told(world: World, home: Home) -> None:
    world.node(home.namespace, "stranger", "XX-NONE-99")
    _expect(world, home.namespace, "stranger", "NodeIdNotMember", "adding")


def test_a_node_id_that_is_claimed_is_refused_and_its_owner_unharmed(world: World, running: Home) -> None:
    world.node(running.namespace, "copycat", running.node_id)
    world.until(lambda: _reason(world, running.namespace, "copycat")[0] == "NodeIdClaimed", "the claim to be told")
    assert world.phase(running.namespace, running.name) == "Ready"
    assert world.record(running.node_id)["spec"]["owner"]["name"] == running.name
    path = f"{JIL}/namespaces/{running.namespace}/jilnodes/copycat"
    world.api.delete(path)
    world.until(
        lambda: [n["metadata"]["name"] for n in world.api.get(path.rsplit("/", 1)[0])["items"]] == [running.name],
        "the copycat to be deleted without touching the node",
    )
    world.until_ready(running.namespace, running.name)


def test_an_override_of_an_unknown_service_is_told(world: World, home: Home) -> None:
    world.node(home.namespace, home.name, home.node_id, services=[{"name": "nope", "replicas": 2}])
    _expect(world, home.namespace, home.name, "UnknownService", "transfers")


def test_an_object_of_somebody_else_with_a_childs_name_is_left_alone_and_told(world: World, home: Home) -> None:
    path = f"{CORE}/{home.namespace}/services"
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"{home.name}-cache"},
        "spec": {"ports": [{"port": 11211}], "selector": {"app": "memcached"}},
    }
    made = world.api.create(path, theirs)
    world.node(home.namespace, home.name, home.node_id)
    world.until(lambda: _reason(world, home.namespace, home.name)[0] == "NameTaken", "the clash to be told")
    assert f"{home.name}-cache" in _reason(world, home.namespace, home.name)[1]
    assert world.api.get(f"{path}/{home.name}-cache")["spec"] == made["spec"]
    world.api.delete(f"{path}/{home.name}-cache")
    world.patch_node(home.namespace, home.name, {"region": "ch-zug-2"})
    world.until_ready(home.namespace, home.name)
