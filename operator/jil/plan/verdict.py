"""What a gate answers: Allow, Deny (wait until ...) or Impossible (change ...). Never a bare no (I3).

A reason is data: the same value feeds the condition, the Event, the metric label, the audit line and the CLI.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """Why an act was allowed."""

    NO_POWER = "NoPower"
    """The act stops no validator, or the validator has no voting power."""

    REPAIR = "Repair"
    """The target is provably away already, and the act is one that brings it back."""

    HALT_ALLOWED = "HaltAllowed"
    """The network is too small to lose anybody and says that planned halts are fine (``disruption.allowHalt``)."""

    WITHIN_BUDGET = "WithinBudget"
    """After the act quorum still holds, with the reserve on top."""


class DenyReason(StrEnum):
    """Why not now. Every one of them ends by itself or by an ordinary event; ``until`` says by which."""

    QUORUM = "Quorum"
    CHAIN_UNKNOWN = "ChainUnknown"
    CHAIN_STALLED = "ChainStalled"
    CHAIN_NOT_ADVANCED = "ChainNotAdvanced"
    READINGS_DISAGREE = "ReadingsDisagree"
    ADDRESS_UNKNOWN = "AddressUnknown"
    FOREIGN_MEMBERS = "ForeignMembers"
    QUOTA_IN_USE = "QuotaInUse"

    # Not about the chain: the gate's own book.
    LEDGER_MISSING = "LedgerMissing"
    LEDGER_UNREADABLE = "LedgerUnreadable"
    LEDGER_BUSY = "LedgerBusy"
    FENCED = "Fenced"
    TARGET_CHANGED = "TargetChanged"


class ImpossibleReason(StrEnum):
    """Why never, as things are declared: waiting will not help, a person must change something."""

    CAN_LOSE_NOBODY = "CanLoseNobody"
    TARGET_TOO_HEAVY = "TargetTooHeavy"
    RESERVE_TOO_LARGE = "ReserveTooLarge"
    QUOTA_TOO_SMALL = "QuotaTooSmall"


@dataclass(frozen=True, slots=True)
class Numbers:
    """The arithmetic behind an answer. All in units of voting power.

    ``quorum = total - tolerable`` is the hard floor: the least power that is more than two thirds of the total.
    ``may_be_away = tolerable - reserve``. The act fits when ``away_after <= may_be_away``.
    """

    total: int
    tolerable: int
    reserve: int
    away: int
    target: int
    away_after: int

    @property
    def quorum(self) -> int:
        """The least voting power that can finish a block."""
        return self.total - self.tolerable

    @property
    def may_be_away(self) -> int:
        """The most voting power that may be away, planned and unplanned together, after a planned act."""
        return self.tolerable - self.reserve

    @property
    def slack(self) -> int:
        """What could still go after the act; negative when the act does not fit."""
        return self.may_be_away - self.away_after


@dataclass(frozen=True, slots=True)
class Allow:
    """Yes, now, for this one act."""

    basis: Basis
    message: str
    numbers: Numbers | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """Not now. ``until`` names what must happen first; ask again then."""

    reason: DenyReason
    message: str
    until: str
    numbers: Numbers | None = None

    def __str__(self) -> str:
        return f"{self.message}; until {self.until}"


@dataclass(frozen=True, slots=True)
class Impossible:
    """Never, as things are declared. ``remedy`` says what a person can change."""

    reason: ImpossibleReason
    message: str
    remedy: str
    numbers: Numbers | None = None

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"


Verdict = Allow | Deny | Impossible
