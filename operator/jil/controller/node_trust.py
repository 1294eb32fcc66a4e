"""Which release a node may be made by: the one that is wanted, the one that it runs, or none."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jil.api import kinds
from jil.api.conditions import Finding
from jil.api.node import JILNode
from jil.controller.deps import Deps
from jil.controller.release_trust import ReleaseTrust
from jil.plan.spec_check import Resolved


@dataclass(frozen=True)
class Withheld:
    """Nothing may be made of the release that is wanted, and the node has no other that is known to have been good."""

    finding: Finding
    #: Whether workloads of the node are there; they are left as they are.
    runs_something: bool


class NodeTrust:
    """I6: no image that is not verified in a pod; what was verified once and runs is kept."""

    def __init__(self, deps: Deps, trust: ReleaseTrust) -> None:
        self._deps = deps
        self._trust = trust

    async def admit(self, node: JILNode, resolved: Resolved) -> tuple[Resolved, Finding] | Withheld:
        """What the node is to be made of, with the condition about the release that is wanted.

        A release that is refused or unknown is not taken up by a node that has none yet, and a node that has it keeps
        it. A node that has another one keeps that.
        """
        standing = self._trust.standing(resolved.network, resolved.release)
        if standing.admits:
            return resolved, standing.finding
        namespace = node.metadata.namespace or ""
        runs_something = any(
            self._deps.store.children(kind, namespace, node.name) for kind in (kinds.STATEFUL_SET, kinds.DEPLOYMENT)
        )
        if not runs_something:
            return Withheld(standing.finding, runs_something=False)
        validator = node.spec.validator.enabled
        if self._trust.admitted_before(namespace, resolved.release, validator=validator):
            return resolved, standing.finding
        record = await self._deps.records.read(node.spec.node_id)
        own = record is not None and record.spec.owner.uid == node.metadata.uid
        history = record.spec.releases if record is not None and own else ()
        running = self._trust.find(history[0].release) if history else None
        if (
            running is not None
            and running.name != resolved.release.name
            and (
                self._trust.standing(resolved.network, running).admits
                or self._trust.admitted_before(namespace, running, validator=validator)
            )
        ):
            return replace(resolved, release=running), standing.finding
        return Withheld(standing.finding, runs_something=True)
