"""Nodes' own logins: the real operator, a real API server, the real registry. A login holds for ten seconds here."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from jil.observe.registry import Credentials, RegistryClient, RegistryPush, RegistryUnknown
from testbed.controlplane import ControlPlane
from tests.cluster.registry import node_logins, rig
from tests.cluster.registry.node_logins import NodeLoginRegistry
from tests.sim.home import Home
from tests.sim.world import JIL, World

CORE = "/api/v1/namespaces"
MERGE = "application/merge-patch+json"
LIFETIME = 10
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """A world whose operator gives nodes logins at ``registry``."""

    world: World
    registry: NodeLoginRegistry

    def secret(self, home: Home) -> dict[str, Any]:
        return self.world.api.get(_path(home))

    def content(self, home: Home) -> bytes:
        return base64.b64decode(self.secret(home)["data"][".dockerconfigjson"])

    def claims(self, home: Home) -> dict[str, Any]:
        """What the login says, without asking whether it is true: that is the registry's part."""
        (entry,) = json.loads(self.content(home))["auths"].values()
        payload = base64.b64decode(entry["auth"]).decode().split(".")[1]
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return found

    def pulls(self, image: str, secret: bytes) -> bool:
        """Whether a client with that Secret gets the image's manifest."""

        async def ask() -> bool:
            access = replace(self.registry.registry.access, credentials=Credentials.from_docker_config(secret))
            async with RegistryClient(access) as client:
                try:
                    await client.manifest(image)
                except RegistryUnknown:
                    return False
                return True

        return asyncio.run(ask())

    def pushed(self) -> str:
        """An image in the registry, by digest."""

        async def push() -> str:
            repository = self.registry.registry.repository()
            async with RegistryClient(self.registry.registry.access) as client:
                return f"{repository}@{await rig.push_image(RegistryPush(client), repository)}"

        return asyncio.run(push())

    def until_pulls(self, image: str, home: Home) -> None:
        """The login of now: on a machine that stands still for its life it ends before it is renewed."""
        self.world.until(lambda: self.pulls(image, self.content(home)), f"{home.name} to pull")

    def home(self) -> Home:
        """A node of a network of its own, declared."""
        number = next(_numbers)
        namespace, node_id = f"jil-login-{number}", f"CH-ZUG-{number:02d}"
        member = {"nodeId": node_id, "zone": "CH/FINMA", "founder": True, "namespace": namespace}
        self.world.network(f"net-{number}", [member])
        self.world.jurisdiction(namespace, f"net-{number}")
        self.world.node(namespace, node_id.lower(), node_id)
        return Home(f"net-{number}", namespace, node_id.lower(), node_id)

    def requests(self, home: Home, since: int, verb: str = "") -> list[str]:
        """What the operator did with the Secret since a position of the audit log: every verb, or this one."""
        found = []
        for entry in self.world.plane.audit_entries(since):
            target = entry.get("objectRef") or {}
            ours = entry.get("userAgent", "").startswith("jil-operator/")
            if ours and (target.get("namespace"), target.get("name")) == (home.namespace, f"{home.name}-pull"):
                done = entry.get("responseStatus", {}).get("code", 500) < 300
                found += [entry["verb"]] if done and verb in ("", entry["verb"]) else []
        return found


def _path(home: Home) -> str:
    return f"{CORE}/{home.namespace}/secrets/{home.name}-pull"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    logs: Path = tmp_path_factory.mktemp("operator")
    with node_logins.running(tmp_path_factory.mktemp("registry")) as registry, ControlPlane() as plane:
        env = {
            "JIL_NODE_LOGIN_REGISTRY": registry.registry.host,
            "JIL_NODE_LOGIN_KEY": str(registry.key),
            "JIL_NODE_LOGIN_LIFETIME": str(LIFETIME),
        }
        with World(plane, logs, env) as world:
            world.release("r1")
            world.operator()
            yield Place(world, registry)


@pytest.fixture(scope="module")
def zug(place: Place) -> Home:
    return place.home()


@pytest.fixture(scope="module")
def bern(place: Place) -> Home:
    return place.home()


@pytest.fixture(autouse=True)
def ready(place: Place, zug: Home, bern: Home) -> None:
    place.registry.deny()
    for home in (zug, bern):
        place.world.until_ready(home.namespace, home.name)


def test_every_node_has_a_login_of_its_own_and_every_pod_names_it(place: Place, zug: Home, bern: Home) -> None:
    image = place.pushed()
    contents = {home.node_id: place.content(home) for home in (zug, bern)}
    assert contents[zug.node_id] != contents[bern.node_id]
    assert {place.claims(home)["sub"] for home in (zug, bern)} == {zug.node_id, bern.node_id}
    for home in (zug, bern):
        place.until_pulls(image, home)
    for kind in ("statefulsets", "deployments"):
        for workload in place.world.api.get(f"/apis/apps/v1/namespaces/{zug.namespace}/{kind}")["items"]:
            named = workload["spec"]["template"]["spec"]["imagePullSecrets"]
            assert named == [{"name": f"{zug.name}-pull"}], workload["metadata"]["name"]
    place.world.until(lambda: _said(place, zug) == ("True", "Ready"), "the condition to say so")


def test_a_login_is_renewed_in_place_then_left_alone_and_nothing_else_of_the_node_changes(
    place: Place, zug: Home
) -> None:
    world = place.world

    def generations() -> dict[str, int]:
        sets = world.api.get(f"/apis/apps/v1/namespaces/{zug.namespace}/statefulsets")["items"]
        sets += world.api.get(f"/apis/apps/v1/namespaces/{zug.namespace}/deployments")["items"]
        return {item["metadata"]["name"]: item["metadata"]["generation"] for item in sets}

    def pods() -> set[str]:
        return {pod["metadata"]["uid"] for pod in world.api.get(f"{CORE}/{zug.namespace}/pods")["items"]}

    uid, condition = place.secret(zug)["metadata"]["uid"], _condition(place, zug)
    was, logins = (generations(), pods()), [place.claims(zug)]
    world.plane.audit_entries()  # returns when what came before is in the log
    since = world.plane.audit_position()

    def renewed_in_time() -> bool:
        """Twice at least, and once while the old one still held: a machine that stands still is too late now and then."""
        now = place.claims(zug)
        if now["jti"] != logins[-1]["jti"]:
            logins.append(now)
        return len(logins) > 2 and any(new["iat"] < old["exp"] for old, new in itertools.pairwise(logins))

    world.until(renewed_in_time, "the login to be renewed, in time")
    world.until(lambda: len(place.requests(zug, since, "get")) > len(place.requests(zug, since)) // 2, "more looks")
    written = len(place.requests(zug, since, "update"))
    newest = place.claims(zug)
    assert all(new["iat"] - old["iat"] >= LIFETIME / 2 for old, new in itertools.pairwise(logins))
    assert 1 <= written <= (newest["iat"] - logins[0]["iat"]) / (LIFETIME / 2), "a young login is left alone"
    assert place.secret(zug)["metadata"]["uid"] == uid
    assert (generations(), pods()) == was
    events = world.api.get(f"/apis/events.k8s.io/v1/namespaces/{zug.namespace}/events")["items"]
    told = {e["reason"] for e in events if e.get("action") == "PullLogin"}
    assert told <= {"LoginUnwritten"}, "a renewal is no news"
    assert told or _condition(place, zug) == condition, "nor a write of the status"


def _said(place: Place, home: Home) -> tuple[str, str]:
    condition = _condition(place, home)
    return condition["status"], condition["reason"]


def _condition(place: Place, home: Home) -> dict[str, Any]:
    return place.world.condition(home.namespace, home.name, "PullLoginReady")


def test_what_somebody_else_wrote_into_it_is_put_right(place: Place, zug: Home) -> None:
    foreign = base64.b64encode(b'{"auths": {"registry.example": {"auth": "eDp5"}}}').decode()
    body = {"data": {".dockerconfigjson": foreign, "more": "eA=="}, "metadata": {"labels": {"team": "a"}}}
    place.world.api.request("PATCH", _path(zug), body, content_type=MERGE)
    place.world.until(
        lambda: place.secret(zug)["data"].keys() == {".dockerconfigjson"} and place.claims(zug)["sub"] == zug.node_id,
        "the login to be put right",
    )
    assert place.secret(zug)["metadata"]["labels"]["team"] == "a", "metadata is everybody's"


def test_a_deleted_secret_comes_back(place: Place, zug: Home) -> None:
    uid = place.secret(zug)["metadata"]["uid"]
    place.world.api.delete(_path(zug))
    place.world.until(lambda: place.secret(zug)["metadata"]["uid"] != uid, "the Secret to come back")


def test_a_revoked_node_is_not_let_in_by_renewed_logins_either_and_the_other_is(
    place: Place, zug: Home, bern: Home
) -> None:
    image = place.pushed()
    place.registry.deny(zug.node_id)
    before = place.secret(zug)["metadata"]["uid"]
    assert not place.pulls(image, place.content(zug))
    place.until_pulls(image, bern)
    place.world.api.delete(_path(zug))
    place.world.until(lambda: place.secret(zug)["metadata"]["uid"] != before, "another login")
    assert not place.pulls(image, place.content(zug))
    place.until_pulls(image, bern)


def test_a_stopped_node_keeps_no_login_that_holds(place: Place, bern: Home) -> None:
    world, image = place.world, place.pushed()
    world.patch_node(bern.namespace, bern.name, {"state": "Stopped"})
    world.until(lambda: world.phase(bern.namespace, bern.name) == "Stopped", "the node to be stopped")
    world.until(lambda: _condition(place, bern)["reason"] == "Stopped", "the condition to say so")
    last = place.content(bern)
    world.until(lambda: not place.pulls(image, place.content(bern)), "its login to end")
    assert place.content(bern) == last
    world.patch_node(bern.namespace, bern.name, {"state": "Running"})
    world.until_ready(bern.namespace, bern.name)
    place.until_pulls(image, bern)


def test_a_key_that_is_lost_takes_nothing_from_the_node_and_says_what_to_do(place: Place, zug: Home) -> None:
    world, key = place.world, place.registry.key
    pods = {pod["metadata"]["uid"] for pod in world.api.get(f"{CORE}/{zug.namespace}/pods")["items"]}
    os.rename(key, key.with_suffix(".away"))
    try:
        world.until(lambda: _said(place, zug) == ("False", "LoginKeyUnreadable"), "the condition")
        condition = _condition(place, zug)
        assert "registries.nodeLogins.keySecret" in condition["message"]
        assert world.phase(zug.namespace, zug.name) == "Ready"
        assert world.api.get(_path(zug)), "the login that is there stays until it ends"
        assert {pod["metadata"]["uid"] for pod in world.api.get(f"{CORE}/{zug.namespace}/pods")["items"]} == pods
    finally:
        os.rename(key.with_suffix(".away"), key)
    world.until(lambda: _condition(place, zug)["status"] == "True", "all to be well again")


def test_i5_a_secret_that_somebody_else_made_is_left_alone(place: Place) -> None:
    number = 90
    namespace, node_id = "jil-login-taken", f"CH-ZUG-{number}"
    place.world.network("net-taken", [{"nodeId": node_id, "zone": "CH/FINMA", "founder": True, "namespace": namespace}])
    place.world.jurisdiction(namespace, "net-taken")
    home = Home("net-taken", namespace, node_id.lower(), node_id)
    body = {"metadata": {"name": f"{home.name}-pull"}, "stringData": {"a": "b"}}
    mine = place.world.api.create(f"{CORE}/{namespace}/secrets", body)
    place.world.node(namespace, home.name, node_id)
    place.world.until(lambda: _condition(place, home)["reason"] == "NameTaken", "the condition")
    assert place.secret(home) == mine


def test_a_deleted_nodes_login_goes_with_it(place: Place, bern: Home) -> None:
    node = f"{JIL}/namespaces/{bern.namespace}/jilnodes/{bern.name}"
    place.world.api.delete(node)
    place.world.until(lambda: not place.world.api.exists(node), "the node to be taken down")
    # The collector looks every 30 s for kinds that came after it, as JILNode did here.
    place.world.until(lambda: not place.world.api.exists(_path(bern)), "its login to go", 180)
    for kept in ("validator-key", "node-key", "credentials"):
        assert place.world.api.exists(f"{CORE}/{bern.namespace}/secrets/{bern.name}-{kept}"), "keys stay"
