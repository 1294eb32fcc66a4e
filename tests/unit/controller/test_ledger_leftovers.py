"""Grants that nobody would come back for: of a node under its former name, and of validators that have left."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from jil.api import kinds, labels
from jil.api.network import JILNetwork
from jil.api.record import JILNodeRecord
from jil.cluster.ledger import Outcome
from jil.controller.departed import LOOK_SECONDS, Departed
from jil.controller.deps import Deps
from jil.controller.node_acts import NodeActs
from jil.controller.node_gate import ActSubject
from jil.engine.store import Store
from jil.plan.acts import Act
from jil.plan.health import ChainHealth, HealthReading
from jil.plan.lifecycle import Goal
from jil.plan.voting import NetworkFacts
from tests.cluster.api.case import BASES
from tests.unit.cluster.conftest import Bed, address, granted
from tests.unit.cluster.memory_api import NAMESPACE, NETWORK, SYSTEM

RENAMED = "ch-zug-again"


class Rig:
    """A bed of validators with the real gate, and what the operator's watch has of its ledger."""

    def __init__(self) -> None:
        self.bed, self.store = Bed(), Store()
        self.gate = self.bed.gate()
        self.follows = True
        deps = SimpleNamespace(
            store=self.store,
            client=self.bed.api,
            gate=self.gate,
            clock=self.bed.clock,
            system_namespace=SYSTEM,
            health=self,
            events=None,
        )
        self.deps = cast(Deps, deps)

    def reading(self, key: tuple[str, str]) -> HealthReading:
        return HealthReading(at=self.bed.clock.now(), chain=ChainHealth(ok=self.follows, height=self.bed.height))

    def watch(self) -> None:
        """The watch delivers the ledger."""
        self.store.put(kinds.CONFIG_MAP, self.bed.api.live(kinds.CONFIG_MAP, labels.ledger_config_map(NETWORK), SYSTEM))

    async def taken_down(self, index: int) -> None:
        """The JILNode is deleted: its validator's StatefulSet goes under a grant."""
        uid = self.bed.api.live(kinds.POD, self.bed.pod(index))["metadata"]["uid"]
        await self.bed.api.act(granted(await self.bed.ask(self.gate, index, Act.DELETE_WORKLOAD, pod_uid=uid)))
        self.bed.api.remove(kinds.POD, self.bed.pod(index))
        self.watch()

    def applied_as(self, name: str, *, ready: bool) -> None:
        """The same nodeId comes back under ``name``: its key's pod is there."""
        self.bed.api.start_validator(name)
        since = self.bed.clock.now().isoformat().replace("+00:00", "Z")
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": since}
        pod = self.bed.api.live(kinds.POD, labels.pod_name(name, "validator"))
        pod["status"] = {"phase": "Running", "conditions": [condition]}
        self.bed.clock.advance(10)

    def subject(self, name: str, index: int) -> ActSubject:
        """The node of that name, with the key ``index``."""
        keys = {
            "validator": {"publicKey": "A" * 43 + "=", "address": address(index), "fingerprint": "0" * 64},
        }
        spec = {**BASES["JILNodeRecord"]["spec"], "network": NETWORK, "keys": keys}
        record = JILNodeRecord.model_validate({**BASES["JILNodeRecord"], "spec": spec})
        return ActSubject({}, NAMESPACE, name, NETWORK, None, record)

    async def settle(self, name: str, index: int) -> list[str]:
        """What is still open after a pass of the node with the key ``index``."""
        await NodeActs(self.deps).settle(self.subject(name, index), Goal.RUNNING)
        return [entry.node for entry in self.bed.api.ledger().open]

    def network(self) -> JILNetwork:
        return JILNetwork.model_validate({**BASES["JILNetwork"], "metadata": {"name": NETWORK}})


async def test_i8_the_grant_of_a_deletion_is_given_back_when_the_key_is_back_under_another_name() -> None:
    rig = Rig()
    await rig.taken_down(0)
    rig.applied_as(RENAMED, ready=False)
    assert await rig.settle(RENAMED, 0) == [f"{NAMESPACE}/{rig.bed.node(0)}"], "not back yet"
    rig.applied_as(RENAMED, ready=True)
    rig.follows = False
    assert await rig.settle(RENAMED, 0) == [f"{NAMESPACE}/{rig.bed.node(0)}"], "back, and not at its network's height"
    rig.follows = True
    assert await rig.settle(RENAMED, 0) == []
    assert rig.bed.api.ledger().closed[-1].outcome is Outcome.RETURNED


async def test_a_node_that_owes_its_grant_is_looked_at_until_it_has_given_it_back() -> None:
    """Nothing but a later reading tells that it follows the chain: a look in a minute would hold others up for a minute."""
    rig = Rig()
    acts = NodeActs(rig.deps)
    assert not acts.owes(rig.subject(RENAMED, 0), Goal.RUNNING)
    await rig.taken_down(0)
    rig.applied_as(RENAMED, ready=True)
    assert acts.owes(rig.subject(RENAMED, 0), Goal.RUNNING)
    assert not acts.owes(rig.subject(RENAMED, 0), Goal.STOPPED), "it is kept as long as the node is stopped"
    assert not acts.owes(rig.subject(RENAMED, 1), Goal.RUNNING), "that of a neighbour"
    assert await rig.settle(RENAMED, 0) == []
    rig.watch()
    assert not acts.owes(rig.subject(RENAMED, 0), Goal.RUNNING)


async def test_i2_a_grant_of_another_key_is_not_given_back_by_a_neighbour() -> None:
    rig = Rig()
    await rig.taken_down(0)
    rig.applied_as(RENAMED, ready=True)
    assert await rig.settle(RENAMED, 1) == [f"{NAMESPACE}/{rig.bed.node(0)}"]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Members and their keys as the records have them: everybody but number 0."""
    made = Rig()
    facts = [SimpleNamespace(address=address(index)) for index in range(1, made.bed.size)]
    monkeypatch.setattr("jil.controller.departed.member_facts", lambda deps, network: facts)
    return made


def departed(rig: Rig, facts: NetworkFacts) -> Departed:
    async def read(deps: Deps, network: JILNetwork) -> NetworkFacts:
        return facts

    return Departed(rig.deps, read)


def without(rig: Rig, index: int) -> NetworkFacts:
    """The network after the member and its key are gone."""
    facts = rig.bed.facts()
    rest = {one: power for one, power in facts.readings[0].powers.items() if one != address(index)}
    members = tuple(one for one in facts.members if one.address != address(index))
    return replace(facts, members=members, readings=tuple(replace(one, powers=rest) for one in facts.readings))


async def test_i2_the_grant_of_a_validator_that_left_is_released_by_the_chains_own_word(rig: Rig) -> None:
    await rig.taken_down(0)
    still_in = replace(without(rig, 0), readings=rig.bed.facts().readings)
    assert await departed(rig, still_in).release(rig.network()) == LOOK_SECONDS
    assert len(rig.bed.api.ledger().open) == 1, "its member is gone, its key votes"
    assert await departed(rig, without(rig, 0)).release(rig.network()) is None
    ledger = rig.bed.api.ledger()
    assert (ledger.open, ledger.closed[-1].outcome) == ((), Outcome.RETURNED)


async def test_the_chain_is_asked_once_a_minute_however_often_the_network_is_looked_at(rig: Rig) -> None:
    await rig.taken_down(0)
    asked = 0

    async def read(deps: Deps, network: JILNetwork) -> NetworkFacts:
        nonlocal asked
        asked += 1
        return replace(without(rig, 0), readings=rig.bed.facts().readings)

    looks = Departed(rig.deps, read)
    for _ in range(3):
        assert await looks.release(rig.network()) == LOOK_SECONDS
    assert asked == 1
    rig.bed.clock.advance(LOOK_SECONDS)
    await looks.release(rig.network())
    assert asked == 2


async def test_the_chain_is_not_asked_for_grants_of_members(rig: Rig) -> None:
    await rig.taken_down(1)

    async def read(deps: Deps, network: JILNetwork) -> NetworkFacts:
        raise AssertionError("asked")

    assert await Departed(rig.deps, read).release(rig.network()) is None
    assert len(rig.bed.api.ledger().open) == 1
