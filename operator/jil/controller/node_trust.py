"""Which release a node may be made by: the one that is wanted, the one that it runs, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from jil.api import kinds, labels
from jil.api.conditions import Finding
from jil.api.node import JILNode
from jil.api.release import JILRelease
from jil.controller.deps import Deps
from jil.controller.release_trust import ReleaseTrust, carried
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
        it. A node that has another one keeps that; one that is between two is left as it is.
        """
        standing = self._trust.standing(resolved.network, resolved.release)
        if standing.admits:
            return resolved, standing.finding
        namespace = node.metadata.namespace or ""
        live = self._live(namespace, node.name)
        if not live:
            return Withheld(standing.finding, runs_something=False)
        record = await self._deps.records.read(node.spec.node_id)
        own = record is not None and record.spec.owner.uid == node.metadata.uid
        history = record.spec.releases if record is not None and own else ()
        newest = history[0].images if history else {}
        validator = node.spec.validator.enabled
        ran = resolved.release.name in {entry.release for entry in history}
        if (ran or _taken_up(live, resolved.release, newest)) and self._trust.admitted_before(
            namespace, resolved.release, validator=validator
        ):
            return resolved, standing.finding
        running = self._trust.find(history[0].release) if history else None
        if (
            running is not None
            and running.name != resolved.release.name
            # On its way to a third release, going back would take away what only that one has.
            and all(digests & _digests(component, newest, running.spec.all_images) for component, digests in live)
            and (
                self._trust.standing(resolved.network, running).admits
                or self._trust.admitted_before(namespace, running, validator=validator)
            )
        ):
            return replace(resolved, release=running), standing.finding
        return Withheld(standing.finding, runs_something=True)

    def _live(self, namespace: str, node: str) -> list[tuple[str, set[str]]]:
        """Component and the digests in its template, of every workload that is there."""
        return [
            (workload["metadata"]["labels"].get(labels.APP_NAME, ""), carried(workload))
            for kind in (kinds.STATEFUL_SET, kinds.DEPLOYMENT)
            for workload in self._deps.store.children(kind, namespace, node)
        ]


def _taken_up(live: Iterable[tuple[str, set[str]]], release: JILRelease, newest: Mapping[str, str]) -> bool:
    """Whether a workload of the node already has an image that it can only have from this release."""
    images = release.spec.all_images
    return any(
        _digest(images[component]) in digests - _digests(component, newest)
        for component, digests in live
        if component in images
    )


def _digests(component: str, *images: Mapping[str, str]) -> set[str]:
    return {_digest(each[component]) for each in images if component in each}


def _digest(image: str) -> str:
    """A mirror changes the name in front of it."""
    return image.partition("@")[2]
