"""``ensure``: what it writes, what it leaves, what it refuses. The API server's part is tests/cluster/engine."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, cast

import pytest

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.cluster.apply import Applier, Change, gap
from jil.cluster.errors import Conflict, GrantRequired, NotFound, NotOurs
from jil.cluster.looked_at import hashes
from jil.cluster.review import ABSENT
from tests.unit.cluster.objects import APPLIED_TREE, entry, statefulset, stored

SIDECAR: dict[str, Any] = {
    "f:spec": {
        "f:template": {"f:spec": {"f:containers": {'k:{"name":"side"}': {".": {}, "f:image": {}, "f:name": {}}}}}
    }
}


def live_of(intent: dict[str, Any], *others: dict[str, Any], **more: Any) -> dict[str, Any]:
    whole, template = hashes(intent)
    return stored(intent, f"{whole}-{template}", *others, **more)


def with_sidecar(live: dict[str, Any]) -> dict[str, Any]:
    live["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "x"})
    live["metadata"]["managedFields"].append(entry("kubectl-edit", copy.deepcopy(SIDECAR)))
    return live


class Recorder:
    """A client that keeps what it is asked to write and answers as the test says."""

    def __init__(self, live: dict[str, Any] | None = None) -> None:
        self.live = live
        self.applied: list[dict[str, Any]] = []
        self.patched: list[list[dict[str, Any]]] = []
        self.reads = 0
        self.conflicts = 0
        self.changes_nothing = False

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> dict[str, Any]:
        self.reads += 1
        if self.live is None:
            raise NotFound("GET", "/x", status=404)
        return self.live

    async def apply(self, kind: Kind, manifest: dict[str, Any], *, reviewed: Any = None) -> dict[str, Any]:
        self.applied.append(manifest)
        if self.conflicts:
            self.conflicts -= 1
            raise Conflict("PATCH", "/x", status=409)
        if self.live is not None and manifest["metadata"].get("resourceVersion", "10") not in ("10", "11"):
            raise Conflict("PATCH", "/x", status=409)  # as the API server answers to any other version
        if self.changes_nothing and self.live is not None:
            return self.live
        others = self.live["metadata"]["managedFields"][1:] if self.live else []
        extra = (
            [c for c in self.live["spec"]["template"]["spec"]["containers"] if c["name"] == "side"] if self.live else []
        )
        self.live = stored(manifest, manifest["metadata"]["annotations"]["jil.io/applied"], *others)
        self.live["spec"]["template"]["spec"]["containers"] += extra
        self.live["metadata"]["resourceVersion"] = "11"
        return self.live

    async def json_patch(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        operations: Any,
        *,
        resource_version: str,
        reviewed: Any = None,
    ) -> dict[str, Any]:
        self.patched.append(list(operations))
        assert self.live is not None
        assert resource_version == self.live["metadata"]["resourceVersion"]
        self.live = copy.deepcopy(self.live)
        self.live["spec"]["template"]["spec"]["containers"] = self.live["spec"]["template"]["spec"]["containers"][:1]
        self.live["metadata"]["managedFields"] = self.live["metadata"]["managedFields"][:1]
        self.live["metadata"]["resourceVersion"] = "12"
        return self.live


async def test_what_is_equal_is_not_written() -> None:
    client = Recorder()
    outcome = await Applier(client).ensure(statefulset(), live_of(statefulset()))
    assert outcome.change == Change.UNCHANGED
    assert (client.applied, client.patched, client.reads) == ([], [], 0)


async def test_what_is_missing_is_created_without_a_read_by_a_write_that_takes_nothing_over() -> None:
    client, remembered = Recorder(), []
    applier = Applier(client, remember=lambda kind, obj: remembered.append((kind.kind, obj["metadata"]["name"])))
    outcome = await applier.ensure(statefulset(), None)
    assert outcome.change == Change.CREATED
    assert client.reads == 0
    assert client.applied[0]["metadata"]["resourceVersion"] == ABSENT
    assert remembered == [("StatefulSet", "node-database")]


async def test_a_lagging_store_does_not_lower_the_replicas_of_what_is_there() -> None:
    client = Recorder(live_of(statefulset(replicas=3)))
    with pytest.raises(GrantRequired, match="from 3 to 1"):
        await Applier(client).ensure(statefulset(), None)
    assert [one["metadata"]["resourceVersion"] for one in client.applied] == [ABSENT], "and that one was refused"
    assert client.reads == 1


async def test_i4_what_somebody_else_made_under_the_name_is_not_taken_over() -> None:
    theirs = live_of(statefulset())
    theirs["metadata"]["labels"], theirs["metadata"]["annotations"] = {}, {}
    client = Recorder(theirs)
    ours = statefulset()
    ours["metadata"]["labels"] = {labels.APP_MANAGED_BY: labels.MANAGED_BY}
    with pytest.raises(NotOurs):
        await Applier(client).ensure(ours, None)
    assert client.live is theirs


async def test_a_server_that_makes_nothing_under_a_version_is_read_and_asked_without() -> None:
    client = Recorder()
    client.conflicts = 1
    outcome = await Applier(client).ensure(statefulset(), None)
    assert outcome.change == Change.CREATED
    assert client.reads == 1
    assert "resourceVersion" not in client.applied[1]["metadata"]


async def test_i4_create_leaves_what_is_there_to_its_caller() -> None:
    client = Recorder(live_of(statefulset()))
    before = client.live
    with pytest.raises(Conflict):
        await Applier(client).create(statefulset(replicas=3))
    assert client.live is before
    assert [one["metadata"]["resourceVersion"] for one in client.applied] == [ABSENT], "tried once, under no version"


async def test_create_makes_what_is_not_there() -> None:
    client, remembered = Recorder(), []
    applier = Applier(client, remember=lambda kind, obj: remembered.append(obj["metadata"]["name"]))
    assert (await applier.create(statefulset())).change == Change.CREATED
    assert (client.reads, remembered) == (0, ["node-database"])


async def test_the_write_is_bound_to_the_version_that_was_looked_at() -> None:
    client = Recorder(live_of(statefulset()))
    intent = statefulset(replicas=2)
    outcome = await Applier(client).ensure(intent, client.live)
    assert outcome.change == Change.UPDATED
    assert outcome.drift is False
    metadata = client.applied[0]["metadata"]
    assert (metadata["uid"], metadata["resourceVersion"]) == ("uid-1", "10")
    assert outcome.differences == ("spec.replicas: have 1, want 2",)


async def test_the_intent_itself_is_not_changed() -> None:
    intent = statefulset(replicas=2)
    before = copy.deepcopy(intent)
    client = Recorder(live_of(statefulset()))
    await Applier(client).ensure(intent, client.live)
    assert intent == before


async def test_a_conflict_is_settled_on_a_fresh_read() -> None:
    client = Recorder(live_of(statefulset()))
    client.conflicts = 2
    outcome = await Applier(client).ensure(statefulset(replicas=2), client.live)
    assert outcome.change == Change.UPDATED
    assert client.reads == 2


async def test_endless_conflicts_go_to_the_queue() -> None:
    client = Recorder(live_of(statefulset()))
    client.conflicts = 99
    with pytest.raises(Conflict):
        await Applier(client).ensure(statefulset(replicas=2), client.live)
    assert len(client.applied) == 3


async def test_ac_41_a_foreign_sidecar_is_removed_and_named() -> None:
    client = Recorder(with_sidecar(live_of(statefulset())))
    outcome = await Applier(client).ensure(statefulset(), client.live)
    assert outcome.change == Change.FOREIGN_REMOVED
    assert [str(each) for each in outcome.foreign] == ["spec.template.spec.containers[name=side] (by kubectl-edit)"]
    assert outcome.drift is True
    assert client.applied == []
    assert client.patched[0][0] == {"op": "remove", "path": "/spec/template/spec/containers/1"}


async def test_an_edit_and_an_addition_are_both_undone() -> None:
    client = Recorder(with_sidecar(live_of(statefulset())))
    assert client.live is not None
    client.live["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"
    outcome = await Applier(client).ensure(statefulset(), client.live)
    assert (len(client.applied), len(client.patched)) == (1, 1)
    assert outcome.change == Change.FOREIGN_REMOVED
    assert "image: have 'evil'" in outcome.differences[0]


@pytest.mark.parametrize(
    "other",
    [
        entry("kube-controller-manager", {"f:spec": {"f:volumeName": {}}}),
        entry("kube-controller-manager", {"f:spec": {"f:paused": {}}}),
        entry("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale"),
        entry("kubectl-create", {"f:spec": {"f:clusterIP": {}, "f:clusterIPs": {}}}),
        entry("argocd", {"f:metadata": {"f:annotations": {"f:argocd.io/x": {}}, "f:labels": {"f:team": {}}}}),
        entry("kcm", {"f:status": {"f:replicas": {}}}, subresource="status"),
    ],
)
def test_what_belongs_to_kubernetes_to_subresources_and_to_metadata_stays(other: dict[str, Any]) -> None:
    live = live_of(statefulset(), other)
    live["spec"] |= {"volumeName": "pv", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "paused": True}
    assert gap(statefulset(), live).foreign == ()


def test_a_field_dropped_inside_an_atomic_list_is_seen_by_the_hash() -> None:
    before = statefulset()
    before["spec"]["template"]["spec"]["tolerations"] = [{"key": "a", "operator": "Exists"}]
    after = copy.deepcopy(before)
    del after["spec"]["template"]["spec"]["tolerations"][0]["operator"]
    tree = copy.deepcopy(APPLIED_TREE)
    tree["f:spec"]["f:template"]["f:spec"]["f:tolerations"] = {}
    found = gap(after, live_of(before, tree=tree))
    assert found.values == ()
    assert found.needs_apply
    assert found.changes_template


def test_a_change_inside_an_atomic_list_by_somebody_else_is_seen_by_its_owner() -> None:
    intent = statefulset()
    live = live_of(intent, entry("kubectl-edit", {}))
    tree = live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    del tree['k:{"name":"main"}']["f:args"]
    assert [path[-1].name for path in gap(intent, live).lost] == ["args"]  # type: ignore[union-attr]


def test_a_field_that_the_intent_no_longer_has_is_ours_to_remove() -> None:
    tree = copy.deepcopy(APPLIED_TREE)
    tree["f:spec"]["f:minReadySeconds"] = {}
    found = gap(statefulset(), live_of(statefulset(), tree=tree))
    assert found.told() == ("spec.minReadySeconds: no longer wanted",)


async def test_what_the_server_calls_the_same_is_not_asked_again() -> None:
    """A mutating webhook rewrites our image every time: one request, no endless fight."""
    client = Recorder(live_of(statefulset()))
    assert client.live is not None
    client.live["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror/a@sha256:1"
    client.changes_nothing = True
    applier = Applier(client)
    assert (await applier.ensure(statefulset(), client.live)).change == Change.UNCHANGED
    later = copy.deepcopy(client.live)
    later["metadata"]["resourceVersion"] = "20"  # a status write
    later["status"] = {"replicas": 2}
    assert (await applier.ensure(statefulset(), later)).change == Change.UNCHANGED
    assert len(client.applied) == 1
    later["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"
    await applier.ensure(statefulset(), later)
    assert len(client.applied) == 2


async def test_what_was_found_equal_is_not_compared_again_until_it_changes() -> None:
    client, live = Recorder(), live_of(statefulset())
    applier = Applier(client)
    await applier.ensure(statefulset(), live)
    live["spec"]["replicas"] = 5  # cannot happen without a new version: proves that nothing was compared
    assert (await applier.ensure(statefulset(), live)).change == Change.UNCHANGED
    live["metadata"]["resourceVersion"] = "11"
    with pytest.raises(GrantRequired):
        await applier.ensure(statefulset(), live)


class Allocator:
    """An API server that gives addresses one after the other: how many requests for one wait there at most."""

    def __init__(self) -> None:
        self.waiting = self.most = self.others = 0

    async def apply(self, kind: Kind, manifest: dict[str, Any], *, reviewed: Any = None) -> dict[str, Any]:
        if kind != kinds.SERVICE or manifest["spec"].get("clusterIP") is not None:
            self.others += 1
            return manifest
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await asyncio.sleep(0)
        self.waiting -= 1
        return manifest


async def test_services_wait_for_an_address_here_and_not_at_the_server_where_their_deadline_runs() -> None:
    def service(name: str, **spec: str) -> dict[str, Any]:
        return {**kinds.SERVICE.head(name, "jil"), "spec": spec}

    server = Allocator()
    applier = Applier(cast("Any", server))
    named = [service("headless", clusterIP="None"), service("named", clusterIP="10.96.0.7")]
    unnamed = [service(f"s{n}") for n in range(20)]
    done = await asyncio.gather(*(applier.ensure(intent, None) for intent in [*unnamed, *named]))
    assert {outcome.change for outcome in done} == {Change.CREATED}
    assert (server.most, server.others) == (2, 2)


async def test_an_object_that_is_being_deleted_is_left_alone() -> None:
    live = live_of(statefulset(replicas=5))
    live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    client = Recorder()
    assert (await Applier(client).ensure(statefulset(), live)).change == Change.DELETING
    assert client.applied == []


async def test_i5_a_secret_is_refused() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k", "namespace": "n"}}
    with pytest.raises(ValueError, match="never applied"):
        await Applier(Recorder()).ensure(secret, None)
    with pytest.raises(ValueError, match="never applied"):
        await Applier(Recorder()).create(secret)


async def test_what_came_of_it_is_counted() -> None:
    counted: list[Change] = []
    applier = Applier(Recorder(), count=counted.append)
    await applier.ensure(statefulset(), None)
    await applier.ensure(statefulset(), live_of(statefulset()))
    assert counted == [Change.CREATED, Change.UNCHANGED]


def test_scaling_and_arming_leave_the_template_hash_as_it_is() -> None:
    armed, disarmed = statefulset(), statefulset(updateStrategy={"rollingUpdate": {"partition": 0}}, replicas=0)
    assert hashes(armed)[1] == hashes(disarmed)[1]
    assert hashes(armed)[0] != hashes(disarmed)[0]


def test_kinds_without_a_template_have_an_empty_template_hash() -> None:
    assert hashes({"apiVersion": "v1", "kind": kinds.CONFIG_MAP.kind, "metadata": {"name": "x"}})[1] == ""


async def test_an_intent_that_is_another_object_is_hashed_anew() -> None:
    client = Recorder(live_of(statefulset()))
    applier = Applier(client)
    assert (await applier.ensure(statefulset(), client.live)).change == Change.UNCHANGED
    assert (await applier.ensure(statefulset(replicas=2), client.live)).change == Change.UPDATED
