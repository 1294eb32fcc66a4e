"""A p2p Service that was deleted comes back at the address that its peers resolved, as long as that can be had."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.cluster.client import Listing
from jil.cluster.errors import Invalid
from jil.controller.deps import Deps
from jil.controller.p2p_address import PATIENCE, P2PAddress
from jil.engine.outcome import DependencyDown
from jil.engine.store import Store
from tests.unit.cluster.clocks import ManualClock
from tests.unit.render.samples import zurich

RECORDED = "10.96.0.11"
CTX = replace(zurich(), p2p_cluster_ip=RECORDED)
TAKEN = ("spec.clusterIPs: Invalid value: failed to allocate IP",)


class Rig:
    """Services by address as the API server has them; ``held``: addresses that it refuses though no Service has them."""

    def __init__(self) -> None:
        self.services: dict[str, str] = {}
        self.held: set[str] = set()
        self.causes = TAKEN
        self.said: list[str] = []
        self.clock = ManualClock()
        self.store = Store()
        deps = SimpleNamespace(store=self.store, applier=self, client=self, clock=self.clock, events=self)
        self.address = P2PAddress(cast(Deps, deps))

    async def __call__(self) -> str | None:
        return await self.address.ensure(CTX, {"metadata": {}}, serving=True)

    # -- the applier
    async def ensure(self, intent: dict[str, Any], live: dict[str, Any] | None) -> Any:
        address = intent["spec"].get("clusterIP") or "10.96.0.99"
        if address in self.held or address in self.services:
            raise Invalid("PATCH", "/x", status=422, reason="Invalid", causes=self.causes)
        return SimpleNamespace(object={"spec": {"clusterIP": address}})

    # -- the client
    async def list(self, kind: Kind, *, field_selector: str) -> Listing:
        address = field_selector.removeprefix("spec.clusterIP=")
        found = (
            [{"metadata": {"namespace": "shop", "name": self.services[address]}}] if address in self.services else []
        )
        return Listing(found, "1")

    # -- Events
    def warning(self, regarding: object, reason: str, note: str, *, action: str) -> None:
        self.said.append(f"{reason}: {note}")


def test_a_free_address_is_had_again() -> None:
    assert asyncio.run(Rig()()) == RECORDED


def test_an_address_that_is_still_being_let_go_is_waited_for_and_had_again() -> None:
    rig = Rig()
    rig.held.add(RECORDED)
    for _ in range(3):
        with pytest.raises(DependencyDown, match=RECORDED):
            asyncio.run(rig())
        rig.clock.forward(PATIENCE / 4)
    rig.held.clear()
    assert asyncio.run(rig()) == RECORDED
    assert rig.said == []


def test_waiting_begins_anew_after_the_address_was_had() -> None:
    rig = Rig()
    for _ in range(2):
        rig.held.add(RECORDED)
        with pytest.raises(DependencyDown):
            asyncio.run(rig())
        rig.held.clear()
        assert asyncio.run(rig()) == RECORDED
        rig.clock.forward(PATIENCE * 2)


def test_an_address_of_another_service_is_given_up_at_once_and_told() -> None:
    rig = Rig()
    rig.services[RECORDED] = "till"
    assert asyncio.run(rig()) == "10.96.0.99"
    assert rig.said == [
        "AddressChanged: the recorded address 10.96.0.11 belongs to Service shop/till now: peers reach the node at"
        " 10.96.0.99 from their next start on"
    ]


def test_an_address_that_nobody_has_and_nobody_gets_is_given_up_in_the_end_and_told() -> None:
    rig = Rig()
    rig.held.add(RECORDED)
    with pytest.raises(DependencyDown):
        asyncio.run(rig())
    rig.clock.forward(PATIENCE)
    assert asyncio.run(rig()) == "10.96.0.99"
    assert len(rig.said) == 1


def test_what_is_refused_for_another_reason_is_no_question_of_the_address() -> None:
    rig = Rig()
    rig.held.add(RECORDED)
    rig.causes = (*TAKEN, "metadata.labels: Invalid value")
    with pytest.raises(Invalid):
        asyncio.run(rig())


def test_a_service_that_is_there_at_another_address_keeps_it_and_that_is_told() -> None:
    """An address cannot be changed: asked for the recorded one, the API server would refuse every look."""
    rig = Rig()
    restored = kinds.SERVICE.head(labels.p2p_service(CTX.name), CTX.namespace)
    restored["metadata"] = {**restored["metadata"], "uid": "restored", "resourceVersion": "7"}
    rig.store.put(kinds.SERVICE, {**restored, "spec": {"clusterIP": "10.96.0.77"}})
    assert asyncio.run(rig()) == "10.96.0.77"
    assert rig.said == [
        "AddressChanged: the p2p Service was made anew by somebody else, not at the recorded address 10.96.0.11: peers"
        " reach the node at 10.96.0.77 from their next start on"
    ]


def test_a_node_that_nobody_dials_has_no_service_made() -> None:
    assert asyncio.run(Rig().address.ensure(CTX, {"metadata": {}}, serving=False)) is None
