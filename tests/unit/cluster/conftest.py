"""A network of validators in memory, and gates in front of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.cluster.disruption import Gate
from jil.cluster.grant import Grant
from jil.cluster.ledger import Leadership
from jil.cluster.request import Disruption
from jil.plan.acts import VALIDATOR, Act
from jil.plan.chain import ChainReading, Commit
from jil.plan.quorum import DEFAULT_POLICY
from jil.plan.verdict import Deny, DenyReason, Impossible
from jil.plan.voting import Member, NetworkFacts, PodState
from tests.unit.cluster.memory_api import NAMESPACE, NETWORK, SYSTEM, FakeClock, MemoryApi

K = DEFAULT_POLICY.readings.window


def address(index: int) -> str:
    return f"{index + 1:040X}"


@dataclass
class Bed:
    """``size`` equal validators that all sign, unless a test takes one down."""

    size: int = 4
    api: MemoryApi = field(default_factory=MemoryApi)
    clock: FakeClock = field(default_factory=FakeClock)
    height: int = 1_000
    allow_halt: bool = False
    readable: bool = True
    existed: bool = False
    #: Height at which a validator came back; it signs from there.
    since: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index in range(self.size):
            self.api.start_validator(self.node(index))

    @staticmethod
    def node(index: int) -> str:
        return f"ch-zug-{index:02d}"

    def workload(self, index: int) -> str:
        return labels.child_name(self.node(index), VALIDATOR)

    def pod(self, index: int) -> str:
        return labels.pod_name(self.node(index), VALIDATOR)

    def gate(self, fence: int = 1, holder: str | None = None) -> Gate:
        leader = Leadership(holder or f"process-{fence}", fence)
        return Gate(self.api, system_namespace=SYSTEM, clock=self.clock, leadership=lambda: leader)

    def disruption(self, index: int, act: Act = Act.STOP, **changes: Any) -> Disruption:
        on_pod = act in (Act.DELETE_POD, Act.DRAIN)
        kind: Kind = kinds.POD if on_pod else kinds.STATEFUL_SET
        values: dict[str, Any] = {
            "act": act,
            "network": NETWORK,
            "node": f"{NAMESPACE}/{self.node(index)}",
            "component": VALIDATOR,
            "target": self.api.ref(kind, self.pod(index) if on_pod else self.workload(index)),
            "consensus_address": address(index),
            "reason": "spec.state is Stopped",
            "pod": PodState.RUNNING,
        }
        return Disruption(**{**values, **changes})

    def up(self, index: int) -> bool:
        return self.api.exists(kinds.POD, self.pod(index))

    def blocks(self, count: int = 10) -> None:
        """The chain goes on."""
        self.height += count
        self.clock.advance(1.5 * count)

    def come_back(self, index: int) -> None:
        """The validator runs again and signs from the next block on."""
        if not self.up(index):
            self.since[index] = self.height + 1
        self.api.start_validator(self.node(index))

    def facts(self, **changes: Any) -> NetworkFacts:
        """What is true now, as two nodes outside the set tell it."""
        commits = tuple(
            Commit(
                height,
                frozenset(address(i) for i in range(self.size) if self.up(i) and self.since.get(i, 0) <= height),
            )
            for height in range(self.height - K + 1, self.height + 1)
        )
        readings = tuple(
            ChainReading(
                source=source,
                chain_id=NETWORK,
                height=self.height,
                block_time_ms=self.clock.ms - 1_000,
                read_at_ms=self.clock.ms,
                catching_up=False,
                powers={address(i): 1 for i in range(self.size)},
                commits=commits,
            )
            for source in ("reader-a", "reader-b")
        )
        values: dict[str, Any] = {
            "chain_id": NETWORK,
            "members": tuple(Member(self.node(i), address(i), 1, local=True) for i in range(self.size)),
            "readings": readings if self.readable else (),
            "unknown": frozenset(),
            "joining": {},
            "known_height": 0,
            "allow_halt": self.allow_halt,
            "shared_ledger": True,
            "static_quota": None,
        }
        return NetworkFacts(**{**values, **changes})

    async def ask(self, gate: Gate, index: int, act: Act = Act.STOP, **changes: Any) -> Grant | Deny | Impossible:
        """Request an act against the validator as it is now."""
        return await gate.request(self.disruption(index, act, **changes), self.facts(), ledger_existed=self.existed)


@pytest.fixture
def bed() -> Bed:
    return Bed()


def granted(answer: Grant | Deny | Impossible) -> Grant:
    assert isinstance(answer, Grant), answer
    return answer


def reason(answer: Grant | Deny | Impossible) -> DenyReason:
    assert isinstance(answer, Deny), answer
    return answer.reason
