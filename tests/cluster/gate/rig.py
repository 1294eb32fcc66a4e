"""A network of validators on a real API server (no pod runs), and gates in front of it, as processes of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.cluster.access import Credentials, from_kubeconfig
from jil.cluster.client import KubeClient
from jil.cluster.connection import Connection
from jil.cluster.disruption import Gate
from jil.cluster.errors import NotFound
from jil.cluster.grant import Grant, TargetRef
from jil.cluster.ledger import Leadership, Ledger, LedgerStore
from jil.cluster.request import Disruption
from jil.plan.acts import VALIDATOR, Act
from jil.plan.chain import ChainReading, Commit
from jil.plan.quorum import DEFAULT_POLICY
from jil.plan.verdict import Deny, Impossible
from jil.plan.voting import Member, NetworkFacts, PodState
from testbed.apiclient import ApiClient
from testbed.controlplane import ControlPlane
from tests.waiting import PATIENCE_S, eventually


def address(index: int) -> str:
    return f"{index + 1:040X}"


@dataclass
class Network:
    """``size`` equal validators in ``namespace``; the ledger is in ``system``. Everybody signs but ``away``."""

    plane: ControlPlane
    namespace: str
    system: str
    user: str
    size: int = 4
    name: str = "jil-gate"
    height: int = 1_000
    away: frozenset[int] = frozenset()
    existed: bool = False
    connections: list[Connection] = field(default_factory=list)
    kubeconfig: Path | None = None
    begun: float = field(default_factory=time.time)

    # -- processes -----------------------------------------------------------------------------------------------------
    def client(self) -> KubeClient:
        """A client as the test's own user, so that the audit log can tell this test's requests from all others."""
        if self.kubeconfig is None:
            self.kubeconfig = self.plane.kubeconfig_for_user(self.user, ["system:masters"])
        connection = Connection(Credentials(from_kubeconfig(self.kubeconfig)), write_timeout=PATIENCE_S)
        self.connections.append(connection)
        return KubeClient(connection, fence=lambda: None)

    def gate(self, fence: int = 1, holder: str | None = None, client: KubeClient | None = None) -> Gate:
        """A gate with connections of its own."""
        leader = Leadership(holder or f"process-{fence}", fence)
        return Gate(
            client or self.client(), system_namespace=self.system, clock=BlockTime(self), leadership=lambda: leader
        )

    async def close(self) -> None:
        for connection in self.connections:
            await connection.close()

    # -- objects -------------------------------------------------------------------------------------------------------
    @property
    def admin(self) -> ApiClient:
        return self.plane.admin

    def node(self, index: int) -> str:
        return f"n{index:02d}"

    def workload(self, index: int) -> str:
        return labels.child_name(self.node(index), VALIDATOR)

    def pod(self, index: int) -> str:
        return labels.pod_name(self.node(index), VALIDATOR)

    async def make(self) -> None:
        """The validators' StatefulSets, armed, and a pod of each, made by the StatefulSet controller."""
        for index in range(self.size):
            name = self.workload(index)
            self.admin.create(
                kinds.STATEFUL_SET.path(namespace=self.namespace), stateful_set(name, self.namespace, self.name)
            )
        for index in range(self.size):
            await self.settled(index)

    async def settled(self, index: int) -> None:
        """The StatefulSet's status is as new as its spec and its pod is there: nobody writes to it any more."""
        await until(lambda: self._is_settled(index), f"StatefulSet {self.workload(index)} settles")

    def _is_settled(self, index: int) -> bool:
        live = self.admin.get(kinds.STATEFUL_SET.path(namespace=self.namespace, name=self.workload(index)))
        status = live.get("status", {})
        return (
            status.get("observedGeneration") == live["metadata"]["generation"]
            and status.get("replicas") == live["spec"]["replicas"]
            and self.admin.exists(kinds.POD.path(namespace=self.namespace, name=self.pod(index)))
        )

    async def ref(self, kind: Kind, name: str, client: KubeClient | None = None) -> TargetRef:
        """The object as it is now."""
        live = await (client or self.client()).get(kind, name, self.namespace)
        return TargetRef(kind, self.namespace, name, live["metadata"]["uid"], live["metadata"]["resourceVersion"])

    async def ledger(self) -> Ledger:
        """The ledger as it is stored."""
        return (await LedgerStore(self.client(), self.system).read(self.name)).ledger

    def lose_the_ledger(self) -> None:
        self.admin.delete(kinds.CONFIG_MAP.path(namespace=self.system, name=labels.ledger_config_map(self.name)))

    # -- questions -----------------------------------------------------------------------------------------------------
    @property
    def moment(self) -> float:
        """Seconds since 1970 in the network's own time: a block takes one."""
        return self.begun + self.height

    def facts(self) -> NetworkFacts:
        """What is true now, as two nodes outside the set tell it."""
        now = int(self.moment * 1000)
        signed = frozenset(address(i) for i in range(self.size) if i not in self.away)
        first = self.height - DEFAULT_POLICY.readings.window + 1
        commits = tuple(Commit(height, signed) for height in range(first, self.height + 1))
        powers = {address(i): 10 for i in range(self.size)}
        return NetworkFacts(
            chain_id=self.name,
            members=tuple(Member(self.node(i), address(i), 10, local=True) for i in range(self.size)),
            readings=tuple(
                ChainReading(source, self.name, self.height, now - 1_000, now, False, powers, commits)
                for source in ("reader-a", "reader-b")
            ),
            unknown=frozenset(),
            joining={},
            known_height=0,
            allow_halt=False,
            shared_ledger=True,
            static_quota=None,
        )

    async def disruption(self, index: int, act: Act = Act.STOP, **changes: Any) -> Disruption:
        on_pod = act in (Act.DELETE_POD, Act.DRAIN)
        values: dict[str, Any] = {
            "act": act,
            "network": self.name,
            "node": f"{self.namespace}/{self.node(index)}",
            "component": VALIDATOR,
            "consensus_address": address(index),
            "reason": "the test asks for it",
            "pod": PodState.RUNNING,
        }
        if "target" not in changes:
            kind, name = (kinds.POD, self.pod(index)) if on_pod else (kinds.STATEFUL_SET, self.workload(index))
            values["target"] = await self.ref(kind, name)
        return Disruption(**{**values, **changes})

    async def ask(self, gate: Gate, index: int, act: Act = Act.STOP, **changes: Any) -> Grant | Deny | Impossible:
        """Request an act against the validator as it is now."""
        wanted = await self.disruption(index, act, **changes)
        return await gate.request(wanted, self.facts(), ledger_existed=self.existed)


class BlockTime:
    """The clock of the gates: evidence does not grow old because a machine stands still between reading and asking."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._network.moment, UTC)

    def monotonic(self) -> float:
        return time.monotonic()


async def perform(client: KubeClient, grant: Grant) -> None:
    """Carry out the act that the grant is for. Raises Conflict, NotFound."""
    if grant.act is Act.STOP:
        await client.scale(grant, 0)
    elif grant.act is Act.DISARM:
        await client.disarm(grant)
    elif grant.act is Act.SERVING_OFF:
        await client.stop_serving(grant)
    else:
        await client.delete(grant)


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait, with a deadline, until the API server shows something."""
    await asyncio.to_thread(eventually, condition, what)


async def gone(client: KubeClient, kind: Kind, name: str, namespace: str) -> bool:
    """Whether the object is not there any more."""
    try:
        await client.get(kind, name, namespace)
    except NotFound:
        return True
    return False


def stateful_set(name: str, namespace: str, network: str) -> dict[str, Any]:
    """An armed StatefulSet of one with the labels that the gate looks for."""
    marks = {labels.NETWORK: network, labels.APP_NAME: VALIDATOR}
    selector = {labels.APP_INSTANCE: name, labels.APP_NAME: VALIDATOR}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": namespace, "labels": marks},
        "spec": {
            "replicas": 1,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": selector},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
            "template": {
                "metadata": {"labels": {**marks, **selector, labels.SERVING: "true"}},
                "spec": {"containers": [{"name": VALIDATOR, "image": "registry.invalid/validator:1"}]},
            },
        },
    }
