"""The history of releases in a record: what a node ran, and that it worked at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jil.api.record import JILNodeRecord, ReleaseFacts
from jil.controller.deps import Deps
from jil.controller.node_record import ran_before, release_images, with_release
from jil.plan.lifecycle import Goal, Workload
from tests.cluster.api.case import BASES
from tests.unit.plan.test_lifecycle import node
from tests.unit.render.samples import zurich

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CTX = zurich()


class Records:
    """Changes of a record without an API server."""

    async def change(self, record: JILNodeRecord, **facts: Any) -> JILNodeRecord:
        return record.model_copy(update={"spec": record.spec.model_copy(update=facts)})


DEPS = cast(Deps, SimpleNamespace(records=Records(), clock=SimpleNamespace(now=lambda: NOW)))


def record(*releases: str) -> JILNodeRecord:
    """A record with these releases behind it."""
    kept = [ReleaseFacts(release=name, since=NOW, images={}).model_dump(by_alias=True) for name in releases]
    base = BASES["JILNodeRecord"]
    return JILNodeRecord.model_validate({**base, "spec": {**base["spec"], "releases": kept}})


def running() -> list[Workload]:
    """Every workload, with ready pods of the images that the release names."""
    images = release_images(CTX)
    return [replace(w, pods=tuple(replace(p, image=images.get(w.component, "")) for p in w.pods)) for w in node()]


async def ran(before: JILNodeRecord, *, ready: bool) -> list[str]:
    workloads = [w for w in running() if w.component in release_images(CTX)]
    after = await with_release(DEPS, before, CTX, Goal.RUNNING, workloads, ready=ready)
    return [entry.release for entry in after.spec.releases]


async def test_a_node_has_no_history_before_it_was_ready() -> None:
    assert await ran(record(), ready=False) == []
    assert await ran(record(), ready=True) == [CTX.release_name]


async def test_a_node_with_a_history_ran_a_release_once_its_pods_do() -> None:
    assert await ran(record("older"), ready=False) == [CTX.release_name, "older"]


@pytest.mark.parametrize(
    ("history", "state", "before"),
    [
        ((), None, False),
        (("r1",), "Running", True),
        (("r1",), None, True),  # its status was lost with the JILNode, which was applied again
        (("r1",), "Maintenance", True),
        (("r1",), "Stopped", False),
    ],
)
def test_what_is_amiss_is_a_step_of_a_start_until_the_node_was_ready_since(
    history: tuple[str, ...], state: str | None, before: bool
) -> None:
    status = {"state": state} if state else {}
    assert ran_before({"status": status}, record(*history)) is before
