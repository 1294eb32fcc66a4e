"""Logins as the operator makes them, at the real registry: who pulls, who does not, and from when on."""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from jil.api import kinds
from jil.cluster.login_key import LoginKey
from jil.cluster.pull_login import CONFIG, LoginOf, PullLogins
from jil.observe.registry import Access, Credential, Credentials, RegistryClient, RegistryPush, RegistryUnknown
from jil.plan.pull_login import LoginTerms
from testbed.processes import wait_until
from tests.cluster.registry import node_logins, rig
from tests.cluster.registry.node_logins import NodeLoginRegistry
from tests.unit.cluster.memory_api import NAMESPACE, MemoryApi

#: What our client says when a registry answers 401 to a login.
REFUSED = "401|does not accept user and password"
ZUG = LoginOf("ch-zug-01", NAMESPACE, "u1", "CH-ZUG-01", "devnet")
MAS = LoginOf("sg-mas-01", NAMESPACE, "u2", "SG-MAS-01", "devnet")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeLoginRegistry]:
    with node_logins.running(tmp_path_factory.mktemp("node-logins")) as running:
        yield running


@pytest.fixture(autouse=True)
def nobody_is_denied(nodes: NodeLoginRegistry) -> None:
    nodes.deny()


async def secret_of(nodes: NodeLoginRegistry, whose: LoginOf, *, age: float = 0, lifetime: int = 3600) -> bytes:
    """Content of the Secret that the operator makes for the node, ``age`` seconds ago. (No cluster here: the Secret is kept
    in memory. What a real API server does with it is shown in tests/cluster/operator.)"""
    api = MemoryApi()
    logins = PullLogins(api, LoginKey(nodes.key), LoginTerms(nodes.registry.host, lifetime))
    await logins.ensure(whose, datetime.now(UTC) - timedelta(seconds=age))
    return base64.b64decode(api.live(kinds.SECRET, f"{whose.node}-pull")["data"][CONFIG])


def access(nodes: NodeLoginRegistry, secret: bytes) -> Access:
    """As a client of that Secret."""
    return replace(nodes.registry.access, credentials=Credentials.from_docker_config(secret))


async def image(nodes: NodeLoginRegistry) -> str:
    """An image that a person pushed, by digest."""
    repository = nodes.registry.repository()
    async with RegistryClient(nodes.registry.access) as client:
        digest = await rig.push_image(RegistryPush(client), repository)
    return f"{repository}@{digest}"


async def pulls(nodes: NodeLoginRegistry, secret: bytes, wanted: str) -> bool:
    async with RegistryClient(access(nodes, secret)) as client:
        try:
            await client.manifest(wanted)
        except RegistryUnknown as error:
            if not re.search(REFUSED, str(error)):
                raise
            return False
        return True


async def test_a_node_pulls_with_the_login_that_the_operator_made(nodes: NodeLoginRegistry) -> None:
    assert await pulls(nodes, await secret_of(nodes, ZUG), await image(nodes))


async def test_a_revoked_node_pulls_no_more_from_the_next_request_on_and_the_other_goes_on(
    nodes: NodeLoginRegistry,
) -> None:
    wanted, zug, mas = await image(nodes), await secret_of(nodes, ZUG), await secret_of(nodes, MAS)
    assert [await pulls(nodes, secret, wanted) for secret in (zug, mas)] == [True, True]
    nodes.deny("CH-ZUG-01")
    assert [await pulls(nodes, secret, wanted) for secret in (zug, mas)] == [False, True]
    assert not await pulls(nodes, await secret_of(nodes, ZUG), wanted), "a renewed login opens no more than the old one"
    nodes.deny()
    assert await pulls(nodes, zug, wanted)


async def test_a_login_ends_by_itself(nodes: NodeLoginRegistry) -> None:
    wanted = await image(nodes)
    assert await pulls(nodes, await secret_of(nodes, ZUG, age=3000, lifetime=3600), wanted)
    assert not await pulls(nodes, await secret_of(nodes, ZUG, age=3601, lifetime=3600), wanted)


async def test_a_nodes_login_pushes_and_deletes_nothing(nodes: NodeLoginRegistry) -> None:
    secret, wanted = await secret_of(nodes, ZUG), await image(nodes)
    async with RegistryClient(access(nodes, secret)) as client:
        with pytest.raises(RegistryUnknown, match=REFUSED):
            await rig.push_image(RegistryPush(client), wanted.partition("@")[0])
    (auth,) = (entry["auth"] for entry in json.loads(secret)["auths"].values())
    path = wanted.removeprefix(f"{nodes.registry.host}/").replace("@", "/manifests/")
    with httpx2.Client(
        base_url=f"{nodes.registry.url}/v2/",
        verify=_trust(nodes),
        headers={"Authorization": f"Basic {auth}"},
        trust_env=False,
    ) as client:
        assert client.get("").status_code == 200
        assert client.get("_catalog").status_code == 401, "what other nodes run is not a node's business"
        assert client.delete(path).status_code == 401
        assert client.get(path, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"}).status_code == 200


async def test_the_login_of_one_node_under_the_name_of_another_opens_nothing(nodes: NodeLoginRegistry) -> None:
    config = json.loads(await secret_of(nodes, ZUG))
    user, _, token = base64.b64decode(config["auths"][nodes.registry.host]["auth"]).decode().partition(":")
    assert user == "node/CH-ZUG-01"
    credentials = Credentials({nodes.registry.host: Credential("node/SG-MAS-01", token)})
    async with RegistryClient(replace(nodes.registry.access, credentials=credentials)) as client:
        with pytest.raises(RegistryUnknown, match=REFUSED):
            await client.manifest(await image(nodes))


async def test_neither_login_nor_its_parts_are_in_the_registrys_log(nodes: NodeLoginRegistry) -> None:
    wanted, good, old = await image(nodes), await secret_of(nodes, ZUG), await secret_of(nodes, ZUG, age=7200)
    for secret in (good, old):
        await pulls(nodes, secret, wanted)
    # A line of the log may come after the answer that it is about.
    wait_until(
        lambda: "it has expired" in (log := nodes.registry.log.read_text()) and "CH-ZUG-01" in log, "the log", 60
    )
    log = nodes.registry.log.read_text()
    for secret in (good, old):
        auth = json.loads(secret)["auths"][nodes.registry.host]["auth"]
        _, payload, signature = base64.b64decode(auth).decode().split(".")
        assert not [part for part in (auth, payload, signature) if part in log]


def _trust(nodes: NodeLoginRegistry) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=nodes.registry.ca)
