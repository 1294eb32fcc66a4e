"""What ``kubectl get jn`` shows of a chain: fresh enough to be of use, and bounded for a whole fleet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from jil.api import kinds
from jil.api.conditions import ConditionType, Finding, Reason, true, unknown
from jil.cluster.status import StatusWriter
from jil.controller.deps import Deps
from jil.controller.node_status import NodeStatusWriter, sample_interval
from jil.engine.store import Store
from jil.plan.findings import Verdict
from jil.plan.health import ChainHealth, HealthReading
from tests.unit.cluster.clocks import ManualClock
from tests.unit.render.samples import zurich

CTX = zurich()
KEY = (CTX.namespace, CTX.name)
LOOK_SECONDS = 60.0


class Rig:
    """One node with a chain, and the status as an API server would keep it."""

    def __init__(self, *, nodes: int = 1) -> None:
        self.store, self.clock, self.height = Store(), ManualClock(), 1
        self.samples: list[int] = []
        self.told: list[str] = []
        self.writes = 0
        for number in range(nodes):
            self._put(f"other-{number}" if number else CTX.name, {})
        deps = SimpleNamespace(
            store=self.store,
            clock=self.clock,
            health=self,
            events=self,
            statuses=StatusWriter(self, clock=self.clock, remember=self.store.put),
        )
        self.writer = NodeStatusWriter(cast(Deps, deps))

    def _put(self, name: str, status: dict[str, Any]) -> None:
        meta = {"name": name, "namespace": CTX.namespace, "uid": f"uid-{name}", "resourceVersion": "1"}
        self.store.put(kinds.JIL_NODE, {**kinds.JIL_NODE.head(name, CTX.namespace), "metadata": meta, "status": status})

    # -- the chain, as it is polled ------------------------------------------------------------------------------------
    def reading(self, key: tuple[str, str]) -> HealthReading:
        return HealthReading(at=self.clock.now(), chain=ChainHealth(ok=True, height=self.height))

    def highest(self, nodes: set[tuple[str, str]]) -> int:
        return self.height

    # -- the API server ------------------------------------------------------------------------------------------------
    async def apply_status(self, kind: Any, manifest: dict[str, Any], *, manager: str) -> dict[str, Any]:
        self.writes += 1
        if "height" in manifest["status"]:
            self.samples.append(manifest["status"]["height"])
        live = self.store.get(kind, *KEY) or {}
        version = str(int(live["metadata"]["resourceVersion"]) + 1)
        return {
            **live,
            "metadata": {**live["metadata"], "resourceVersion": version},
            "status": {**live["status"], **manifest["status"]},
        }

    # -- Events --------------------------------------------------------------------------------------------------------
    def warning(self, about: Any, reason: Reason, note: str, *, action: str) -> None:
        self.told.append(reason.value)

    async def judged(self, trust: Finding) -> None:
        """A look at a node whose release stands so."""
        raw = self.store.get(kinds.JIL_NODE, *KEY)
        assert raw is not None
        verdict = Verdict((trust, unknown(ConditionType.READY, trust.reason, trust.message)), "Pending")
        await self.writer.write(raw, None, verdict, ctx=CTX)

    async def look(self, phase: str = "Ready", *, after: float = LOOK_SECONDS, blocks: int = 10) -> None:
        self.clock.forward(after)
        self.height += blocks
        raw = self.store.get(kinds.JIL_NODE, *KEY)
        assert raw is not None
        verdict = Verdict((true(ConditionType.READY, Reason.READY, "as it should be"),), phase)
        await self.writer.write(raw, None, verdict, ctx=CTX)


async def test_the_height_is_written_when_a_node_has_become_ready_and_then_with_every_look_at_rest() -> None:
    rig = Rig()
    await rig.look("Provisioning", after=0.0, blocks=0)
    await rig.look("Provisioning", after=5.0)
    await rig.look("Ready", after=5.0)
    for _ in range(3):
        await rig.look()
    assert rig.samples == [1, 21, 31, 41, 51]


async def test_looks_in_quick_succession_write_no_height() -> None:
    rig = Rig()
    await rig.look()
    before = rig.writes
    for _ in range(40):
        await rig.look(after=1.0)
    assert rig.writes == before


async def test_a_chain_that_stands_still_is_not_written_however_often_it_is_looked_at() -> None:
    rig = Rig()
    await rig.look()
    before = rig.writes
    for _ in range(10):
        await rig.look(after=600.0, blocks=0)
    assert rig.writes == before


async def test_in_a_fleet_a_node_has_its_share_of_the_writes() -> None:
    rig = Rig(nodes=700)
    for _ in range(21):
        await rig.look()
    assert len(rig.samples) == 1 + 10


@pytest.mark.parametrize("nodes", [1, 20, 350, 2_000, 20_000])
def test_all_nodes_together_write_at_most_seven_heights_a_second(nodes: int) -> None:
    assert nodes / sample_interval(nodes) <= 7.0
    assert sample_interval(nodes) <= max(LOOK_SECONDS, 300.0 * nodes / 2_000)


async def test_signatures_that_are_just_being_read_are_no_warning_and_a_silent_registry_is_one() -> None:
    rig = Rig()
    await rig.judged(unknown(ConditionType.IMAGE_TRUST, Reason.VERIFYING, "5 of 5 images are being checked"))
    assert rig.told == []
    await rig.judged(unknown(ConditionType.IMAGE_TRUST, Reason.TRUST_UNKNOWN, "5 of 5 images cannot be checked: 503"))
    assert rig.told == ["TrustUnknown"]
