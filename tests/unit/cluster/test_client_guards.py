"""What the client refuses to send: without a Lease, without a grant, by force, or around the gate."""

from __future__ import annotations

import pytest

from jil.api import kinds
from jil.cluster.client import KubeClient
from jil.cluster.errors import GrantRequired, NotLeader
from jil.cluster.grant import TargetRef, _issue
from jil.plan.acts import Act
from tests.unit.cluster.http_server import CONFIG_MAP, Server, closed, serving


async def test_a_refused_write_sends_not_one_byte() -> None:
    server = Server()
    async with serving(server) as connection:
        client = KubeClient(connection, fence=closed)
        with pytest.raises(NotLeader):
            await client.create(kinds.CONFIG_MAP, CONFIG_MAP)
    assert server.requests == []


async def test_the_fence_is_asked_again_in_the_moment_of_sending() -> None:
    """The lease is lost while the connection is set up: the first look passes, the last one refuses."""
    server = Server()
    asked = 0

    def closes_after_the_first() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise NotLeader("lost meanwhile")

    async with serving(server) as connection:
        client = KubeClient(connection, fence=closes_after_the_first)
        with pytest.raises(NotLeader, match="lost meanwhile"):
            await client.create(kinds.CONFIG_MAP, CONFIG_MAP)
        assert asked == 2
        assert server.requests == []
        # The connection with the unsent request is not used again.
        assert await KubeClient(connection, fence=lambda: None).create(kinds.CONFIG_MAP, CONFIG_MAP)
    assert len(server.requests) == 1


async def test_reads_need_no_lease() -> None:
    server = Server()
    async with serving(server) as connection:
        await KubeClient(connection, fence=closed).get(kinds.CONFIG_MAP, "x", "y")
    assert server.requests[0]["path"] == "/api/v1/namespaces/y/configmaps/x"


async def test_i2_a_disruptive_request_carries_its_grant_uid_and_version() -> None:
    server = Server()
    target = TargetRef(kinds.POD, "y", "n-validator-0", "uid-1", "7")
    workload = TargetRef(kinds.STATEFUL_SET, "y", "n-validator", "uid-2", "8")
    async with serving(server) as connection:
        client = KubeClient(connection, fence=lambda: None)
        await client.delete(_issue("g1", Act.DRAIN, target))
        await client.disarm(_issue("g2", Act.DISARM, workload))
        await client.scale(_issue("g3", Act.STOP, workload), 0)
        await client.stop_serving(_issue("g4", Act.SERVING_OFF, target))
    assert [request["agent"].split()[-1] for request in server.requests] == [f"grant/g{n}" for n in (1, 2, 3, 4)]
    assert server.requests[0]["body"]["preconditions"] == {"uid": "uid-1", "resourceVersion": "7"}
    for request in server.requests[1:]:
        assert request["body"]["metadata"]["uid"] in ("uid-1", "uid-2")
        assert request["body"]["metadata"]["resourceVersion"] in ("7", "8")


async def test_i2_a_grant_for_one_act_is_good_for_no_other() -> None:
    server = Server()
    workload = TargetRef(kinds.STATEFUL_SET, "y", "n-validator", "uid-2", "8")
    pod = TargetRef(kinds.POD, "y", "n-validator-0", "uid-1", "7")
    claim = TargetRef(kinds.PERSISTENT_VOLUME_CLAIM, "y", "n-validator", "uid-3", "9")
    async with serving(server) as connection:
        client = KubeClient(connection, fence=lambda: None)
        with pytest.raises(GrantRequired):
            await client.scale(_issue("g", Act.DISARM, workload), 0)
        for act, target in ((Act.DISARM, workload), (Act.DELETE_POD, workload), (Act.PRUNE, pod), (Act.PRUNE, claim)):
            with pytest.raises(ValueError, match="this act is for"):
                await client.delete(_issue("g", act, target))
        with pytest.raises(ValueError, match="this act is for"):
            await client.scale(_issue("g", Act.STOP, pod), 0)
    assert server.requests == []


async def test_i1_nothing_is_ever_force_deleted() -> None:
    server = Server()
    async with serving(server) as connection:
        client = KubeClient(connection, fence=lambda: None)
        grant = _issue("g", Act.DELETE_POD, TargetRef(kinds.POD, "y", "p", "u", "1"))
        with pytest.raises(ValueError, match="never done"):
            await client.delete(grant, grace_seconds=0)
    assert server.requests == []


async def test_i2_plain_writes_cannot_go_round_the_gate() -> None:
    server = Server()
    async with serving(server) as connection:
        client = KubeClient(connection, fence=lambda: None)
        workload = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "x", "namespace": "y"}}
        scale = [{"op": "replace", "path": "/spec/replicas", "value": 0}]
        unserve = [{"op": "replace", "path": "/metadata/labels/jil.io~1serving", "value": "false"}]
        with pytest.raises(GrantRequired):
            await client.apply(kinds.STATEFUL_SET, workload)
        with pytest.raises(GrantRequired):
            await client.json_patch(kinds.STATEFUL_SET, "x", "y", scale, resource_version="1")
        with pytest.raises(GrantRequired):
            await client.json_patch(kinds.POD, "x", "y", unserve, resource_version="1")
        with pytest.raises(GrantRequired):
            await client.merge_patch(kinds.DEPLOYMENT, "x", "y", {"spec": {"replicas": 0}})
        with pytest.raises(GrantRequired):
            await client.replace(kinds.STATEFUL_SET, {**workload, "metadata": {"name": "x", "resourceVersion": "1"}})
    assert server.requests == []


async def test_i5_a_secret_is_never_applied() -> None:
    async with serving(Server()) as connection:
        client = KubeClient(connection, fence=lambda: None)
        with pytest.raises(ValueError, match="never applied"):
            await client.apply(kinds.SECRET, {"metadata": {"name": "k", "namespace": "y"}})


async def test_a_compare_and_swap_without_a_version_is_refused() -> None:
    async with serving(Server()) as connection:
        with pytest.raises(ValueError, match="without resourceVersion"):
            await KubeClient(connection, fence=lambda: None).replace(kinds.CONFIG_MAP, CONFIG_MAP)
