"""From signatures in a registry to a pod, through the real operator, the charts' rights and all policies at once."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from jil.api.release import ReleaseSpec
from jil.observe.registry import RegistryClient, RegistryPush, media
from tests.cluster.admission import objects
from tests.cluster.admission.conftest import Guarded
from tests.cluster.admission.objects import FOREIGN, LISTS, admitted, image, path, pod
from tests.cluster.admission.operator import Operator
from tests.cluster.charts import rig
from tests.cluster.registry import rig as registries
from tests.cluster.trust.rig import Image, good_image, good_release, signed, trust
from tests.waiting import eventually, until_pods_may_be_made

SPACE, NETWORK, NODE_ID = "jil-whole-way", "whole-way", "CH-WAY-01"
JIL = "/apis/jil.io/v1alpha1"
NODES = f"{JIL}/namespaces/{SPACE}/jilnodes"


@pytest.fixture
def signing(
    guarded: Guarded, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[registries.Registry, Operator]]:
    """A testnet whose namespace requires signatures, a registry with a login, and the operator at work."""
    with registries.distribution(tmp_path_factory.mktemp("registry")) as registry:
        config = tmp_path_factory.mktemp("login") / "config.json"
        login = base64.b64encode(f"{registries.USER}:{registries.PASSWORD}".encode()).decode()
        config.write_text(json.dumps({"auths": {registry.host: {"auth": login}}}))
        settings = {"JIL_REGISTRY_CONFIG": str(config), "JIL_REGISTRY_CA": str(registry.ca)}
        network = rig.jil_network(NETWORK)
        network["spec"] |= {
            "track": "testnet",
            "trust": trust(registry),
            "members": [{"nodeId": NODE_ID, "zone": "CH/FINMA", "namespace": SPACE, "founder": True}],
        }
        guarded.admin.create(f"{JIL}/jilnetworks", network)
        values = f"namespace.name={SPACE},network={NETWORK},jurisdiction.name=ch-way,imageTrust=required"
        create = "jurisdiction.create=true,jurisdiction.zone=CH/FINMA,jurisdiction.release=unsigned"
        chart = str(rig.CHARTS / "jil-jurisdiction")
        install = ("upgrade", "--install", "whole-way", chart, "-n", rig.SYSTEM, "--set", f"{values},{create}")
        guarded.helm(*install)
        until_pods_may_be_made(guarded.admin, SPACE)
        eventually(objects.probe(guarded.admin, SPACE), f"the policy to be in force in {SPACE}")
        operator = Operator(guarded.cluster, "whole-way.log", settings)
        operator.start()
        yield registry, operator
        operator.stop()


def push(registry: registries.Registry, attach: Callable[[Image], Iterable[bytes]]) -> Image:
    """An image that nobody has, with the envelopes that are attached to it."""

    async def go() -> Image:
        async with RegistryClient(registry.access) as client:
            pusher, repository = RegistryPush(client), registry.repository()
            made = Image(repository, await registries.push_image(pusher, repository))
            for envelope in attach(made):
                await pusher.attach(made.name, media.JIL_ARTIFACT, [(media.DSSE, envelope)])
            return made

    return asyncio.run(go())


def release(guarded: Guarded, name: str, made: Image) -> None:
    """A signed and approved JILRelease, all of whose components are that image."""
    body = rig.jil_release(name)
    parts = {part: {"image": made.name} for part in body["spec"]["images"]}
    body["spec"] |= {"images": parts, "services": []}
    envelopes = good_release(name, ReleaseSpec.model_validate(body["spec"]))
    body["spec"]["envelopes"] = [envelope.decode() for envelope in envelopes]
    guarded.admin.create(f"{JIL}/jilreleases", body)


def test_i6_only_what_is_signed_and_approved_becomes_a_pod(
    guarded: Guarded, signing: tuple[registries.Registry, Operator]
) -> None:
    registry, operator = signing
    admin = guarded.admin

    def workloads() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = admin.get(f"/apis/apps/v1/namespaces/{SPACE}/statefulsets")["items"]
        return found

    def pods() -> set[str]:
        items = admin.get(path("Pod", SPACE))["items"]
        return {container["image"] for item in items for container in item["spec"]["containers"]}

    def trusted() -> str | None:
        conditions = admin.get(f"{NODES}/way").get("status", {}).get("conditions", [])
        return next((c["reason"] for c in conditions if c["type"] == "ImageTrust"), None)

    def verdicts(name: str) -> set[str]:
        rows = admin.get(f"{JIL}/jilreleases/{name}").get("status", {}).get("images", [])
        return {row["reason"] for row in rows if row["verdict"] == "Refused"}

    # Signed and not approved: refused, and nothing of it exists.
    half = push(registry, lambda made: [signed(made)])
    release(guarded, "unsigned", half)
    node = rig.jil_node("way")
    node["spec"]["nodeId"] = NODE_ID
    admin.create(NODES, node)
    operator.eventually(lambda: trusted() == "ImageRefused", "the release to be refused", 180)
    operator.eventually(lambda: verdicts("unsigned") == {"TooFewApprovals"}, "the release to say why")
    assert (workloads(), pods()) == ([], set())
    assert not _admitted(guarded, half.name)

    # Its twin, approved: in the list, and the pods that the StatefulSet controller makes are admitted.
    good = push(registry, lambda made: good_image(made, "signed"))
    release(guarded, "signed", good)
    jurisdiction = f"{JIL}/namespaces/{SPACE}/jiljurisdictions/ch-way"
    admin.merge(jurisdiction, {"spec": {"release": "signed"}})
    operator.eventually(lambda: pods() == {good.name}, "pods of the signed image", 180)
    operator.eventually(lambda: trusted() == "Verified", "the node to say so")
    database = f"/apis/apps/v1/namespaces/{SPACE}/statefulsets/way-database"
    operator.eventually(lambda: admin.exists(database), "the database's StatefulSet")
    assert admin.get(f"{LISTS}/{SPACE}")["spec"]["digests"].keys() == {good.digest}
    for foreign in (half.name, image(FOREIGN)):
        assert not _admitted(guarded, foreign)
        code, said = guarded.kubectl("set", "image", "statefulset/way-database", f"*={foreign}", "-n", SPACE)
        assert code != 0
        assert "may not run in namespace" in said


def _admitted(guarded: Guarded, reference: str) -> bool:
    return admitted(guarded.admin, SPACE, pod("by-hand", reference))
