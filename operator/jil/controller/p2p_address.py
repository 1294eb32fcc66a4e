"""The address at which peers reach a node: given once, recorded, and asked for again when its Service comes back.

Peers resolve the p2p Service once, at their start, so a Service that somebody deleted has to come back at the address
that is recorded. That is not always to be had:

| where the recorded address is | what is done |
|---|---|
| nobody's yet: the API server lets it go a moment after it has told of the deletion | asked for again, with back-off |
| another Service has it | a new one is taken and recorded, and an Event says so |
| nobody's, for ``PATIENCE`` seconds: it is outside this cluster's range, or has leaked | likewise |
| the Service is there at another one (a backup was restored, or we ended before we recorded it) | that one is recorded: an
  address cannot be changed; an Event says so |
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from jil.api import kinds, labels
from jil.cluster.client import Manifest
from jil.cluster.errors import Invalid
from jil.cluster.events import EventReason
from jil.controller.deps import Deps
from jil.engine.outcome import DependencyDown
from jil.render import validator
from jil.render.context import NodeContext

#: Seconds for which an address that no Service has is asked for again. The API server takes a tenth of one.
PATIENCE: Final = 30.0


class P2PAddress:
    """``ensure`` of a node's p2p Service, at the recorded address as long as that can be had."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._refused: dict[str, float] = {}  # node uid -> when the address that nobody has was first refused

    async def ensure(self, ctx: NodeContext, raw: Manifest, *, serving: bool) -> str | None:
        """The cluster IP of the Service that peers dial, which comes before everything that would dial it.

        None for a node that nobody dials (``serving``: it is a validator and stays), and for a headless Service, which
        somebody made of it. ``raw``: the JILNode, for Events. Raises DependencyDown while the recorded address is being
        let go, and what the applier raises.
        """
        if not serving:
            return None
        live = self._deps.store.get(kinds.SERVICE, ctx.namespace, labels.p2p_service(ctx.name))
        has = str((live or {}).get("spec", {}).get("clusterIP") or "None")
        why: str | None = None
        if ctx.p2p_cluster_ip is not None and has not in ("None", ctx.p2p_cluster_ip):
            why = f"the p2p Service was made anew by somebody else, not at the recorded address {ctx.p2p_cluster_ip}"
            ctx = replace(ctx, p2p_cluster_ip=has)
        try:
            outcome = await self._deps.applier.ensure(validator.p2p_service(ctx), live)
        except Invalid as error:
            if ctx.p2p_cluster_ip is None or live is not None or not _about_the_address(error):
                raise
            why = await self._why_not(ctx.uid, ctx.p2p_cluster_ip)
            outcome = await self._deps.applier.ensure(validator.p2p_service(replace(ctx, p2p_cluster_ip=None)), None)
        self._refused.pop(ctx.uid, None)
        address: str | None = outcome.object["spec"].get("clusterIP")
        if why is not None:
            note = f"{why}: peers reach the node at {address} from their next start on"
            self._deps.events.warning(raw, EventReason.ADDRESS_CHANGED, note, action="Apply")
        return None if address == "None" else address

    async def _why_not(self, uid: str, address: str) -> str:
        """Why the recorded address cannot be had. Raises DependencyDown when it is too early to say so."""
        found = await self._deps.client.list(kinds.SERVICE, field_selector=f"spec.clusterIP={address}")
        if found.items:
            holder = found.items[0]["metadata"]
            return f"the recorded address {address} belongs to Service {holder['namespace']}/{holder['name']} now"
        now = self._deps.clock.monotonic()
        since = self._refused.setdefault(uid, now)
        if now - since < PATIENCE:
            raise DependencyDown(f"the address {address} of the p2p Service is still being let go by the API server")
        return f"the recorded address {address} is refused, though no Service has had it for {PATIENCE:g} s"


def _about_the_address(error: Invalid) -> bool:
    """Whether it is the address that is refused, ``spec.clusterIP`` or ``spec.clusterIPs``, and nothing else."""
    return bool(error.causes) and all(cause.startswith("spec.clusterIP") for cause in error.causes)
