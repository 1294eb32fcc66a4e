"""THE one gate. Nothing that runs is taken away without a Grant, and Grants come from here alone (I2).

The order is what makes a crash harmless (I8): decide, write the grant into the ledger by compare-and-swap, stamp the
workload, hand out the Grant; only then can the act be sent. So a grant may stand without its act, never an act without
its grant. A grant without its act is found again by (target UID, act) and decided anew, or taken back; from the moment
it is written its validator counts as away, which is the safe side.

Grants for acts that cost no consensus power are recorded and closed at once: they hold nothing back, so there is
nothing to give back.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from jil.cluster.clock import Clock
from jil.cluster.errors import AlreadyExists, Conflict, NotFound
from jil.cluster.gate_log import GateLog, line
from jil.cluster.grant import Grant, _issue
from jil.cluster.ledger import (
    CLOSED_MAX,
    REASON_MAX,
    GrantEntry,
    Leadership,
    Ledger,
    LedgerMissingError,
    LedgerStore,
    Outcome,
    Target,
)
from jil.cluster.request import Disruption, asked, changed, subject
from jil.cluster.sealed import SealedLedgers
from jil.cluster.stamps import StampClient, Stamps
from jil.cluster.steps import Steps
from jil.plan.acts import stops_a_validator
from jil.plan.quorum import DEFAULT_POLICY, QuorumPolicy, decide
from jil.plan.verdict import Allow, Basis, Deny, DenyReason, Impossible
from jil.plan.voting import NetworkFacts

#: Compare-and-swaps lost in a row before the caller is told to come back.
_ATTEMPTS: Final = 6


class TakeBack(StrEnum):
    """What became of a grant that is not wanted any more."""

    TAKEN_BACK = "TakenBack"
    """The act never happened and no longer can."""

    HAPPENED = "Happened"
    """The act was carried out: the grant stays open until the validator is back and ``release`` is called."""

    NOT_OPEN = "NotOpen"
    """There is no such open grant."""


class Gate:
    """One gate for all networks of this operator.

    ``leadership`` says who we are now, and raises NotLeader when we do not lead. All methods raise ApiError when the
    API server does not answer: then nothing was granted.
    """

    def __init__(
        self,
        client: StampClient,
        *,
        system_namespace: str,
        clock: Clock,
        leadership: Callable[[], Leadership],
        policy: QuorumPolicy = DEFAULT_POLICY,
    ) -> None:
        self._store = LedgerStore(client, system_namespace)
        self._stamps = Stamps(client)
        self._ledgers = SealedLedgers(self._store, self._stamps, leadership)
        self._clock = clock
        self._leadership = leadership
        self._policy = policy
        # Spares the workers of this process from losing compare-and-swaps to each other; safety does not rest on it.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._log = GateLog()

    # -- asking ------------------------------------------------------------------------------------------------------
    async def request(
        self, disruption: Disruption, facts: NetworkFacts, *, ledger_existed: bool
    ) -> Grant | Deny | Impossible:
        """Permission for one act, or why not.

        ``ledger_existed``: whether the network's ledger must exist because it once did. A caller that makes it
        (``establish``) before it lets the first validator start may say: some record of the network is bootstrapped.
        """
        async with self._locks[disruption.network]:
            for _ in range(_ATTEMPTS):
                try:
                    answer = await self._attempt(disruption, facts, ledger_existed)
                except (Conflict, AlreadyExists):
                    continue
                return answer
            return self._refuse(disruption, _busy(disruption.network))

    async def request_free(
        self, disruptions: Sequence[Disruption], facts: NetworkFacts, *, ledger_existed: bool
    ) -> tuple[Grant, ...] | Deny | Impossible:
        """Permission for several acts of one network that cost no consensus power: all of them, in one write of the
        ledger, or none.

        Raises ValueError for an act that could cost power, or for more of them than a ledger keeps: each must stand in
        it when its act is carried out.
        """
        for one in disruptions:
            if one.network != disruptions[0].network or stops_a_validator(one.act, one.component):
                raise ValueError(f"{asked(one)} cannot be asked for together with others: it may cost consensus power")
        if not 0 < len(disruptions) <= CLOSED_MAX:
            raise ValueError(f"{len(disruptions)} acts at once: a ledger keeps the last {CLOSED_MAX}")
        network = disruptions[0].network
        async with self._locks[network]:
            for _ in range(_ATTEMPTS):
                try:
                    return await self._attempt_free(disruptions, facts, ledger_existed)
                except (Conflict, AlreadyExists):
                    continue
            return self._refuse(disruptions[0], _busy(network))

    async def _attempt_free(
        self, disruptions: Sequence[Disruption], facts: NetworkFacts, ledger_existed: bool
    ) -> tuple[Grant, ...] | Deny | Impossible:
        """No look at the targets: what costs nothing is refused by its own preconditions when the target changed."""
        stored = await self._ledgers.open(disruptions[0].network, existed=ledger_existed)
        if isinstance(stored, Deny):
            return self._refuse(disruptions[0], stored)
        ledger, given = stored.ledger, list[tuple[Disruption, Allow, GrantEntry]]()
        height = Steps(facts, self._policy.readings, self._now_ms()).height
        for one in disruptions:
            verdict = self._decide(one, facts, ledger, None)
            if not isinstance(verdict, Allow):
                return self._refuse(one, verdict)
            entry = self._entry(one, verdict, height, None)
            ledger = ledger.opened(entry, superseded=(), at=self._clock.now())
            given.append((one, verdict, entry))
        await self._store.write(stored, ledger)
        for one, verdict, entry in given:
            self._granted(one, verdict, entry)
        return tuple(_issue(entry.id, one.act, one.target) for one, _, entry in given)

    async def _attempt(
        self, disruption: Disruption, facts: NetworkFacts, ledger_existed: bool
    ) -> Grant | Deny | Impossible:
        stored = await self._ledgers.open(disruption.network, existed=ledger_existed)
        if isinstance(stored, Deny):
            return self._refuse(disruption, stored)
        seen = Steps(facts, self._policy.readings, self._now_ms())
        ledger = seen.believed(stored.ledger)
        known = ledger.find_open(disruption.target.uid, disruption.act)
        verdict = self._decide(disruption, facts, ledger, known)
        height = seen.height
        if not isinstance(verdict, Allow):
            await self._store.write(stored, seen.with_baseline(ledger))
            return self._refuse(disruption, verdict)
        if not await self._unchanged(disruption):
            return self._refuse(disruption, changed(disruption))
        others: tuple[GrantEntry, ...] = ()
        if disruption.holds:
            others = tuple(one for one in ledger.open_of(disruption.node, disruption.address) if one is not known)
        for one in others:
            # On the target itself the stamp moves the version; a move here would hide from the caller what changed.
            if one.target.uid != disruption.target.uid:
                await self._stamps.void(one)
        entry = self._entry(disruption, verdict, height, known)
        ledger = ledger.renewed(entry) if known else ledger.opened(entry, superseded=others, at=self._clock.now())
        if known is None and entry.holds and verdict.basis in (Basis.WITHIN_BUDGET, Basis.HALT_ALLOWED):
            ledger = ledger.stepped(entry.id, height)
        await self._store.write(stored, ledger)
        target = disruption.target
        if entry.holds:
            try:
                target = await self._stamps.put(entry, target)
            except (Conflict, NotFound):
                # The grant stands without its act and without a Grant in anybody's hand; the next request finds it.
                return self._refuse(disruption, changed(disruption))
        if entry != known:
            superseded = [one.id for one in others]
            self._granted(disruption, verdict, entry, reused=known is not None, supersedes=superseded)
        return _issue(entry.id, disruption.act, target)

    # -- giving back -------------------------------------------------------------------------------------------------
    async def release(self, network: str, grant: Grant | GrantEntry, *, why: str) -> bool:
        """The validator is back (or has left the network): its power counts again. False if the grant is not open.

        Call it only on evidence that the validator runs and signs, or that its key has left the validator set. An act
        that is still under way (from a leader that was paused, say) is made impossible first. Raises
        LedgerMissingError, LedgerUnreadableError, FencedError.
        """
        return await self._close(network, grant.id, Outcome.RETURNED, why)

    async def take_back(self, network: str, grant: Grant | GrantEntry, *, why: str) -> TakeBack:
        """The act is not wanted any more. It is made impossible first, then the grant is closed.

        Raises LedgerMissingError, LedgerUnreadableError, FencedError.
        """
        async with self._locks[network]:
            entry = (await self._ledgers.read(network)).ledger.by_id(grant.id)
            if entry is None:
                return TakeBack.NOT_OPEN
            if not await self._stamps.void(entry):
                return TakeBack.HAPPENED
        closed = await self._close(network, grant.id, Outcome.TAKEN_BACK, why)
        return TakeBack.TAKEN_BACK if closed else TakeBack.NOT_OPEN

    async def open_grants(
        self, network: str, *, node: str | None = None, address: str | None = None
    ) -> tuple[GrantEntry, ...]:
        """The grants that hold validators away by plan: of one node (``namespace/name``), with those of its key that were
        given under another name; or of all.

        A network without a ledger has none. Raises LedgerUnreadableError.
        """
        try:
            ledger = (await self._store.read(network)).ledger
        except LedgerMissingError:
            return ()
        return ledger.open if node is None else ledger.open_of(node, address)

    async def _close(self, network: str, grant: str, outcome: Outcome, why: str) -> bool:
        async with self._locks[network]:
            for _ in range(_ATTEMPTS):
                try:
                    return await self._close_once(network, grant, outcome, why)
                except Conflict as error:
                    lost = error
            raise lost

    async def _close_once(self, network: str, grant: str, outcome: Outcome, why: str) -> bool:
        stored = await self._ledgers.read(network)
        entry = stored.ledger.by_id(grant)
        if entry is None:
            return False
        await self._stamps.void(entry)
        # The stamp goes first: a crash in between leaves an open grant without a stamp, which is closed again.
        await self._stamps.remove(entry)
        await self._store.write(stored, stored.ledger.closing(grant, outcome, at=self._clock.now(), note=why))
        line(
            f"disruption.{outcome.lower()}",
            network,
            who=self._leadership().holder,
            what=_what(entry),
            why=why,
            before={"open": True},
            after={"open": False},
            grant=grant,
        )
        return True

    # -- the ledger itself -------------------------------------------------------------------------------------------
    async def establish(self, network: str, *, ledger_existed: bool) -> Deny | None:
        """Make and seal the network's ledger, before its first validator may start. None when it is there and ours.

        A new leader calls it for every network before it does anything else: that is what shuts out the old one.
        """
        async with self._locks[network]:
            for _ in range(_ATTEMPTS):
                try:
                    opened = await self._ledgers.open(network, existed=ledger_existed)
                except (Conflict, AlreadyExists):
                    continue
                return opened if isinstance(opened, Deny) else None
        return _busy(network)

    async def rebuild(self, network: str, namespaces: Sequence[str]) -> tuple[GrantEntry, ...]:
        """Make a lost ledger anew from the stamps on the workloads in ``namespaces`` (all those of the network).

        Every validator workload and pod is moved to a new resourceVersion first, so that no act that the lost ledger
        had granted can still happen. The height of the last step is unknown then: the next step waits for M new blocks.
        Raises AlreadyExists when there is a ledger.
        """
        async with self._locks[network]:
            return await self._ledgers.rebuild(network, namespaces)

    # -- parts of a request ------------------------------------------------------------------------------------------
    def _decide(
        self, disruption: Disruption, facts: NetworkFacts, ledger: Ledger, known: GrantEntry | None
    ) -> Allow | Deny | Impossible:
        return decide(
            subject(disruption),
            facts,
            planned=ledger.planned(),
            last_step=ledger.mark(known.id if known else None),
            now_ms=self._now_ms(),
            policy=self._policy,
        )

    def _granted(
        self,
        disruption: Disruption,
        verdict: Allow,
        entry: GrantEntry,
        *,
        reused: bool = False,
        supersedes: Sequence[str] = (),
    ) -> None:
        self._log.granted(
            disruption.network,
            who=disruption.requested_by,
            what=asked(disruption),
            why=disruption.reason,
            verdict=verdict,
            grant=entry.id,
            reused=reused,
            supersedes=list(supersedes),
        )

    async def _unchanged(self, disruption: Disruption) -> bool:
        """Whether the target is still the object, at the version, that the caller decided about."""
        target = disruption.target
        live = await self._stamps.live(target.kind, target.name, target.namespace)
        if live is None:
            return False
        return (live["metadata"]["uid"], live["metadata"]["resourceVersion"]) == (target.uid, target.resource_version)

    def _entry(
        self, disruption: Disruption, verdict: Allow, height: int | None, known: GrantEntry | None
    ) -> GrantEntry:
        leader, target = self._leadership(), disruption.target
        if known is not None:
            # Taken over as it is: a new leader signs it, and the pod that would be ended may be another one by now.
            return known.model_copy(update={"holder": leader.holder, "fence": leader.fence, "pod": disruption.pod_uid})
        return GrantEntry(
            id=f"g-{uuid.uuid4().hex[:16]}",
            act=disruption.act,
            node=disruption.node,
            component=disruption.component,
            address=disruption.address,
            holds=disruption.holds,
            target=Target(
                kind=target.kind.kind,
                namespace=target.namespace or "",
                name=target.name,
                uid=target.uid,
                resource_version=target.resource_version,
            ),
            reason=disruption.reason[:REASON_MAX],
            requested_by=disruption.requested_by[:REASON_MAX],
            basis=verdict.basis,
            height=height,
            pod=disruption.pod_uid,
            granted_at=self._clock.now(),
            holder=leader.holder,
            fence=leader.fence,
        )

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    def _refuse(self, disruption: Disruption, answer: Deny | Impossible) -> Deny | Impossible:
        self._log.refused(
            disruption.network,
            who=disruption.requested_by,
            what=asked(disruption),
            why=disruption.reason,
            answer=answer,
            now_ms=self._now_ms(),
        )
        return answer


def _what(entry: GrantEntry) -> str:
    return f"{entry.act} {entry.target.kind} {entry.target.namespace}/{entry.target.name} of JILNode {entry.node}"


def _busy(network: str) -> Deny:
    why = f"the ledger of network {network} changed {_ATTEMPTS} times while it was being written"
    return Deny(DenyReason.LEDGER_BUSY, why, "the next try")
