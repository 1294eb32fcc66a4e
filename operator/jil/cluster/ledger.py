"""The disruption ledger: one ConfigMap per network in the system namespace, changed only by compare-and-swap.

It holds what must not be forgotten when an operator dies: who may write (the seal), which validators are away by plan
(the open grants), when the last of them went, and the last closed grants for people and audits.

The seal is the fence. A new leader writes its fencing number (the Lease's leaseTransitions) into the ledger before it
does anything else there; from then on every write of an older leader loses the compare-and-swap, reads the ledger
again, finds the newer seal and gives up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, Protocol

from pydantic import ValidationError

from jil.api import kinds, labels
from jil.api.fields import SpecModel
from jil.api.kinds import Kind
from jil.cluster.errors import NotFound
from jil.plan.acts import Act
from jil.plan.voting import LastStep

#: Key of the ConfigMap under which the ledger stands.
KEY: Final = "ledger"

#: Closed grants that are kept; older ones are in the audit log.
CLOSED_MAX: Final = 200

#: Characters kept of a free text: 100 open and 200 closed grants stay below the 1 MiB of a ConfigMap in any script.
REASON_MAX: Final = 200


class LedgerMissingError(Exception):
    """The network's ledger does not exist."""


class LedgerUnreadableError(Exception):
    """The ConfigMap is there and is no ledger: somebody edited it, or a newer operator wrote it."""


class FencedError(Exception):
    """A newer leader has sealed the ledger: this process must not act any more."""


class Outcome(StrEnum):
    """How a grant ended."""

    RECORDED = "Recorded"
    """An act without cost: written down when it was granted, never held open."""

    RETURNED = "Returned"
    """The validator is back (or has left the network), and its power counts as present again."""

    TAKEN_BACK = "TakenBack"
    """The act never happened, and can no longer happen: the target's resourceVersion was moved."""

    SUPERSEDED = "Superseded"
    """Another grant for the same validator took its place; the validator stayed away by plan throughout."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """Who writes. ``holder`` is unique per process, ``fence`` grows with every election."""

    holder: str
    fence: int


class Seal(SpecModel):
    """The leader that may write."""

    holder: str
    fence: int


class Target(SpecModel):
    """The object of an act, at the version that was looked at."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str


class GrantEntry(SpecModel):
    """One grant. ``address`` is the consensus address, None where none is known or none exists; ``holds`` says whether
    the grant stays open until its validator is back. ``height``: the median of the nodes when it was given. ``pod``: UID
    of the validator's pod then, None when there was none: another one is the validator that came back."""

    id: str
    act: Act
    node: str
    component: str
    address: str | None = None
    holds: bool
    target: Target
    reason: str
    requested_by: str
    basis: str
    height: int | None = None
    pod: str | None = None
    granted_at: datetime
    holder: str
    fence: int
    closed_at: datetime | None = None
    outcome: Outcome | None = None
    note: str | None = None


class Step(SpecModel):
    """The last act that cost power; ``height`` None when the chain could not be read then."""

    grant: str
    height: int | None = None


class Ledger(SpecModel):
    """The whole ledger. Every change gives a new one."""

    version: Literal[1] = 1
    network: str
    seal: Seal
    open: tuple[GrantEntry, ...] = ()
    closed: tuple[GrantEntry, ...] = ()
    last_step: Step | None = None

    def sealed(self, leader: Leadership) -> Ledger:
        """The ledger under the seal of ``leader``. Raises FencedError when the seal is newer, or as new and somebody
        else's."""
        if (self.seal.fence, self.seal.holder) == (leader.fence, leader.holder):
            return self
        if self.seal.fence >= leader.fence:
            raise FencedError(
                f"the ledger of network {self.network} is sealed by {self.seal.holder} with fence {self.seal.fence}; "
                f"{leader.holder} has fence {leader.fence} and is no longer the leader"
            )
        return self._with(seal=Seal(holder=leader.holder, fence=leader.fence))

    def planned(self) -> frozenset[str]:
        """Consensus addresses that are away by plan."""
        return frozenset(one.address for one in self.open if one.address is not None)

    def find_open(self, uid: str, act: Act) -> GrantEntry | None:
        """The open grant for exactly this act on exactly this object."""
        return next((one for one in self.open if one.target.uid == uid and one.act == act), None)

    def open_of(self, node: str, address: str | None) -> tuple[GrantEntry, ...]:
        """The open grants of one validator, by its node or its key: at most one."""
        return tuple(one for one in self.open if one.node == node or (address and one.address == address))

    def by_id(self, grant: str) -> GrantEntry | None:
        """An open grant by its id."""
        return next((one for one in self.open if one.id == grant), None)

    def mark(self, grant: str | None) -> LastStep | None:
        """The last step for the arithmetic; the step of ``grant`` itself does not hold ``grant`` back."""
        if self.last_step is None or self.last_step.grant == grant:
            return None
        return LastStep(self.last_step.height)

    def opened(self, entry: GrantEntry, *, superseded: tuple[GrantEntry, ...], at: datetime) -> Ledger:
        """With a new grant, in place of those that it supersedes. Only a grant that takes power is a step."""
        ledger = self
        for one in superseded:
            ledger = ledger.closing(one.id, Outcome.SUPERSEDED, at=at, note=f"by {entry.id}")
        if not entry.holds:
            done = entry.model_copy(update={"closed_at": at, "outcome": Outcome.RECORDED})
            return ledger._with(closed=(*ledger.closed, done)[-CLOSED_MAX:])
        return ledger._with(open=(*ledger.open, entry))

    def stepped(self, grant: str, height: int | None) -> Ledger:
        """With the mark of the last step moved."""
        return self._with(last_step=Step(grant=grant, height=height))

    def renewed(self, entry: GrantEntry) -> Ledger:
        """With the open grant of the same id replaced."""
        return self._with(open=tuple(entry if one.id == entry.id else one for one in self.open))

    def closing(self, grant: str, outcome: Outcome, *, at: datetime, note: str | None = None) -> Ledger:
        """Without the open grant ``grant``, which is among the closed ones now; the same ledger if it is not open."""
        entry = self.by_id(grant)
        if entry is None:
            return self
        done = entry.model_copy(update={"closed_at": at, "outcome": outcome, "note": note and note[:REASON_MAX]})
        rest = tuple(one for one in self.open if one.id != grant)
        return self._with(open=rest, closed=(*self.closed, done)[-CLOSED_MAX:])

    def _with(self, **changes: Any) -> Ledger:
        return self.model_copy(update=changes)


@dataclass(frozen=True, slots=True)
class Stored:
    """A ledger as it was read, with the version that a write must replace."""

    ledger: Ledger
    manifest: dict[str, Any]


class LedgerClient(Protocol):
    """The part of the client that the ledger uses."""

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> dict[str, Any]:
        """GET, never from a cache. Raises NotFound."""

    async def create(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        """POST. Raises AlreadyExists."""

    async def replace(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        """PUT with the resourceVersion as precondition. Raises Conflict, NotFound."""


class LedgerStore:
    """Reads and writes the ledgers of one system namespace."""

    def __init__(self, client: LedgerClient, system_namespace: str) -> None:
        self._client = client
        self._namespace = system_namespace

    async def read(self, network: str) -> Stored:
        """The ledger as it is now. Raises LedgerMissingError, LedgerUnreadableError."""
        name = labels.ledger_config_map(network)
        try:
            manifest = await self._client.get(kinds.CONFIG_MAP, name, self._namespace)
        except NotFound as error:
            raise LedgerMissingError(f"ConfigMap {self._namespace}/{name} does not exist") from error
        try:
            ledger = Ledger.model_validate_json((manifest.get("data") or {}).get(KEY, ""))
        except ValidationError as error:
            raise LedgerUnreadableError(
                f"ConfigMap {self._namespace}/{name} is no ledger: {error.error_count()} faults, first "
                f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}"
            ) from error
        if ledger.network != network:
            raise LedgerUnreadableError(f"ConfigMap {self._namespace}/{name} is the ledger of network {ledger.network}")
        return Stored(ledger, manifest)

    async def create(self, ledger: Ledger) -> Stored:
        """POST of a ledger that does not exist yet. Raises AlreadyExists."""
        manifest = kinds.CONFIG_MAP.head(labels.ledger_config_map(ledger.network), self._namespace)
        manifest["metadata"] = {
            **_mapping(manifest["metadata"]),
            "labels": {
                labels.APP_NAME: "ledger",
                labels.APP_MANAGED_BY: labels.MANAGED_BY,
                labels.APP_PART_OF: labels.PART_OF,
                labels.NETWORK: ledger.network,
            },
        }
        manifest["data"] = {KEY: _text(ledger)}
        return Stored(ledger, await self._client.create(kinds.CONFIG_MAP, manifest))

    async def write(self, stored: Stored, ledger: Ledger) -> Stored:
        """Replace exactly what was read. Raises Conflict when somebody else was quicker, NotFound when it is gone."""
        if ledger == stored.ledger:
            return stored
        manifest = {**stored.manifest, "data": {KEY: _text(ledger)}}
        return Stored(ledger, await self._client.replace(kinds.CONFIG_MAP, manifest))


def _text(ledger: Ledger) -> str:
    return json.dumps(ledger.wire(), separators=(",", ":"), ensure_ascii=False)


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"metadata is {value!r}, a mapping was expected")
    return value
