"""Conditions: the closed sets of types and reasons, and how a new set is merged into the stored one.

A reason is data: the same value stands in the condition, the Event, the metric label and the CLI. The message is for
people and says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from jil.api.fields import StatusModel


class ConditionType(StrEnum):
    """Every condition type of every kind. What each says stands beside the sets below."""

    SPEC_VALID = "SpecValid"
    GENESIS_READY = "GenesisReady"
    IDENTITY_READY = "IdentityReady"
    STORAGE_READY = "StorageReady"
    DATABASE_READY = "DatabaseReady"
    CACHE_READY = "CacheReady"
    BROKER_READY = "BrokerReady"
    VALIDATOR_READY = "ValidatorReady"
    SERVICES_READY = "ServicesReady"
    SERVING = "Serving"
    READY = "Ready"


#: The full set of each kind, in the order in which it is written and read. The first status write has all of them.
NODE_CONDITIONS: tuple[ConditionType, ...] = (
    ConditionType.SPEC_VALID,
    ConditionType.IDENTITY_READY,
    ConditionType.STORAGE_READY,
    ConditionType.DATABASE_READY,
    ConditionType.CACHE_READY,
    ConditionType.BROKER_READY,
    ConditionType.VALIDATOR_READY,
    ConditionType.SERVICES_READY,
    ConditionType.SERVING,
    ConditionType.READY,
)
NETWORK_CONDITIONS: tuple[ConditionType, ...] = (
    ConditionType.SPEC_VALID,
    ConditionType.GENESIS_READY,
    ConditionType.READY,
)
JURISDICTION_CONDITIONS: tuple[ConditionType, ...] = (ConditionType.SPEC_VALID, ConditionType.READY)


class ConditionStatus(StrEnum):
    """metav1.ConditionStatus."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a condition has its status, why something waits or was refused, what an Event is about."""

    # Well.
    READY = "Ready"
    VALID = "Valid"
    RUNNING = "Running"
    STOPPED = "Stopped"
    MAINTENANCE = "Maintenance"
    DISABLED = "Disabled"

    # On the way; nothing is wrong.
    NOT_RECONCILED = "NotReconciled"
    PROGRESSING = "Progressing"
    STARTING = "Starting"
    STOPPING = "Stopping"
    DRAINING = "Draining"
    CATCHING_UP = "CatchingUp"
    WAITING_FOR_GENESIS = "WaitingForGenesis"
    WAITING_FOR_RECORDS = "WaitingForRecords"
    WAITING_FOR_VOLUME = "WaitingForVolume"
    WAITING_FOR_POD = "WaitingForPod"
    WAITING_FOR_PERMIT = "WaitingForPermit"
    WAITING_FOR_GRANT = "WaitingForGrant"
    WAITING_FOR_DEPENDENCY = "WaitingForDependency"
    DELETING = "Deleting"
    DELETION_BLOCKED = "DeletionBlocked"

    # The spec asks for what cannot be; a person must change it.
    SPEC_UNREADABLE = "SpecUnreadable"
    RELEASE_NOT_FOUND = "ReleaseNotFound"
    NETWORK_NOT_FOUND = "NetworkNotFound"
    JURISDICTION_NOT_FOUND = "JurisdictionNotFound"
    NAMESPACE_NOT_LABELLED = "NamespaceNotLabelled"
    SECOND_JURISDICTION = "SecondJurisdiction"
    NODE_ID_NOT_MEMBER = "NodeIdNotMember"
    NODE_ID_CLAIMED = "NodeIdClaimed"
    NAME_TOO_LONG = "NameTooLong"
    STORAGE_SHRINK = "StorageShrink"
    UNKNOWN_SERVICE = "UnknownService"

    # Something is lost or does not answer.
    KEY_LOST = "KeyLost"
    KEY_FOREIGN = "KeyForeign"
    SIGN_STATE_LOST = "SignStateLost"
    GENESIS_MISMATCH = "GenesisMismatch"
    POD_FAILED = "PodFailed"
    UNHEALTHY = "Unhealthy"
    HEALTH_UNREADABLE = "HealthUnreadable"
    FENCING_UNCONFIRMED = "FencingUnconfirmed"
    FORBIDDEN = "Forbidden"


class Condition(StatusModel):
    """One entry of ``status.conditions`` (shape of metav1.Condition)."""

    type: Annotated[str, StringConstraints(max_length=64, pattern="^[A-Z][A-Za-z]*$")] = Field(
        description="Type of the condition, the key of the list."
    )
    status: ConditionStatus = Field(description="True, False, or Unknown when it could not be found out.")
    observed_generation: int = Field(
        default=0, ge=0, le=2**63 - 1, description="metadata.generation that the condition was computed from."
    )
    last_transition_time: datetime = Field(description="When the status last changed (not the reason or message).")
    reason: Annotated[str, StringConstraints(max_length=64, pattern="^[A-Z][A-Za-z]*$")] = Field(
        description="Why, as one word from a closed list; scripts and alerts match on it."
    )
    message: Annotated[str, StringConstraints(max_length=4096)] = Field(
        default="", description="Why, for people: what is wrong, where, and what to do."
    )


@dataclass(frozen=True)
class Finding:
    """What a reconcile found out about one condition; time and generation are added by ``merge``."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str = ""


def true(type_: ConditionType, reason: Reason, message: str = "") -> Finding:
    """A finding with status True."""
    return Finding(type_, ConditionStatus.TRUE, reason, message)


def false(type_: ConditionType, reason: Reason, message: str) -> Finding:
    """A finding with status False; the message is required because somebody will have to act on it."""
    return Finding(type_, ConditionStatus.FALSE, reason, message)


def unknown(type_: ConditionType, reason: Reason, message: str) -> Finding:
    """A finding with status Unknown: it was looked for and could not be read."""
    return Finding(type_, ConditionStatus.UNKNOWN, reason, message)


#: Longest message the CRD admits; a longer one is cut, because a refused status write would hide all conditions.
MESSAGE_MAX = 4096


def merge(
    stored: Sequence[Condition],
    found: Iterable[Finding],
    *,
    full_set: Sequence[ConditionType],
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """The conditions to write: exactly ``full_set``, in its order.

    - A finding replaces the stored condition; ``lastTransitionTime`` moves only when the status changes.
    - A type without a finding keeps its stored condition as it is (older ``observedGeneration`` included: that is how a
      reader sees that it was not looked at for this generation).
    - A type never seen before becomes Unknown/NotReconciled, so the very first write has the full set. A condition that
      server-side apply once leaves out would otherwise keep a schema default for ever.
    - Types outside ``full_set`` (retired by an upgrade) disappear.

    Raises ValueError for a finding outside ``full_set`` or two findings of one type: both are bugs of the caller.
    """
    findings: dict[ConditionType, Finding] = {}
    for finding in found:
        if finding.type not in full_set:
            raise ValueError(f"condition {finding.type} does not belong to this kind (it has {', '.join(full_set)})")
        if finding.type in findings:
            raise ValueError(f"two findings for condition {finding.type}: {findings[finding.type]} and {finding}")
        findings[finding.type] = finding
    before = {condition.type: condition for condition in stored}
    return tuple(_merge_one(before.get(type_), type_, findings.get(type_), generation, now) for type_ in full_set)


def _merge_one(
    old: Condition | None, type_: ConditionType, finding: Finding | None, generation: int, now: datetime
) -> Condition:
    if finding is None:
        if old is not None:
            return old
        finding = unknown(type_, Reason.NOT_RECONCILED, "Not looked at yet.")
    # Kubernetes times have whole seconds: without this the stored value never equals the computed one.
    moment = now.replace(microsecond=0)
    return Condition(
        type=finding.type.value,
        status=finding.status,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old and old.status == finding.status else moment,
        reason=finding.reason.value,
        message=finding.message if len(finding.message) <= MESSAGE_MAX else finding.message[: MESSAGE_MAX - 1] + "…",
    )


def find(conditions: Sequence[Condition], type_: ConditionType) -> Condition | None:
    """The condition of that type, or None when the status does not have it yet."""
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: Sequence[Condition], type_: ConditionType) -> bool:
    """Whether the condition is there and True; absent and Unknown are not."""
    condition = find(conditions, type_)
    return condition is not None and condition.status == ConditionStatus.TRUE
