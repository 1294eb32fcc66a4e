"""Trouble between operator and API server: nothing is lost for longer than it takes, and nothing needs a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from jil.api import kinds
from jil.cluster.access import Access, Credentials, from_kubeconfig
from jil.cluster.client import KubeClient
from jil.cluster.connection import Connection
from jil.cluster.errors import ServerUnavailable
from jil.engine.queue import BackOff, Key
from jil.engine.runtime import Runtime
from jil.engine.watch import ERROR_BACKOFFS
from testbed.apiclient import ApiClient
from testbed.controlplane import ControlPlane
from tests.cluster.engine.rig import get, make_intent, make_lease, operator, until
from tests.faults.proxy import Proxy, error_line
from tests.waiting import PATIENCE_S

#: Shorter terms, so that an outage of a few seconds ends them.
QUICK = {"lease_duration": 9.0, "lease_renew_deadline": 6.0, "lease_retry": 1.5}
#: Terms that do not end because a machine is busy: with another one every back-off begins anew.
LONG = {"lease_duration": 280.0, "lease_renew_deadline": 240.0}
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[Proxy]:
    with Proxy(control_plane) as running:
        yield running


def child(control_plane: ControlPlane, namespace: str, name: str) -> dict[str, Any]:
    return get(control_plane, kinds.STATEFUL_SET, namespace, name)


async def livez(runtime: Runtime) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{runtime.server.port}/livez") as response,
    ):
        return response.status, await response.text()


async def until_livez(runtime: Runtime, status: int) -> str:
    """Waits until /livez answers so; returns its words."""
    deadline = time.monotonic() + PATIENCE_S
    while (answer := await livez(runtime))[0] != status:
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.1)
    return answer[1]


async def test_a_missed_event_is_found_by_the_sweep_and_so_is_a_missed_deletion(
    control_plane: ControlPlane, namespace: str, proxy: Proxy
) -> None:
    make_lease(control_plane, namespace)
    make_intent(control_plane, namespace, "before")
    async with operator(namespace, Access(proxy.url), sweep=2.0, sweep_grace=0.5) as (runtime, _):
        await until("the first child", lambda: child(control_plane, namespace, "before"))
        await until("the watch is open", lambda: proxy.streams("configmaps"))
        proxy.mute = True
        make_intent(control_plane, namespace, "missed")
        await until("the sweep finds it", lambda: child(control_plane, namespace, "missed"))
        missed = runtime.metrics.sweep_missed.labels("ConfigMap")._value
        await until("it is counted", lambda: missed.get() >= 1)
        control_plane.admin.delete(kinds.CONFIG_MAP.path(namespace=namespace, name="before"))
        await until("the ghost is gone", lambda: runtime.store.get(kinds.CONFIG_MAP, namespace, "before") is None)
        ghosts = runtime.metrics.sweep_ghosts.labels("ConfigMap")._value
        await until("it is counted", lambda: ghosts.get() >= 1)
        proxy.mute = False


async def test_cut_watches_are_opened_again(control_plane: ControlPlane, namespace: str, proxy: Proxy) -> None:
    def opened() -> int:
        return sum("watch=true" in path and "/configmaps" in path for _, path in list(proxy.requests))

    make_lease(control_plane, namespace)
    async with operator(namespace, Access(proxy.url)) as (_, running):
        await until("the watch is open", lambda: proxy.streams("configmaps"))
        for number in range(3):
            before = opened()
            proxy.cut()
            make_intent(control_plane, namespace, f"n{number}")
            await until("the event comes", lambda n=number: child(control_plane, namespace, f"n{n}"))  # type: ignore[misc]
            await until("the watch is opened again", lambda seen=before: opened() > seen)  # type: ignore[misc]
        assert not running.done()


async def test_410_gone_is_followed_by_a_new_list_and_deletions_meanwhile_by_the_sweep(
    control_plane: ControlPlane, namespace: str, proxy: Proxy
) -> None:
    make_lease(control_plane, namespace)
    make_intent(control_plane, namespace, "ghost")
    async with operator(namespace, Access(proxy.url), sweep=3.0, sweep_grace=0.5) as (runtime, running):
        await until("the first child", lambda: child(control_plane, namespace, "ghost"))
        await until("the watch is open", lambda: proxy.streams("configmaps"))
        proxy.mute = True
        control_plane.admin.delete(kinds.CONFIG_MAP.path(namespace=namespace, name="ghost"))
        make_intent(control_plane, namespace, "after")
        proxy.say_once("configmaps", error_line(410))
        proxy.cut()
        proxy.mute = False
        await until("the new list", lambda: child(control_plane, namespace, "after"))
        await until("the sweep", lambda: runtime.store.get(kinds.CONFIG_MAP, namespace, "ghost") is None)
        assert not running.done()


@pytest.mark.parametrize("code", [429, 500])
async def test_an_api_server_that_answers_429_or_500_for_a_while_is_waited_out(
    control_plane: ControlPlane, namespace: str, proxy: Proxy, code: int
) -> None:
    make_lease(control_plane, namespace)
    async with operator(namespace, Access(proxy.url), **QUICK) as (runtime, running):
        first = runtime.elector.fencing
        proxy.fault = lambda method, path: code
        proxy.cut()
        make_intent(control_plane, namespace, "during")
        await until("leadership ends", lambda: not runtime.elector.leading)
        await asyncio.sleep(5)
        assert not running.done()
        assert (await livez(runtime))[0] == 200, "a restart would not help"
        proxy.fault = lambda method, path: None
        await until("leadership is back", lambda: runtime.elector.leading and runtime.elector.fencing > first)
        await until("what happened meanwhile is done", lambda: child(control_plane, namespace, "during"))
        assert not running.done()


def test_the_watch_endures_half_an_hour_of_errors() -> None:
    assert sum(ERROR_BACKOFFS) > 1800


async def test_writes_alone_that_fail_are_tried_again_with_back_off(
    control_plane: ControlPlane, namespace: str, proxy: Proxy
) -> None:
    make_lease(control_plane, namespace)
    key, tries = Key("ConfigMap", namespace, "one"), list[float]()

    def refuse(method: str, path: str) -> int | None:
        if method != "PATCH":
            return None
        tries.append(time.monotonic())
        return 500

    async with operator(namespace, Access(proxy.url), **LONG) as (runtime, _):
        proxy.fault = refuse
        make_intent(control_plane, namespace, "one")
        failed = runtime.metrics.reconciles.labels("ConfigMap", "dependency")._value
        await until("it fails a few times", lambda: failed.get() >= 3 and runtime.queue.failures(key) >= 3)
        proxy.fault = lambda method, path: None
        await until("it succeeds", lambda: child(control_plane, namespace, "one"))
    # Half of each pause is jitter. A slow machine makes pauses longer, nothing makes them shorter.
    pauses = [after - before for before, after in pairwise(tries)]
    least = [BackOff().delay(failures, 0.0) for failures in range(1, len(tries))]
    assert len(tries) >= 3
    assert all(pause >= wanted for pause, wanted in zip(pauses, least, strict=True)), "back-off, not a storm"


async def test_a_deaf_watch_makes_livez_fail(control_plane: ControlPlane, namespace: str, proxy: Proxy) -> None:
    make_lease(control_plane, namespace)
    async with operator(namespace, Access(proxy.url), heartbeat_limit=6.0) as (runtime, _):
        await until("the watch hears", lambda: runtime._watchdog._heard)
        await until_livez(runtime, 200)
        proxy.mute = True
        assert "watch is deaf" in await until_livez(runtime, 503)
        proxy.mute = False
        await until_livez(runtime, 200)


async def test_an_end_of_kopf_ends_the_process_with_an_error(
    control_plane: ControlPlane, namespace: str, proxy: Proxy
) -> None:
    make_lease(control_plane, namespace)
    async with operator(namespace, Access(proxy.url)) as (runtime, running):
        await until("the watch is open", lambda: proxy.streams("configmaps"))
        proxy.say_once("configmaps", error_line(500))
        proxy.cut()
        await until("the operator ends", running.done)
        assert running.result() == 1
        assert runtime.metrics.watch_exits._value.get() == 1


async def test_rights_taken_away_and_given_back_need_no_restart(control_plane: ControlPlane, namespace: str) -> None:
    make_lease(control_plane, namespace)
    admin = control_plane.admin
    user = f"limited-{namespace}"
    await _grant(admin, namespace, user)
    way_in = from_kubeconfig(control_plane.kubeconfig_for_user(user))
    async with operator(namespace, way_in, **QUICK) as (runtime, running):
        make_intent(control_plane, namespace, "one")
        await until("it works", lambda: child(control_plane, namespace, "one"))
        admin.delete(f"{RBAC}/namespaces/{namespace}/rolebindings/limited")
        await until("the rights are gone", lambda: not _may(admin, namespace, user))
        make_intent(control_plane, namespace, "two")
        await until("leadership ends: the Lease may not be renewed", lambda: not runtime.elector.leading)
        await asyncio.sleep(3)
        assert not child(control_plane, namespace, "two")
        assert not running.done()
        _bind(admin, namespace, user)
        await until("it works again", lambda: child(control_plane, namespace, "two"))
        assert not running.done()


async def test_rights_on_children_alone_taken_away_are_counted_and_waited_for(
    control_plane: ControlPlane, namespace: str
) -> None:
    make_lease(control_plane, namespace)
    admin, user = control_plane.admin, f"readonly-{namespace}"
    await _grant(admin, namespace, user, children=["get", "list", "watch"])
    way_in = from_kubeconfig(control_plane.kubeconfig_for_user(user))
    async with operator(namespace, way_in) as (runtime, _):
        make_intent(control_plane, namespace, "one")
        forbidden = runtime.metrics.reconciles.labels("ConfigMap", "forbidden")._value
        await until("it is refused", lambda: forbidden.get() >= 2)
        await until("it leads all the same", lambda: runtime.elector.leading)
        admin.merge(f"{RBAC}/namespaces/{namespace}/roles/limited", _role(["*"]))
        await until("it works", lambda: child(control_plane, namespace, "one"))


async def test_an_api_server_that_restarts_is_found_again() -> None:
    """A control plane of its own: it is stopped, stays away, and comes back at the same address."""
    with ControlPlane() as mine:
        namespace = "restarted"
        mine.admin.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        make_lease(mine, namespace)
        make_intent(mine, namespace, "before")
        async with operator(namespace, mine.kubeconfig, **QUICK) as (runtime, running):
            await until("the first child", lambda: child(mine, namespace, "before"))
            await asyncio.to_thread(mine.restart_apiserver, None, 10.0)
            make_intent(mine, namespace, "after")
            await until("it works again", lambda: child(mine, namespace, "after"))
            await until("it leads", lambda: runtime.elector.leading)
            assert not running.done()


async def test_i2_a_write_that_a_hanging_api_server_did_not_take_in_time_is_not_carried_out_later() -> None:
    """The leader's certainty may have ended meanwhile: the socket is reset, so the server never reads the request."""
    with ControlPlane() as mine:
        for number in range(3):
            connection = Connection(Credentials(from_kubeconfig(mine.kubeconfig)), write_timeout=1.0)
            client = KubeClient(connection, fence=lambda: None)
            await client.get(kinds.NAMESPACE, "default")  # the connection is open and idle
            body = kinds.CONFIG_MAP.head(f"late-{number}", "default")
            mine.pause("kube-apiserver")
            try:
                with pytest.raises(ServerUnavailable, match="no answer in 1 s"):
                    await client.create(kinds.CONFIG_MAP, body)
            finally:
                mine.resume("kube-apiserver")
            await asyncio.sleep(1.5)
            assert get(mine, kinds.CONFIG_MAP, "default", f"late-{number}") == {}
            await connection.close()


def _role(children: list[str]) -> dict[str, Any]:
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["apps"], "resources": ["statefulsets", "deployments"], "verbs": children},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "watch", "update"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ]
    return {"metadata": {"name": "limited"}, "rules": rules}


async def _grant(admin: ApiClient, namespace: str, user: str, children: list[str] | None = None) -> None:
    admin.create(f"{RBAC}/namespaces/{namespace}/roles", _role(children or ["*"]))
    _bind(admin, namespace, user)
    await until("the rights are in force", lambda: _may(admin, namespace, user))


def _may(admin: ApiClient, namespace: str, user: str) -> bool:
    """Whether the API server lets the user do what the role allows in any case: it reads bindings in its own time."""
    asked = {"namespace": namespace, "group": "apps", "resource": "statefulsets", "verb": "list"}
    review = {"spec": {"user": user, "resourceAttributes": asked}}
    answer = admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def _bind(admin: ApiClient, namespace: str, user: str) -> None:
    group = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": "limited"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "limited"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    admin.create(f"{RBAC}/namespaces/{namespace}/rolebindings", binding)
