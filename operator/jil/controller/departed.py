"""Grants of validators that have left their network: they hold nothing back, and nobody comes back to give them up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from jil.api.network import JILNetwork
from jil.controller.chain_facts import read_network
from jil.controller.deps import Deps
from jil.controller.network import member_facts
from jil.controller.node_gate import open_entries
from jil.plan.giveback import has_left
from jil.plan.voting import NetworkFacts

LOOK_SECONDS: Final = 60.0
"""How often the chain is asked while such a grant is open: its key leaves the set some blocks after its member."""

WHY: Final = "its member is no longer declared, and the chain has its key in no validator set"


class Departed:
    """Releases them on the chain's own word. ``read``: what the gate is told about a network, read now."""

    def __init__(self, deps: Deps, read: Callable[[Deps, JILNetwork], Awaitable[NetworkFacts]] = read_network) -> None:
        self._deps = deps
        self._read = read
        self._looked: dict[str, float] = {}

    async def release(self, network: JILNetwork) -> float | None:
        """Seconds until it is to be looked again, None when no such grant is open. Raises the gate's errors."""
        declared = {member.address for member in member_facts(self._deps, network)}
        strangers = {e["address"] for e in open_entries(self._deps, network.name) if e.get("address")} - declared
        if not strangers:
            self._looked.pop(network.name, None)
            return None
        now = self._deps.clock.monotonic()
        waited = now - self._looked.get(network.name, now - LOOK_SECONDS)
        if waited < LOOK_SECONDS:
            return LOOK_SECONDS - waited  # every change of a record comes by here, and the chain is asked by many reads
        self._looked[network.name] = now
        facts = await self._read(self._deps, network)
        now_ms = int(self._deps.clock.now().timestamp() * 1000)
        left = {address for address in strangers if has_left(address, facts, now_ms=now_ms)}
        for entry in await self._deps.gate.open_grants(network.name) if left else ():
            if entry.address in left:
                await self._deps.gate.release(network.name, entry, why=WHY)
        return None if left == strangers else LOOK_SECONDS
