"""What this operator sees of a network: its members' health endpoints and pods, as facts for the gate and the record."""

from __future__ import annotations

from jil.api import kinds, labels
from jil.api.labels import Component
from jil.api.network import JILNetwork
from jil.api.record import JILNodeRecord
from jil.controller.deps import Deps
from jil.controller.network import member_facts, record_of
from jil.plan import chain
from jil.plan.podview import pod_view
from jil.plan.sight import Sight, network_facts
from jil.plan.voting import Member, NetworkFacts

RECORD_SECONDS = 300.0
"""A height that rises with every block is a sample: it is recorded at most this often."""
LOOK_SECONDS = 10.0
"""How soon it is looked for again when nothing could be recorded: a young chain, or nobody else to see the votes."""


async def read_network(deps: Deps, network: JILNetwork) -> NetworkFacts:
    """``observed_network`` of now: every member's health is read once more before anybody decides on it."""
    owners = [r.spec.owner for m in network.spec.members_here if (r := record_of(deps, m.node_id)) is not None]
    await deps.health.refresh((owner.namespace, owner.name) for owner in owners)
    return observed_network(deps, network)


def observed_network(deps: Deps, network: JILNetwork) -> NetworkFacts:
    """The network as declared, recorded and seen now. A member that cannot be read counts as away."""
    addresses = {member.node_id: member.address for member in member_facts(deps, network)}
    sights = []
    for declared in network.spec.members:
        member = Member(declared.node_id, addresses[declared.node_id], declared.power, local=declared.is_here)
        record = record_of(deps, declared.node_id) if declared.is_here else None
        sights.append(_sight(deps, member, record if record and record.spec.network == network.name else None))
    return network_facts(
        network.spec.chain_id, sights, now=deps.clock.now(), allow_halt=network.spec.disruption.allow_halt
    )


def _sight(deps: Deps, member: Member, record: JILNodeRecord | None) -> Sight:
    if record is None:
        return Sight(member, None, pod_ready=False)
    owner = record.spec.owner
    pod = deps.store.get(kinds.POD, owner.namespace, labels.pod_name(owner.name, Component.VALIDATOR))
    view = pod_view(pod) if pod is not None else None
    return Sight(
        member,
        deps.health.reading((owner.namespace, owner.name)),
        pod_ready=view is not None and view.ready and not view.deleting,
        signed_height=record.spec.highest_signed_height,
    )


class SignedHeights:
    """Keeps the record's ``highestSignedHeight``: below it, the start guard refuses a sign state as an old copy (I1)."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._next: dict[str, float] = {}

    async def note(self, record: JILNodeRecord, network: JILNetwork) -> JILNodeRecord:
        """Records the highest height that its own node and another one saw the key vote at, when it is time to."""
        validator, node_id = record.spec.keys.validator, record.spec.node_id
        now = self._deps.clock.monotonic()
        if validator is None or now < self._next.get(node_id, now):
            return record
        self._next[node_id] = now + LOOK_SECONDS
        policy = chain.DEFAULT_READING_POLICY
        facts = observed_network(self._deps, network)
        now_ms = int(self._deps.clock.now().timestamp() * 1000)
        good = chain.usable(facts.readings, facts.chain_id, policy, now_ms)
        height = chain.signed_height(validator.address, good, policy)
        if height is None or height <= record.spec.highest_signed_height:
            return record
        record = await self._deps.records.change(record, highest_signed_height=height)
        self._next[node_id] = now + RECORD_SECONDS
        return record
