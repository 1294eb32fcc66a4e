"""Conditions: the closed sets of types and reasons, and how a new set is merged into the stored one.

A reason is data: the same value stands in the condition, the Event, the metric label and the CLI. The message is for
people and says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints

from jil.api.fields import Count, StatusModel


class _Word(StrEnum):
    """A word for programs that carries its ``meaning`` for people; the reference prints it."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """A member is its word; the meaning rides along."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class ConditionType(_Word):
    """Every condition type of every kind."""

    SPEC_VALID = "SpecValid", "The spec can be carried out: what it names exists and fits."
    GENESIS_READY = "GenesisReady", "The genesis is frozen and every founder's key is in it."
    PULL_LOGIN_READY = "PullLoginReady", "The node's own login at the registry is renewed in time."
    IDENTITY_READY = "IdentityReady", "The node id is claimed and all keys are there and are the recorded ones."
    STORAGE_READY = "StorageReady", "Every volume exists, is bound and has the size that was asked for."
    DATABASE_READY = "DatabaseReady", "The database answers."
    CACHE_READY = "CacheReady", "The cache answers."
    BROKER_READY = "BrokerReady", "The broker answers."
    VALIDATOR_READY = "ValidatorReady", "The validator runs and has caught up with its chain."
    SERVICES_READY = "ServicesReady", "Every service of the release has the pods it should have."
    IMAGE_TRUST = "ImageTrust", "Every image is signed and approved as the network's policy asks for."
    SERVING = "Serving", "The node's Services send traffic to its pods."
    READY = "Ready", "All of the above that apply; for a stopped node, that it is stopped as its spec says."


#: The full set of each kind, in the order in which it is written and read. The first status write has all of them.
NODE_CONDITIONS: tuple[ConditionType, ...] = (
    ConditionType.SPEC_VALID,
    ConditionType.IMAGE_TRUST,
    ConditionType.PULL_LOGIN_READY,
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
RELEASE_CONDITIONS: tuple[ConditionType, ...] = (
    ConditionType.SPEC_VALID,
    ConditionType.IMAGE_TRUST,
    ConditionType.READY,
)
OPERATION_CONDITIONS: tuple[ConditionType, ...] = (ConditionType.SPEC_VALID, ConditionType.READY)


class ConditionStatus(StrEnum):
    """metav1.ConditionStatus."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(_Word):
    """Why a condition has its status, why something waits or was refused, what an Event is about."""

    # Well.
    READY = "Ready", "It is there and does its work."
    VALID = "Valid", "The spec can be carried out."
    RUNNING = "Running", "The node runs and serves."
    STOPPED = "Stopped", "Stopped because its spec says so; keys and data stay."
    MAINTENANCE = "Maintenance", "In maintenance because its spec says so: it runs and serves nobody."
    DISABLED = "Disabled", "This node does not have it, by its spec or by the operator's settings."

    VERIFIED = "Verified", "Every image is signed and approved as the policy asks for."
    SUCCEEDED = "Succeeded", "The operation has come to its end."
    NOT_WAITING = "NotWaiting", "The node does not wait for what the operation says, or it is not so: nothing was done."
    BREAK_GLASS_OPEN = "BreakGlassOpen", "The operation lets an image run without its signatures, for some time."

    # On the way; nothing is wrong.
    NOT_RECONCILED = "NotReconciled", "The operator has not looked at it yet."
    PROGRESSING = "Progressing", "Objects were written; the cluster is on its way."
    STOPPING = "Stopping", "It is being stopped in order."
    CATCHING_UP = "CatchingUp", "The chain is behind its peers and gets nearer."
    WAITING_FOR_GENESIS = "WaitingForGenesis", "The network's genesis is not frozen yet."
    WAITING_FOR_RECORDS = "WaitingForRecords", "The genesis needs the keys of founders whose nodes do not exist yet."
    WAITING_FOR_VOLUME = "WaitingForVolume", "A volume is not bound, or not grown yet."
    WAITING_FOR_POD = "WaitingForPod", "A pod is not scheduled, or its image is not there yet."
    WAITING_FOR_PERMIT = "WaitingForPermit", "The validator's pod waits for its permit to start."
    WAITING_FOR_GRANT = "WaitingForGrant", "The act would take away more than the network can spare now."
    WAITING_FOR_DEPENDENCY = "WaitingForDependency", "It starts when the components before it are ready."
    DELETING = "Deleting", "It is being taken down in order; keys and data stay."
    DELETION_BLOCKED = "DeletionBlocked", "It was deleted and waits, without limit, until the network can lose it."

    # The spec asks for what cannot be; a person must change something.
    SPEC_UNREADABLE = "SpecUnreadable", "The stored spec breaks the schema of this operator's version."
    RELEASE_NOT_FOUND = "ReleaseNotFound", "There is no JILRelease of that name."
    NETWORK_NOT_FOUND = "NetworkNotFound", "There is no JILNetwork of that name."
    JURISDICTION_NOT_FOUND = "JurisdictionNotFound", "The namespace has no JILJurisdiction."
    NAMESPACE_NOT_LABELLED = "NamespaceNotLabelled", "The namespace was not prepared for this jurisdiction by an admin."
    SECOND_JURISDICTION = "SecondJurisdiction", "The namespace has another JILJurisdiction, which is older."
    NODE_ID_NOT_MEMBER = "NodeIdNotMember", "The network does not list that node id for this namespace."
    NODE_ID_CLAIMED = "NodeIdClaimed", "Another JILNode holds that node id."
    NAME_TAKEN = "NameTaken", "Another node of the namespace has a child of the same name."
    NAME_TOO_LONG = "NameTooLong", "A child's name would be longer than Kubernetes admits."
    STORAGE_SHRINK = "StorageShrink", "A volume is larger than the spec wants, and volumes do not shrink."
    UNKNOWN_SERVICE = "UnknownService", "The spec overrides a service that the release does not have."

    NO_POLICY = "NoPolicy", "The network has no trust policy: images run on the release's digests alone."
    VERIFYING = "Verifying", "Signatures and approvals are being read; until then nothing new starts."
    IMAGE_REFUSED = "ImageRefused", "An image may not run: status.images of the release says which and by which rule."
    TRUST_NOT_ENFORCED = "TrustNotEnforced", "The namespace does not ask admission for its allow-list."
    ALREADY_RAN = "AlreadyRan", "An operation with this requestId ran before, and an id runs once."
    EXPIRED = "Expired", "The time that the operation was for is over."

    # Something is lost or does not answer.
    TRUST_UNKNOWN = "TrustUnknown", "The registry does not answer: what runs keeps running, nothing new is admitted."
    VOLUME_LOST = "VolumeLost", "The record knows a volume whose claim is gone: it is not replaced by an empty one."
    VOLUME_DELETING = "VolumeDeleting", "Somebody deleted the volume claim; it goes when its pod does."
    KEY_LOST = "KeyLost", "The record knows a key whose Secret is gone: nothing starts, and no new key is made."
    KEY_FOREIGN = "KeyForeign", "A key Secret is not the recorded one, or comes from another cluster."
    SIGN_STATE_LOST = (
        "SignStateLost",
        "The validator's volume is empty although it has signed before: it must not start.",
    )
    GENESIS_MISMATCH = "GenesisMismatch", "The genesis is not the one that the node was started from."
    POD_FAILED = "PodFailed", "A pod cannot start, or keeps ending."
    UNHEALTHY = "Unhealthy", "It runs and answers that it is not well."
    HEALTH_UNREADABLE = "HealthUnreadable", "The node's health endpoint could not be read: unknown, not down."
    MACHINE_LOST = "MachineLost", "The machine of a pod does not report: the pod may still run there, nothing is moved."
    FENCING_UNCONFIRMED = "FencingUnconfirmed", "A pod vanished unseen and may still be signing somewhere."
    LOGIN_UNWRITTEN = "LoginUnwritten", "A pull login could not be read or written just now; it is tried again."
    LOGIN_KEY_UNREADABLE = "LoginKeyUnreadable", "The operator has no key that it could sign pull logins with."
    FORBIDDEN = "Forbidden", "The API server refused a request of the operator: its permissions are missing."


class Condition(StatusModel):
    """One entry of ``status.conditions`` (shape of metav1.Condition)."""

    type: Annotated[str, StringConstraints(max_length=64, pattern="^[A-Z][A-Za-z]*$")] = Field(
        description="Type of the condition, the key of the list."
    )
    status: ConditionStatus = Field(description="True, False, or Unknown when it could not be found out.")
    observed_generation: Count = Field(
        default=0, description="metadata.generation that the condition was computed from."
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
