"""The reconciler of a JILRelease on an API server in memory: which lists it writes, when, and what it says."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jil.api import kinds
from jil.api.allowlist import AllowListSpec, JILImageAllowList
from jil.api.kinds import Kind
from jil.cluster.allowlist import AllowLists, ReleasePart
from jil.cluster.errors import Conflict, Invalid
from jil.cluster.status import StatusWriter
from jil.controller.deps import Deps
from jil.controller.jil_routes import JilRoutes
from jil.controller.release import LATEST, SOONEST, ReleaseReconciler, _pause
from jil.engine.outcome import DependencyDown, Result
from jil.engine.queue import Key
from jil.engine.store import Change
from jil.observe.registry import RegistryUnknown
from jil.trust.evidence import Evidence
from tests.unit.cluster.memory_api import FakeClock, MemoryApi
from tests.unit.controller.operation_rig import Told
from tests.unit.controller.trust_world import NETWORK, SPACE, World
from tests.unit.controller.trust_world import network as a_network

KEY = Key(kinds.JIL_RELEASE.kind, None, "r1")


class Rig(World):
    """A world whose lists are written to an API server, and the reconciler."""

    def __init__(self) -> None:
        super().__init__()
        self.api, self.told = MemoryApi(), Told()
        self.lists = AllowLists(
            self.api,
            seen=lambda namespace: self.store.get(kinds.JIL_IMAGE_ALLOW_LIST, None, namespace),
            remember=self.store.put,
        )
        self.deps = cast(
            Deps,
            SimpleNamespace(
                store=self.store,
                clock=self.clock,
                system_namespace="jil-system",
                events=self.told,
                statuses=StatusWriter(cast(Any, self), clock=self.clock),
            ),
        )
        self.restart()

    def restart(self) -> None:
        super().restart()
        self.reconciler = ReleaseReconciler(self.deps, self.verdicts, self.trust, self.lists)

    async def apply_status(self, kind: Kind, manifest: dict[str, Any], *, manager: str) -> dict[str, Any]:
        live = self.store.get(kind, None, manifest["metadata"]["name"])
        assert live is not None
        self.put(kind, {**live, "status": manifest["status"]})
        return manifest

    def namespace(self, name: str, network: str = NETWORK) -> None:
        """One more namespace that wants the release."""
        self.put(kinds.NAMESPACE, {"metadata": {"name": name, "labels": {"jil.io/network": network}}})
        spec = {"zone": "CH/FINMA", "network": network, "release": "r1"}
        self.put(kinds.JIL_JURISDICTION, {"metadata": {"name": "main", "namespace": name}, "spec": spec})

    async def list_of(self, namespace: str, uid: str, *, network: str = NETWORK) -> None:
        """A list that is there already."""
        part = ReleasePart(network=network, policy_hash="h", digests={})
        await self.lists.publish_releases(namespace, namespace_uid=uid, part=part)

    def live(self, namespace: str) -> AllowListSpec:
        """The list as the API server has it."""
        return JILImageAllowList.parse(self.api.live(kinds.JIL_IMAGE_ALLOW_LIST, namespace, "")).spec

    async def reconcile(self) -> Result:
        """One look at r1."""
        return await self.reconciler(KEY)

    @property
    def ready(self) -> str:
        """Reason of the condition Ready."""
        status = (self.store.get(kinds.JIL_RELEASE, None, "r1") or {})["status"]
        return str(next(c for c in status["conditions"] if c["type"] == "Ready")["reason"])


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_i6_a_list_that_cannot_be_written_keeps_nobody_elses_back(rig: Rig) -> None:
    image = rig.image("a")
    rig.release("r1", image)
    rig.namespace("a-first")
    await rig.list_of("a-first", "of a namespace that had the name before")
    with pytest.raises(Conflict, match="a namespace a-first that is gone"):
        await rig.reconcile()
    assert set(rig.live(SPACE).digests) == {image.partition("@")[2]}
    assert rig.ready == "Ready"


async def test_a_list_that_this_operator_cannot_read_is_tried_again(rig: Rig) -> None:
    image = rig.image("a")
    rig.release("r1", image)
    rig.namespace("a-first")
    await rig.list_of("a-first", "a-first")
    stored = rig.store.get(kinds.JIL_IMAGE_ALLOW_LIST, None, "a-first") or {}
    rig.put(kinds.JIL_IMAGE_ALLOW_LIST, stored | {"metadata": stored["metadata"] | {"resourceVersion": "0"}})
    rig.version = 1000
    rig.put(kinds.JIL_IMAGE_ALLOW_LIST, stored | {"spec": stored["spec"] | {"digests": {"no digest": {}}}})
    with pytest.raises(DependencyDown, match="allow-list of namespace a-first"):
        await rig.reconcile()
    assert set(rig.live(SPACE).digests) == {image.partition("@")[2]}


async def test_the_first_of_several_errors_is_the_one_that_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.release("r1", rig.image("a"))
    rig.namespace("a-first")
    rig.namespace("b-second")
    publish, asked = rig.lists.publish_releases, []

    async def refusing(namespace: str, **more: Any) -> AllowListSpec:
        asked.append(namespace)
        if namespace == SPACE:
            return await publish(namespace, **more)
        raise Invalid("PUT", namespace, status=422)

    monkeypatch.setattr(rig.lists, "publish_releases", refusing)
    with pytest.raises(Invalid, match="a-first"):
        await rig.reconcile()
    assert {"a-first", "b-second", SPACE} <= set(asked)


async def test_i6_a_revocation_does_not_wait_for_a_registry_that_hangs(rig: Rig) -> None:
    rig.release("r1", rig.image("a"))
    await rig.reconcile()
    assert rig.live(SPACE).digests
    seen: list[set[str]] = []
    evidence = rig.registry.evidence

    async def look(wanted: str) -> Evidence:
        seen.append(set(rig.live(SPACE).digests))
        return await evidence(wanted)

    rig.registry.evidence = look  # type: ignore[method-assign]
    rig.put(kinds.JIL_NETWORK, a_network(revokedAt="2026-01-01T00:00:00Z"))
    await rig.reconcile()
    assert seen == [set()], "nobody runs it"


async def test_i6_what_runs_is_kept_while_the_registry_is_asked_by_another_policy(rig: Rig) -> None:
    image = rig.image("a")
    rig.release("r1", image)
    await rig.reconcile()
    rig.runs("r1", image)
    rig.put(kinds.JIL_NETWORK, a_network(owner="another"))
    rig.registry.trouble = RegistryUnknown("registry.example.com does not answer")
    await rig.reconcile()
    (entry,) = rig.live(SPACE).digests.values()
    assert (entry.image, entry.kept_since is not None) == (image, True)


async def test_networks_are_asked_for_side_by_side_so_that_a_look_ends_in_time(rig: Rig) -> None:
    rig.release("r1", rig.image("a"))
    other = a_network()
    rig.put(kinds.JIL_NETWORK, {**other, "metadata": {"name": "other"}})
    rig.namespace("of-the-other", "other")
    here: list[str] = []
    both = asyncio.Event()
    evidence = rig.registry.evidence

    async def look(wanted: str) -> Evidence:
        here.append(wanted)
        if len(here) == 2:
            both.set()
        async with asyncio.timeout(5):
            await both.wait()
        return await evidence(wanted)

    rig.registry.evidence = look  # type: ignore[method-assign]
    await rig.reconcile()
    assert set(rig.live(SPACE).digests) == set(rig.live("of-the-other").digests) != set()


async def test_while_a_registry_is_away_nothing_is_written_that_only_a_clock_changed(rig: Rig) -> None:
    rig.release("r1", rig.image("a"))
    rig.registry.trouble = RegistryUnknown("registry.example.com does not answer")
    said = set()
    for _ in range(6):
        result = await rig.reconcile()
        status = (rig.store.get(kinds.JIL_RELEASE, None, "r1") or {})["status"]
        said.add(str(status["conditions"]))
        rig.clock.forward(result.requeue_after or 0)
    assert len(said) == 1
    assert len(set(rig.told.events)) == 1


async def test_nodes_hear_of_verdicts_and_not_of_every_try(rig: Rig) -> None:
    rig.release("r1", rig.image("a"))
    rig.put(kinds.JIL_NODE, {"metadata": {"name": "n1", "namespace": SPACE}, "spec": {}})
    route = JilRoutes(rig.store, system_namespace="jil-system").table()[kinds.JIL_RELEASE]
    rig.registry.trouble = RegistryUnknown("registry.example.com does not answer")
    heard = []
    for number in range(4):
        before = rig.store.get(kinds.JIL_RELEASE, None, "r1")
        if number == 3:
            rig.registry.trouble = None
        result = await rig.reconcile()
        after = rig.store.get(kinds.JIL_RELEASE, None, "r1")
        keys = set(route(Change(kinds.JIL_RELEASE, before, after)))
        heard.append(Key("JILNode", SPACE, "n1") in keys)
        rig.clock.forward(result.requeue_after or 0)
    assert heard == [True, False, False, True]


@pytest.mark.parametrize(
    ("ends", "tries", "pause"),
    [
        ([], [], None),
        ([], [5, 6, 30], 6),
        ([], [40, 60, 70, 71, 300], 70),
        ([50], [40, 60], 50),
        ([9999], [], LATEST),
        ([], [-5, -3, 2], SOONEST),
    ],
)
def test_tries_that_are_near_each_other_are_one_look(
    ends: list[float], tries: list[float], pause: float | None
) -> None:
    now = FakeClock().now()

    def moments(seconds: list[float]) -> list[datetime]:
        return [now + timedelta(seconds=one) for one in seconds]

    assert _pause(now, moments(ends), moments(tries)) == pause
