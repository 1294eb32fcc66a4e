"""JILNetwork: waits for all founders' keys, freezes the genesis once, and shows the members' public identities."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from jil.api import kinds, labels
from jil.api.conditions import NETWORK_CONDITIONS, ConditionType, Finding, Reason, false, merge, true
from jil.api.network import JILNetwork, NetworkStatus
from jil.api.objects import InvalidObject
from jil.api.record import JILNodeRecord
from jil.cluster.client import Manifest
from jil.cluster.errors import AlreadyExists
from jil.cluster.events import EventReason
from jil.controller.deps import Deps
from jil.engine.queue import Key
from jil.engine.runtime import Result
from jil.plan.verdict import DenyReason
from jil.render.genesis import config_map, genesis_document, genesis_hash

log = logging.getLogger(__name__)


def ledger_existed(deps: Deps, network: str) -> bool:
    """Whether some record of the network is bootstrapped: its ledger was made before that."""
    return any(record["spec"].get("bootstrapped") for record in _records(deps, network))


def _records(deps: Deps, network: str) -> Iterator[Manifest]:
    for record in deps.store.list(kinds.JIL_NODE_RECORD, deps.system_namespace):
        if record["spec"].get("network") == network:
            yield record


@dataclass(frozen=True)
class MemberFacts:
    """The public identity of a member, from its record (run here) or from the network's spec (run elsewhere)."""

    node_id: str
    public_key: str | None = None
    address: str | None = None
    peer_id: str | None = None
    p2p_host: str | None = None  # host:port
    has_record: bool = False


def record_of(deps: Deps, node_id: str) -> JILNodeRecord | None:
    """The record as the watch last saw it."""
    raw = deps.store.get(kinds.JIL_NODE_RECORD, deps.system_namespace, labels.record_name(node_id))
    return deps.typed(JILNodeRecord, raw) if raw else None


def member_facts(deps: Deps, network: JILNetwork) -> list[MemberFacts]:
    """What is known of every member now."""
    found = []
    for member in network.spec.members:
        if not member.is_here:
            found.append(
                MemberFacts(
                    member.node_id,
                    public_key=member.public_key,
                    peer_id=member.peer_id,
                    p2p_host=member.address,
                )
            )
            continue
        record = record_of(deps, member.node_id)
        if record is None or record.spec.network != network.name:
            found.append(MemberFacts(member.node_id))
            continue
        keys, owner = record.spec.keys, record.spec.owner
        host = f"{labels.p2p_service(owner.name)}.{owner.namespace}.svc:{labels.P2P_PORT}"
        found.append(
            MemberFacts(
                member.node_id,
                public_key=keys.validator.public_key if keys.validator else None,
                address=keys.validator.address if keys.validator else None,
                peer_id=keys.node.peer_id if keys.node else None,
                p2p_host=host if record.spec.p2p else None,
                has_record=True,
            )
        )
    return found


class NetworkReconciler:
    """observe -> decide -> write, for one JILNetwork."""

    def __init__(self, deps: Deps, departed: Callable[[JILNetwork], Awaitable[float | None]]) -> None:
        """``departed`` releases the grants of validators that have left, and says when to look again."""
        self._deps = deps
        self._departed = departed
        self._sealed: set[str] = set()

    async def lead(self, fencing: int) -> None:
        """A new leadership begins: every ledger is sealed anew, before anything else is done."""
        self._sealed.clear()
        for raw in self._deps.store.list(kinds.JIL_NETWORK):
            try:
                await self._seal(JILNetwork.parse(raw))
            except InvalidObject:
                continue  # its own reconcile says so
        log.info("ledgers of %d networks are sealed with fencing number %d", len(self._sealed), fencing)

    async def __call__(self, key: Key) -> Result:
        raw = self._deps.store.get(kinds.JIL_NETWORK, None, key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return Result()
        try:
            network = JILNetwork.parse(raw)
        except InvalidObject as error:
            finding = false(ConditionType.SPEC_VALID, Reason.SPEC_UNREADABLE, str(error))
            await self._write(raw, [finding], None, [])
            return Result()
        await self._seal(network)
        members = member_facts(self._deps, network)
        document, finding = await self._genesis(network, members)
        await self._write(raw, [true(ConditionType.SPEC_VALID, Reason.VALID), finding], document, members)
        # Last: a ledger that cannot be read is no reason not to freeze a genesis.
        return Result(requeue_after=await self._departed(network))

    async def _seal(self, network: JILNetwork) -> None:
        """Once per leadership, and when the ledger is gone: shuts out the leader before, rebuilds what was lost.

        It is made as soon as the network has a node here, long before a validator's pod waits for its permit, which asks
        for it once more.
        """
        deps = self._deps
        there = deps.store.get(kinds.CONFIG_MAP, deps.system_namespace, labels.ledger_config_map(network.name))
        if network.name in self._sealed and there is not None:
            return
        if next(_records(deps, network.name), None) is None:
            return
        denial = await deps.gate.establish(network.name, ledger_existed=ledger_existed(deps, network.name))
        if denial is not None and denial.reason is DenyReason.LEDGER_MISSING:
            spaces = sorted({m.namespace for m in network.spec.members_here if m.namespace})
            found = await deps.gate.rebuild(network.name, spaces)
            raw = deps.store.get(kinds.JIL_NETWORK, None, network.name)
            if raw is not None:
                note = f"the disruption ledger was lost and rebuilt from {len(found)} stamps on the workloads"
                deps.events.warning(raw, EventReason.RESTORED, note, action="Rebuild")
        elif denial is not None:
            log.warning("the ledger of network %s could not be sealed: %s", network.name, denial)
            return
        self._sealed.add(network.name)

    async def _genesis(self, network: JILNetwork, members: list[MemberFacts]) -> tuple[str | None, Finding]:
        type_ = ConditionType.GENESIS_READY
        name = labels.genesis_config_map(network.name)
        frozen = await self._frozen(name)
        keys = {m.node_id: m.public_key for m in members if m.public_key}
        missing = [m.node_id for m in network.spec.founders if m.node_id not in keys]
        recorded = self._recorded_hashes(network)
        if frozen is not None:
            actual = genesis_hash(frozen.encode())
            strangers = sorted(node for node, value in recorded.items() if value != actual)
            if strangers:
                return frozen, false(
                    type_,
                    Reason.GENESIS_MISMATCH,
                    f"ConfigMap {self._deps.system_namespace}/{name} has hash {actual[:12]}…, but {', '.join(strangers)}"
                    " started from another genesis: restore the original ConfigMap from a backup; no node is started",
                )
            return frozen, true(type_, Reason.READY, f"frozen, SHA-256 {actual}")
        if missing:
            return None, false(
                type_,
                Reason.WAITING_FOR_RECORDS,
                f"waits for the keys of {len(missing)} of {len(network.spec.founders)} founders: {', '.join(missing[:10])};"
                " apply their JILNodes (founders of other clusters have their keys in spec.members)",
            )
        document = genesis_document(network.spec, {k: v for k, v in keys.items() if v})
        value = genesis_hash(document)
        strangers = sorted(node for node, other in recorded.items() if other != value)
        if strangers:
            # The frozen document is gone and cannot be made again: a different one would be a different chain.
            return None, false(
                type_,
                Reason.GENESIS_MISMATCH,
                f"the frozen genesis {name} is gone and what would be made now (hash {value[:12]}…) is not what"
                f" {', '.join(strangers)} started from: restore the ConfigMap from a backup",
            )
        body = config_map(network.name, self._deps.system_namespace, document.decode(), {})
        try:
            created = await self._deps.client.create(kinds.CONFIG_MAP, body)
        except AlreadyExists:
            created = await self._deps.client.get(kinds.CONFIG_MAP, name, self._deps.system_namespace)
        self._deps.store.put(kinds.CONFIG_MAP, created)
        return document.decode(), true(type_, Reason.READY, f"frozen, SHA-256 {value}")

    async def _frozen(self, name: str) -> str | None:
        live = await self._deps.find(kinds.CONFIG_MAP, self._deps.system_namespace, name)
        if live is None:
            return None
        document: str | None = live.get("data", {}).get(labels.GENESIS_KEY)
        return document

    def _recorded_hashes(self, network: JILNetwork) -> dict[str, str]:
        hashes = {}
        for member in network.spec.members_here:
            record = record_of(self._deps, member.node_id)
            if record is not None and record.spec.genesis_hash:
                hashes[member.node_id] = record.spec.genesis_hash
        return hashes

    async def _write(
        self, raw: Manifest, findings: list[Finding], document: str | None, members: list[MemberFacts]
    ) -> None:
        network_status = raw.get("status", {})
        bad = next((f for f in findings if f.status != "True"), None)
        if bad is None:
            ready = true(ConditionType.READY, Reason.READY, "the genesis is frozen; nodes can start")
        else:
            ready = false(ConditionType.READY, bad.reason, bad.message)
        stored = NetworkStatus.model_validate(network_status)
        status = {
            "observedGeneration": raw["metadata"].get("generation", 0),
            "conditions": [
                c.wire()
                for c in merge(
                    stored.conditions,
                    [*findings, ready],
                    full_set=NETWORK_CONDITIONS,
                    generation=raw["metadata"].get("generation", 0),
                    now=self._deps.clock.now(),
                )
            ],
            "members": [
                {
                    key: value
                    for key, value in (
                        ("nodeId", m.node_id),
                        ("address", m.address),
                        ("peerId", m.peer_id),
                        ("publicKey", m.public_key),
                    )
                    if value
                }
                for m in members
            ],
        }
        if document is not None:
            status["genesisHash"] = genesis_hash(document.encode())
        await self._deps.statuses.write(kinds.JIL_NETWORK, raw, status)
