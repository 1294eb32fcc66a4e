"""JILOperation: a one-shot command with its reason and its author. It runs once, whoever applies it how often."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import Len
from pydantic import AwareDatetime, Field, StringConstraints

from jil.api.conditions import Condition
from jil.api.fields import (
    DIGEST_PATTERN,
    Count,
    ListMap,
    ObjectName,
    ShortText,
    SpecModel,
    StatusModel,
    Uid,
    format_rule,
)
from jil.api.objects import Resource
from jil.api.rules import Rule

REQUEST_ID_PATTERN = "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
#: Days that a break-glass may last, counted from its creation; admission checks it.
BREAK_GLASS_DAYS = 7


class OperationType(StrEnum):
    """What is to be done."""

    BREAK_GLASS = "BreakGlass"
    CONFIRM_FENCING = "ConfirmFencing"
    ADOPT_VOLUME = "AdoptVolume"


class OperationPhase(StrEnum):
    """One word for people, derived from conditions and targets."""

    PENDING = "Pending"
    ACTIVE = "Active"
    SUCCEEDED = "Succeeded"
    REFUSED = "Refused"


RequestId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=REQUEST_ID_PATTERN),
    format_rule(
        REQUEST_ID_PATTERN,
        "requestId must be at most 63 letters, digits, '.', '_' and '-', beginning and ending with a letter or digit, "
        "such as INC-1234; an id runs once.",
    ),
]
Digest = Annotated[
    str,
    StringConstraints(max_length=71, pattern=DIGEST_PATTERN),
    format_rule(
        DIGEST_PATTERN, "digest must be sha256: and 64 hex digits, as crane digest or jilctl image inspect prints it."
    ),
]


class VolumeComponent(StrEnum):
    """The components that have a volume."""

    DATABASE = "database"
    CACHE = "cache"
    BROKER = "broker"
    VALIDATOR = "validator"


class BreakGlass(SpecModel):
    """Let one image run for some time although no release with enough signatures names it."""

    digest: Digest = Field(description="Digest of the image, sha256: and 64 hex digits.")
    until: AwareDatetime = Field(
        description=f"When the digest is taken out again, RFC 3339 with a zone; at most {BREAK_GLASS_DAYS} days after "
        "the creation. While the operator is down it stays in."
    )


class ConfirmFencing(SpecModel):
    """A person has made sure that the process of a vanished validator pod is over: its machine is off, or wiped."""

    node: ObjectName = Field(description="JILNode of this namespace that waits (FencingUnconfirmed).")
    pod_uid: Uid = Field(
        alias="podUID", description="UID of the pod that vanished, as the node's condition ValidatorReady names it."
    )


class AdoptVolume(SpecModel):
    """A volume claim that was made anew holds the data of the node: it takes the place of the one that is recorded."""

    node: ObjectName = Field(description="JILNode of this namespace that waits (VolumeLost, SignStateLost).")
    component: VolumeComponent = Field(description="Whose volume: database, cache, broker or validator.")
    claim_uid: Uid = Field(
        alias="claimUID", description="UID of the PersistentVolumeClaim that is there now, as the condition names it."
    )


class OperationSpec(SpecModel):
    """The command; immutable."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.type == 'BreakGlass') == has(self.breakGlass)",
            "an operation has exactly the part that its type names: type BreakGlass needs breakGlass with digest and "
            "until.",
        ),
        Rule(
            "(self.type == 'ConfirmFencing') == has(self.confirmFencing)",
            "type ConfirmFencing goes with confirmFencing and no other type does: it names the node and the podUID of "
            "the pod that vanished.",
        ),
        Rule(
            "(self.type == 'AdoptVolume') == has(self.adoptVolume)",
            "type AdoptVolume goes with adoptVolume and no other type does: it names the node, the component and the "
            "claimUID of the claim that is there now.",
        ),
    )

    type: OperationType = Field(description="What is to be done: " + ", ".join(OperationType) + ".")
    request_id: RequestId = Field(
        description="Id of the request, such as INC-1234. In a namespace an id runs once, also when its object is "
        "deleted and applied again."
    )
    requested_by: Annotated[str, StringConstraints(min_length=1, max_length=512)] = Field(
        description="Name of the user who creates the object; the API server compares it with the authenticated one "
        "(kubectl auth whoami)."
    )
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="Why, for the audit log and for whoever reads it later."
    )
    break_glass: BreakGlass | None = Field(default=None, description="For type BreakGlass.")
    confirm_fencing: ConfirmFencing | None = Field(default=None, description="For type ConfirmFencing.")
    adopt_volume: AdoptVolume | None = Field(default=None, description="For type AdoptVolume.")


class OperationTarget(StatusModel):
    """What became of one target."""

    name: ObjectName = Field(description="Name of the target: the node; of a BreakGlass its digest.")
    phase: ShortText = Field(description="One word: " + ", ".join(OperationPhase) + ".")
    message: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="", description="What was done, or what is in the way."
    )
    since: datetime | None = Field(default=None, description="Since when the phase stands.")


class OperationStatus(StatusModel):
    """What became of the command."""

    observed_generation: Count = Field(default=0, description="metadata.generation that the status was computed from.")
    phase: ShortText | None = Field(default=None, description="One word: " + ", ".join(OperationPhase) + ".")
    started_at: datetime | None = Field(default=None, description="When it was taken up.")
    completed_at: datetime | None = Field(default=None, description="When it came to its end.")
    targets: Annotated[tuple[OperationTarget, ...], Len(0, 256), ListMap("name")] = Field(
        default=(), description="Result per target."
    )
    conditions: Annotated[tuple[Condition, ...], Len(0, 32), ListMap("type")] = Field(
        default=(), description="SpecValid, Ready."
    )


class JILOperation(Resource):
    """A one-shot command that is audited: who, what, why. BreakGlass lets one image run for some time; ConfirmFencing and
    AdoptVolume say what only a person can know, so that a node that waits for it goes on."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.spec == oldSelf.spec",
            "a JILOperation is a command that was given: it cannot be changed. Create another one with another "
            "requestId; deleting a BreakGlass ends it early.",
        ),
    )

    spec: OperationSpec
    status: OperationStatus = OperationStatus()
