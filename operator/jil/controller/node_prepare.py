"""Before anything is rendered: the node's record is its own, its address and its keys exist, its genesis is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from jil.api import kinds, labels
from jil.api.conditions import ConditionType, Finding, Reason, false, true
from jil.api.node import JILNode
from jil.api.record import P2P, JILNodeRecord, Keys
from jil.cluster.client import Manifest
from jil.cluster.errors import NotFound
from jil.cluster.identity import IdentityProblem, IdentityRequest, Master, ensure_copies, ensure_masters
from jil.cluster.keys import KeyRole
from jil.cluster.together import both
from jil.controller import node_facts
from jil.controller.deps import Deps
from jil.controller.genesis_copy import ensure_genesis
from jil.controller.network import member_facts
from jil.controller.node_record import keys_of
from jil.controller.p2p_address import P2PAddress
from jil.plan.spec_check import Resolved, SpecProblem, claim_problem
from jil.render import validator
from jil.render.context import TEMPLATE_VERSION, NodeContext

IDENTITY_CHECK_SECONDS = 300.0
"""Secrets are not watched: a node at rest has its identity compared this often."""


@dataclass(frozen=True)
class Prepared:
    """A node whose references are resolved and whose record is its own."""

    node: JILNode
    raw: Manifest
    resolved: Resolved
    record: JILNodeRecord
    ctx: NodeContext
    identity: Finding
    hold: tuple[Reason, str] | None
    """Why the validator may not start, as far as it is known before its pod is looked at."""
    trust: Finding | None = None
    """How the release that is wanted stands with the network's policy."""
    login: Finding | None = None
    """How the node's login at the registry stands."""


class NodePreparer:
    """Takes a node to where it can be rendered; every step is found done, or done, or told as what is missing."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._address = P2PAddress(deps)
        self._verified: dict[str, tuple[Keys, float]] = {}  # node uid -> (its recorded keys, when)

    async def prepare(self, node: JILNode, raw: Manifest, resolved: Resolved) -> Prepared | SpecProblem:
        """The prepared node, or why its id is not its own. Raises the client's errors."""
        deps = self._deps
        record = await deps.records.read(node.spec.node_id)
        if record is None:
            record = await deps.records.claim(
                node,
                network=resolved.network.name,
                cluster_uid=deps.cluster_uid,
                template_version=TEMPLATE_VERSION,
                bootstrapped=await self._had_a_key(node),
            )
        problem = claim_problem(node, record, owner_exists=self._owner_exists(record))
        if problem:
            return problem
        owner = record.spec.owner.model_copy(
            update={"namespace": node.metadata.namespace, "name": node.name, "uid": node.metadata.uid}
        )
        record = await deps.records.change(record, owner=owner)
        ctx = self._context(node, resolved, record)
        serving = node.spec.validator.enabled and not node.metadata.deleting
        if serving:
            taken = node_facts.name_taken(deps, ctx, [validator.p2p_service(ctx)])
            if taken is not None:
                return taken
        # Neither the address nor the keys wait for the other, and one write records both.
        request = self._request(node, ctx, record)
        address, (masters, wrong) = await both(
            self._address.ensure(ctx, raw, serving=serving), self._masters(ctx.uid, request)
        )
        facts: dict[str, Any] = {"p2p": P2P(cluster_ip=address)} if address else {}
        facts["keys"] = keys_of(record.spec.keys, {role: master.facts for role, master in masters.items()})
        before, record = record, await deps.records.change(record, **facts)
        ctx = replace(ctx, p2p_cluster_ip=record.spec.p2p.cluster_ip if record.spec.p2p else None)
        try:
            if wrong is not None:
                raise wrong
            if masters:
                await self._copies(ctx.uid, replace(request, record=record.spec), masters, before)
            identity = true(ConditionType.IDENTITY_READY, Reason.READY, "keys exist and are the recorded ones")
        except IdentityProblem as error:
            identity = false(ConditionType.IDENTITY_READY, error.reason, error.message)
            deps.events.warning(raw, error.reason, error.message, action="Identity")
            return Prepared(node, raw, resolved, record, ctx, identity, (error.reason, error.message))
        hold: tuple[Reason, str] | None = None
        if node.spec.validator.enabled:
            record, hold = await ensure_genesis(deps, ctx, record, resolved.network)
        # Peers that became known meanwhile (our own id among them) belong into the allow-list of this very pass.
        ctx = self._context(node, resolved, record)
        return Prepared(node, raw, resolved, record, ctx, identity, hold)

    async def _had_a_key(self, node: JILNode) -> bool:
        """The record is made before any key; a key without a record means that the record was lost."""
        name = labels.master_validator_key_secret(node.spec.node_id)
        try:
            await self._deps.client.get(kinds.SECRET, name, self._deps.system_namespace)
        except NotFound:
            return False
        return True

    def _owner_exists(self, record: JILNodeRecord) -> bool:
        owner = record.spec.owner
        live = self._deps.store.get(kinds.JIL_NODE, owner.namespace, owner.name)
        return live is not None and live["metadata"]["uid"] == owner.uid

    def _context(self, node: JILNode, resolved: Resolved, record: JILNodeRecord) -> NodeContext:
        members = member_facts(self._deps, resolved.network)
        dialled, allowed = node_facts.peers(members, resolved.network, node.spec.node_id)
        if record.spec.keys.node:
            allowed = tuple(sorted({*allowed, record.spec.keys.node.peer_id}))
        return NodeContext(
            name=node.name,
            namespace=node.metadata.namespace or "",
            uid=node.metadata.uid,
            node=node.spec,
            jurisdiction_name=resolved.jurisdiction.name,
            jurisdiction=resolved.jurisdiction.spec,
            network=resolved.network.spec,
            release_name=resolved.release.name,
            release=resolved.release.spec,
            system_namespace=self._deps.system_namespace,
            dialled_peers=dialled,
            allowed_peer_ids=allowed,
            p2p_cluster_ip=record.spec.p2p.cluster_ip if record.spec.p2p else None,
            template_version=record.spec.template_version,
            platform=self._deps.platform,
        )

    def _request(self, node: JILNode, ctx: NodeContext, record: JILNodeRecord) -> IdentityRequest:
        child = labels.child_labels(
            node=ctx.name,
            node_uid=ctx.uid,
            component="identity",
            network=ctx.network_name,
            jurisdiction=ctx.jurisdiction_name,
        )
        return IdentityRequest(
            record.spec,
            node.name,
            ctx.namespace,
            self._deps.system_namespace,
            self._deps.cluster_uid,
            child,
            validator=node.spec.validator.enabled,
        )

    async def _masters(
        self, uid: str, request: IdentityRequest
    ) -> tuple[dict[KeyRole, Master], IdentityProblem | None]:
        """The masters, none for a node whose identity was compared not long ago; or what is wrong with one of them."""
        verified = self._verified.get(uid)
        # By what is recorded of the keys, not by the record's version: a bring-up changes the record a dozen times.
        fresh = verified and self._deps.clock.monotonic() - verified[1] < IDENTITY_CHECK_SECONDS
        if verified and verified[0] == request.record.keys and fresh:
            return {}, None
        try:
            return await ensure_masters(self._deps.client, request), None
        except IdentityProblem as problem:
            return {}, problem

    async def _copies(
        self, uid: str, request: IdentityRequest, masters: dict[KeyRole, Master], before: JILNodeRecord
    ) -> None:
        """``before``: the record as it was before the masters' facts were written into it."""
        first = [role for role in masters if getattr(before.spec.keys, role.value) is None]
        await ensure_copies(self._deps.client, request, masters, first=first)
        self._verified[uid] = (request.record.keys, self._deps.clock.monotonic())
