"""Children on a real API server: made, left alone, put right (AC-41), and never written at rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jil.api import kinds
from jil.api.kinds import Kind
from jil.cluster.access import Credentials, from_kubeconfig
from jil.cluster.apply import Applier, Change, Outcome
from jil.cluster.client import KubeClient
from jil.cluster.connection import Connection
from jil.cluster.errors import Conflict, GrantRequired, Invalid
from testbed.apiclient import ApiClient
from testbed.controlplane import ControlPlane
from tests.cluster.engine import tiny
from tests.cluster.engine.rig import get, make_intent, make_lease, operator, until, writes
from tests.waiting import PATIENCE_S

SIDECAR = {"name": "side", "image": "registry.invalid/side:1"}


def edit(admin: ApiClient, kind: Kind, namespace: str, name: str, body: Any) -> None:
    """What ``kubectl edit`` does: a strategic merge patch by somebody else."""
    admin.request(
        "PATCH",
        kind.path(namespace=namespace, name=name) + "?fieldManager=kubectl-edit",
        body,
        content_type="application/strategic-merge-patch+json",
    )


def pod_of(live: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = live["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("kind", [kinds.STATEFUL_SET, kinds.DEPLOYMENT], ids=lambda kind: kind.kind)
async def test_ac_41_a_foreign_sidecar_and_env_are_removed_within_5_seconds(
    control_plane: ControlPlane, namespace: str, kind: Kind
) -> None:
    make_lease(control_plane, namespace)
    make_intent(control_plane, namespace, "one")
    async with operator(namespace, control_plane.kubeconfig) as (runtime, _):
        await until("the child exists", lambda: get(control_plane, kind, namespace, "one"))
        container = {"name": "main", "env": [{"name": "EVIL", "value": "1"}], "args": ["evil"]}
        template = {
            "metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}},
            "spec": {"containers": [container, SIDECAR], "tolerations": [{"key": "x", "operator": "Exists"}]},
        }
        edit(control_plane.admin, kind, namespace, "one", {"spec": {"template": template}})

        def right_again() -> bool:
            live = get(control_plane, kind, namespace, "one")
            pod = pod_of(live)
            return (
                [each["name"] for each in pod["containers"]] == ["main"]
                and [each["name"] for each in pod["containers"][0]["env"]] == ["A"]
                and pod["containers"][0]["args"] == ["run"]
                and "tolerations" not in pod
                and "annotations" not in live["spec"]["template"]["metadata"]
            )

        assert await until("the child is right again", right_again) < 5
        counted = runtime.metrics.applies.labels(Change.FOREIGN_REMOVED)._value
        await until("it is counted", lambda: counted.get() >= 1)


@pytest.mark.parametrize("kind", [kinds.STATEFUL_SET, kinds.DEPLOYMENT], ids=lambda kind: kind.kind)
async def test_ac_41_a_deleted_child_is_made_again_within_5_seconds(
    control_plane: ControlPlane, namespace: str, kind: Kind
) -> None:
    make_lease(control_plane, namespace)
    make_intent(control_plane, namespace, "one")
    async with operator(namespace, control_plane.kubeconfig):
        await until("the child exists", lambda: get(control_plane, kind, namespace, "one"))
        before = get(control_plane, kind, namespace, "one")["metadata"]["uid"]
        control_plane.admin.delete(kind.path(namespace=namespace, name="one"))

        def again() -> bool:
            live = get(control_plane, kind, namespace, "one")
            return bool(live) and live["metadata"]["uid"] != before

        assert await until("the child is there again", again) < 5


async def test_ac_42_a_second_operator_writes_nothing_where_nothing_differs(
    control_plane: ControlPlane, namespace: str
) -> None:
    make_lease(control_plane, namespace)
    for name in ("one", "two"):
        make_intent(control_plane, namespace, name)
    async with operator(namespace, control_plane.kubeconfig):
        for name in ("one", "two"):
            for kind in tiny.CHILDREN:
                await until(f"{kind.kind} {name}", lambda k=kind, n=name: get(control_plane, k, namespace, n))  # type: ignore[misc]
        await asyncio.sleep(1)  # the controllers' own status writes
    since = control_plane.audit_position()
    async with operator(namespace, control_plane.kubeconfig) as (runtime, _):
        counted = runtime.metrics.applies.labels(Change.UNCHANGED)._value
        await until("everything was looked at", lambda: counted.get() >= 4)
        await asyncio.sleep(2)
    assert writes(control_plane, since, namespace=namespace) == []


class Direct:
    """Applier and client without an operator around them."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self.control_plane, self.namespace = control_plane, namespace
        self.connection = Connection(Credentials(from_kubeconfig(control_plane.kubeconfig)), write_timeout=PATIENCE_S)
        self.client = KubeClient(self.connection, fence=lambda: None)
        self.applier = Applier(self.client)

    async def __aenter__(self) -> Direct:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    async def live(self, name: str = "one") -> dict[str, Any]:
        return await self.client.get(kinds.STATEFUL_SET, name, self.namespace)

    async def ensured(self, intent: dict[str, Any]) -> Outcome:
        """As the operator's queue does it: where the StatefulSet controller was quicker each time, it is looked at again."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await self.applier.ensure(intent, await self.live())
                except Conflict:
                    continue

    def intent(self, **more: Any) -> dict[str, Any]:
        return tiny.statefulset(self.namespace, "one", **more)


async def test_a_stale_view_ends_in_a_conflict_that_is_settled_on_a_fresh_read(
    control_plane: ControlPlane, namespace: str
) -> None:
    async with Direct(control_plane, namespace) as direct:
        stale = (await direct.applier.ensure(direct.intent(), None)).object
        annotation = {"metadata": {"annotations": {"somebody": "else"}}}
        control_plane.admin.merge(kinds.STATEFUL_SET.path(namespace=namespace, name="one"), annotation)
        since = control_plane.audit_position()
        outcome = await direct.applier.ensure(direct.intent(image="registry.invalid/a:2"), stale)
        assert outcome.change == Change.UPDATED
        codes = [entry["responseStatus"]["code"] for entry in writes(control_plane, since, namespace=namespace)]
        # More than one 409 when the StatefulSet controller writes its status meanwhile.
        assert set(codes[:-1]) == {409}
        assert codes[-1] == 200


async def test_a_json_patch_of_an_old_version_is_a_conflict(control_plane: ControlPlane, namespace: str) -> None:
    async with Direct(control_plane, namespace) as direct:
        make_intent(control_plane, namespace, "one", a="1")
        operations = [{"op": "remove", "path": "/data/a"}]
        with pytest.raises(Conflict):
            await direct.client.json_patch(kinds.CONFIG_MAP, "one", namespace, operations, resource_version="1")


async def test_what_somebody_else_created_becomes_ours_and_is_then_left_alone(
    control_plane: ControlPlane, namespace: str
) -> None:
    """The creator owns every default: they are disowned, or each look would find them again."""
    async with Direct(control_plane, namespace) as direct:
        foreign = direct.intent(image="registry.invalid/other:1", minReadySeconds=7)
        path = kinds.STATEFUL_SET.path(namespace=namespace) + "?fieldManager=kubectl-create"
        control_plane.admin.create(path, foreign)
        first = await direct.ensured(direct.intent())
        assert first.change == Change.FOREIGN_REMOVED
        live = await direct.live()
        assert "minReadySeconds" not in live["spec"] or live["spec"]["minReadySeconds"] == 0
        since = control_plane.audit_position()
        assert (await Applier(direct.client).ensure(direct.intent(), live)).change == Change.UNCHANGED
        assert writes(control_plane, since, namespace=namespace) == []


async def test_i2_replicas_and_partition_go_down_only_under_a_grant(
    control_plane: ControlPlane, namespace: str
) -> None:
    async with Direct(control_plane, namespace) as direct:
        await direct.applier.ensure(direct.intent(), None)
        before = await direct.live()
        disarmed = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
        for intent in (direct.intent(replicas=0), direct.intent(updateStrategy=disarmed)):
            with pytest.raises(GrantRequired):
                await direct.applier.ensure(intent, before)
        after = await direct.live()
        assert after["spec"] == before["spec"]


async def test_a_template_change_while_armed_moves_no_pod(control_plane: ControlPlane, namespace: str) -> None:
    async with Direct(control_plane, namespace) as direct:
        await direct.applier.ensure(direct.intent(), None)
        pod = kinds.POD.path(namespace=namespace, name="one-0")
        await until("the pod exists", lambda: control_plane.admin.exists(pod))
        uid = control_plane.admin.get(pod)["metadata"]["uid"]
        await direct.ensured(direct.intent(image="registry.invalid/a:2"))

        def seen() -> bool:
            live = get(control_plane, kinds.STATEFUL_SET, namespace, "one")
            return bool(live["status"].get("observedGeneration") == live["metadata"]["generation"])

        await until("the StatefulSet controller has seen it", seen)
        await asyncio.sleep(1)
        assert control_plane.admin.get(pod)["metadata"]["uid"] == uid


async def test_a_scaled_up_child_is_not_scaled_down_without_a_grant_and_a_scaled_down_one_comes_back(
    control_plane: ControlPlane, namespace: str
) -> None:
    async with Direct(control_plane, namespace) as direct:
        await direct.applier.ensure(direct.intent(), None)
        scale = kinds.STATEFUL_SET.path(namespace=namespace, name="one", subresource="scale")
        control_plane.admin.merge(scale, {"spec": {"replicas": 0}})
        outcome = await direct.ensured(direct.intent())
        assert (outcome.change, outcome.object["spec"]["replicas"]) == (Change.UPDATED, 1)
        control_plane.admin.merge(scale, {"spec": {"replicas": 3}})
        with pytest.raises(GrantRequired, match="from 3 to 1"):
            await direct.applier.ensure(direct.intent(), await direct.live())


async def test_a_misspelt_field_is_refused_and_named(control_plane: ControlPlane, namespace: str) -> None:
    async with Direct(control_plane, namespace) as direct:
        with pytest.raises(Invalid, match="replicsa"):
            await direct.applier.ensure(direct.intent(replicsa=1), None)
