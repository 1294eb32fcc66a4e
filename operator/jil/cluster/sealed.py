"""Opening the ledger under our seal, and what a missing, unreadable or foreign ledger is answered with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from jil.cluster.gate_log import line
from jil.cluster.ledger import (
    FencedError,
    GrantEntry,
    Leadership,
    Ledger,
    LedgerMissingError,
    LedgerStore,
    LedgerUnreadableError,
    Seal,
    Stored,
)
from jil.cluster.stamps import Stamps
from jil.plan.verdict import Deny, DenyReason

#: ``Step.grant`` of a rebuilt ledger: which step was the last, and when, is lost.
LOST: Final = "lost"


class SealedLedgers:
    """Ledgers as this leader may change them."""

    def __init__(self, store: LedgerStore, stamps: Stamps, leadership: Callable[[], Leadership]) -> None:
        self._store = store
        self._stamps = stamps
        self._leadership = leadership

    async def open(self, network: str, *, existed: bool) -> Stored | Deny:
        """The ledger under our seal; made if it may be missing.

        Raises Conflict or AlreadyExists when somebody else was quicker: open it again.
        """
        leader = self._leadership()
        try:
            stored = await self._store.read(network)
        except LedgerMissingError as error:
            if existed:
                return Deny(
                    DenyReason.LEDGER_MISSING,
                    f"{error}, though this network had one: who is away by plan is not known",
                    "the ledger is rebuilt from the stamps on the workloads",
                )
            stored = await self._store.create(_new(network, leader))
            self._line("created", network, "first use of the network", before=None, after=stored.ledger.seal.wire())
        except LedgerUnreadableError as error:
            return Deny(
                DenyReason.LEDGER_UNREADABLE,
                str(error),
                "the ConfigMap is mended, or deleted so that the ledger is rebuilt from the stamps on the workloads",
            )
        try:
            return await self._seal(stored, leader)
        except FencedError as error:
            return Deny(
                DenyReason.FENCED,
                str(error),
                "the leader that sealed it acts; if no other operator runs, restart this one with the right time on its "
                "machine: it is then elected with a higher number",
            )

    async def read(self, network: str) -> Stored:
        """The same for a ledger that must be there. Raises LedgerMissingError, LedgerUnreadableError, FencedError, and
        Conflict when somebody else was quicker."""
        return await self._seal(await self._store.read(network), self._leadership())

    async def _seal(self, stored: Stored, leader: Leadership) -> Stored:
        sealed = await self._store.write(stored, stored.ledger.sealed(leader))
        if sealed is not stored:
            before, after = stored.ledger.seal.wire(), sealed.ledger.seal.wire()
            self._line("sealed", stored.ledger.network, "new leader", before=before, after=after)
        return sealed

    async def rebuild(self, network: str, namespaces: Sequence[str]) -> tuple[GrantEntry, ...]:
        """See ``Gate.rebuild``."""
        leader = self._leadership()
        grants = await self._stamps.collect(network, namespaces)
        ledger = _new(network, leader).model_copy(update={"open": grants}).stepped(LOST, None)
        await self._store.create(ledger)
        found = {"open": [one.id for one in grants]}
        self._line("rebuilt", network, "it was missing though it once existed", before=None, after=found)
        return grants

    def _line(self, what: str, network: str, why: str, *, before: object, after: object) -> None:
        who, ledger = self._leadership().holder, f"ledger of network {network}"
        line(f"ledger.{what}", network, who=who, what=ledger, why=why, before=before, after=after)


def _new(network: str, leader: Leadership) -> Ledger:
    return Ledger(network=network, seal=Seal(holder=leader.holder, fence=leader.fence))
