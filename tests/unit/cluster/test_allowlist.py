"""The one writer of allow-lists: two owners, one object, compare-and-swap, an audit line for what comes and goes."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from jil.api import kinds, labels
from jil.api.allowlist import AllowedImage, AllowListSpec, BrokenGlass, CachedVerdict
from jil.cluster.allowlist import AllowLists, ReleasePart, allowed
from jil.cluster.errors import Conflict
from tests.unit.cluster.memory_api import MemoryApi

SPACE, UID = "jil-ch-finma", "uid-of-the-namespace"
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
UNTIL = datetime(2027, 1, 16, tzinfo=UTC)
GLASS = BrokenGlass(operation="inc-1", digest=C, requested_by="ops-lead", until=UNTIL)


class CountingApi(MemoryApi):
    """Counts reads too, and lets somebody else write between a read and the write that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.meanwhile: list[Any] = []

    async def get(self, kind: kinds.Kind, name: str, namespace: str | None = None) -> dict[str, Any]:
        self.reads += 1
        found = await super().get(kind, name, namespace)
        # Whoever writes meanwhile reads too, and is not interrupted himself.
        waiting, self.meanwhile = self.meanwhile, []
        if waiting:
            await waiting.pop(0)()
        self.meanwhile = waiting
        return found


@pytest.fixture
def api() -> CountingApi:
    return CountingApi()


def part(*digests: str, release: str = "jil-1-0-0", **more: Any) -> ReleasePart:
    images = {d: AllowedImage(image=f"registry.example.com/jil/x@{d}", releases=(release,)) for d in digests}
    return ReleasePart(network="jil-devnet", policy_hash="h1", digests=images, **more)


def stored(api: MemoryApi) -> dict[str, Any]:
    return api.live(kinds.JIL_IMAGE_ALLOW_LIST, SPACE, "")


async def test_the_first_part_of_the_releases_makes_the_list_and_gives_it_to_its_namespace(api: CountingApi) -> None:
    spec = await AllowLists(api).publish_releases(SPACE, namespace_uid=UID, part=part(A))
    assert (allowed(spec, A), allowed(spec, B)) == (True, False)
    (owner,) = stored(api)["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Namespace", "name": SPACE, "uid": UID}
    assert stored(api)["metadata"]["labels"][labels.NETWORK] == "jil-devnet"
    assert stored(api)["spec"]["digests"][A]["releases"] == ["jil-1-0-0"]


async def test_i6_without_a_list_a_break_glass_makes_none_since_it_would_keep_everything_else_out(
    api: CountingApi,
) -> None:
    assert await AllowLists(api).publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=GLASS) is None
    assert api.writes == 0


async def test_each_owner_replaces_its_own_part_and_leaves_the_others_alone(api: CountingApi) -> None:
    lists = AllowLists(api)
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A))
    await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=GLASS)
    spec = await lists.publish_releases(SPACE, namespace_uid=UID, part=part(B))
    assert [allowed(spec, digest) for digest in (A, B, C)] == [False, True, True]
    ended = await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=None)
    assert ended is not None
    assert [allowed(ended, digest) for digest in (A, B, C)] == [False, True, False]


async def test_i6_a_list_of_another_network_is_replaced_whole_and_its_label_follows(api: CountingApi) -> None:
    lists = AllowLists(api)
    theirs = replace(part(B), network="laxer")
    await lists.publish_releases(SPACE, namespace_uid=UID, part=theirs)
    await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=GLASS)
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A))
    spec = stored(api)["spec"]
    assert (spec["network"], list(spec["digests"]), spec.get("breakGlass", [])) == ("jil-devnet", [A], [])
    assert stored(api)["metadata"]["labels"][labels.NETWORK] == "jil-devnet"


async def test_what_is_there_already_is_not_written_and_a_list_that_was_seen_is_not_even_read(api: CountingApi) -> None:
    await AllowLists(api).publish_releases(SPACE, namespace_uid=UID, part=part(A, B))
    lists = AllowLists(api, seen=lambda namespace: stored(api) if namespace == SPACE else None)
    reads, writes = api.reads, api.writes
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(B, A))
    await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=None)
    assert (api.reads, api.writes) == (reads, writes)
    seen = lists.read(SPACE)
    assert seen is not None
    assert seen.digests.keys() == {A, B}
    assert lists.read("elsewhere") is None


async def test_an_outdated_view_is_corrected_by_a_live_read(api: CountingApi) -> None:
    lists = AllowLists(api)
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A))
    old = {**stored(api)}
    await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=GLASS)
    behind = AllowLists(api, seen=lambda namespace: old)
    spec = await behind.publish_releases(SPACE, namespace_uid=UID, part=part(A, B))
    assert allowed(spec, C)


async def test_of_two_owners_that_write_at_once_neither_loses_its_part(api: CountingApi) -> None:
    lists = AllowLists(api)
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A))

    async def operation_opens() -> None:
        await AllowLists(api).publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=GLASS)

    api.meanwhile = [operation_opens]
    spec = await lists.publish_releases(SPACE, namespace_uid=UID, part=part(B))
    assert [allowed(spec, digest) for digest in (A, B, C)] == [False, True, True]


async def test_who_loses_the_race_every_time_is_told_so(api: CountingApi) -> None:
    lists = AllowLists(api)
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A))

    def writes_something(number: int) -> Any:
        async def write() -> None:
            other = part(f"sha256:{number:064}")
            await AllowLists(api).publish_releases(SPACE, namespace_uid=UID, part=other)

        return write

    api.meanwhile = [writes_something(number) for number in range(20)]
    with pytest.raises(Conflict):
        await lists.publish_releases(SPACE, namespace_uid=UID, part=part(B))
    assert len(api.meanwhile) == 16


async def test_two_operations_may_let_the_same_digest_in_and_each_ends_for_itself(api: CountingApi) -> None:
    lists = AllowLists(api)
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A))
    other = GLASS.model_copy(update={"operation": "inc-2"})
    await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=GLASS)
    await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-2", entry=other)
    one = await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=None)
    none = await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-2", entry=None)
    assert one is not None
    assert none is not None
    assert (allowed(one, C), allowed(none, C)) == (True, False)


@pytest.mark.parametrize("change", ["another namespace", "being deleted"])
async def test_the_list_of_a_namespace_that_is_gone_is_never_taken_over(api: CountingApi, change: str) -> None:
    await AllowLists(api).publish_releases(SPACE, namespace_uid="uid-before", part=part(A))
    uid = UID
    if change == "being deleted":
        stored(api)["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
        uid = "uid-before"
    for seen in (None, stored(api)):
        lists = AllowLists(api, seen=lambda namespace, seen=seen: seen)  # type: ignore[misc]
        with pytest.raises(Conflict, match="is gone"):
            await lists.publish_releases(SPACE, namespace_uid=uid, part=part(B))
    assert stored(api)["spec"]["digests"].keys() == {A}


async def test_a_part_above_the_bounds_of_the_api_is_refused_before_it_is_sent(api: CountingApi) -> None:
    lists = AllowLists(api)
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A))
    too_much = GLASS.model_copy(update={"digest": "latest"})
    with pytest.raises(ValidationError):
        await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=too_much)
    with pytest.raises(ValidationError):
        await lists.publish_releases(SPACE, namespace_uid=UID, part=part(*(f"sha256:{n:064}" for n in range(2049))))
    assert stored(api)["spec"]["digests"].keys() == {A}


async def test_what_was_written_is_remembered(api: CountingApi) -> None:
    remembered: list[str] = []
    lists = AllowLists(api, remember=lambda kind, obj: remembered.append(obj["metadata"]["resourceVersion"]))
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A))
    assert remembered == [stored(api)["metadata"]["resourceVersion"]]


async def test_i9_every_digest_that_comes_or_goes_has_its_audit_line(
    api: CountingApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jil.audit")
    lists = AllowLists(api)
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A))
    await lists.publish_break_glass(SPACE, namespace_uid=UID, operation="inc-1", entry=GLASS)
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(B))
    lines = [record.audit for record in caplog.records if record.name == "jil.audit"]  # type: ignore[attr-defined]
    assert [(line["made"], line["added"], line["removed"]) for line in lines] == [
        (True, {A: ["release jil-1-0-0"]}, []),
        (False, {C: ["operation inc-1 of ops-lead until 2027-01-16T00:00:00Z"]}, []),
        (False, {B: ["release jil-1-0-0"]}, [A]),
    ]
    assert {(line["action"], line["namespace"], line["policyHash"]) for line in lines} == {("image.allow", SPACE, "h1")}


async def test_a_verdict_that_lets_nothing_in_or_out_is_stored_and_not_an_audit_matter(
    api: CountingApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jil.audit")
    lists = AllowLists(api)
    await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A))
    verdict = CachedVerdict.model_validate(
        {
            "release": "jil-1-0-0",
            "image": f"registry.example.com/jil/x@{A}",
            "policyHash": "h1",
            "track": "devnet",
            "verdict": "Verified",
            "keys": ["release-2026"],
            "checkedAt": "2027-01-15T08:00:00Z",
        }
    )
    spec = await lists.publish_releases(SPACE, namespace_uid=UID, part=part(A, verdicts=(verdict,)))
    assert AllowListSpec.model_validate(stored(api)["spec"]).verdicts == spec.verdicts == (verdict,)
    assert len(caplog.records) == 1
