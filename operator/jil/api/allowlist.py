"""JILImageAllowList: the digests that admission lets into one jurisdiction's namespace, and the verdicts behind them.

Written by the operator only; the API server reads it at every creation of a pod, also while the operator is down. It is
cluster-scoped and has the name of its namespace, so that nobody's rights inside the namespace reach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import Len
from pydantic import Field, StringConstraints

from jil.api.fields import ImageDigest, ImageText, ListAtomic, ListMap, ListSet, ObjectName, ShortText, SpecModel, Uid
from jil.api.objects import Resource
from jil.api.rules import Rule
from jil.api.trust import Track

#: Some releases of full size: the one that runs, the one that is rolled out, those that one may go back to.
DIGESTS_MAX = 2048
BREAK_GLASS_MAX = 64
VERDICTS_MAX = 1024

PolicyHash = Annotated[str, StringConstraints(min_length=1, max_length=80)]


class VerdictWord(StrEnum):
    """What a verdict says."""

    VERIFIED = "Verified"
    REFUSED = "Refused"
    UNKNOWN = "Unknown"


class AllowedImage(SpecModel):
    """One digest that releases brought in."""

    image: ImageText = Field(description="Image by digest, for people; admission compares the digest.")
    releases: Annotated[tuple[ObjectName, ...], Len(1, 16), ListSet()] = Field(
        description="JILReleases that name the digest."
    )
    kept_since: datetime | None = Field(
        default=None,
        description="Set since the digest is no longer verified (a key was revoked, a policy changed), or its release no "
        "longer wanted, while nodes run it: their pods may come back, no node takes it up.",
    )


class BrokenGlass(SpecModel):
    """One digest that a JILOperation let in for some time."""

    operation: ObjectName = Field(description="JILOperation in the namespace.")
    operation_uid: Uid | None = Field(
        default=None,
        alias="operationUID",
        description="UID of that JILOperation: another one of the same name lets nothing in by this.",
    )
    digest: ImageDigest = Field(description="Digest that it lets in, sha256: and 64 hex digits.")
    requested_by: Annotated[str, StringConstraints(min_length=1, max_length=512)] = Field(
        description="User who asked for it, as the API server knew them."
    )
    until: datetime = Field(
        description="When the operator takes the digest out again; while the operator is down it stays."
    )


class CachedVerdict(SpecModel):
    """A verdict that holds until the policy changes, or until ``validUntil``: nobody has to ask the registry again."""

    release: ObjectName = Field(description="JILRelease that the image was judged for.")
    image: ImageText = Field(description="Image by digest.")
    policy_hash: PolicyHash = Field(description="Hash of the policy that was asked.")
    track: Track = Field(description="Track that the image was judged for.")
    verdict: VerdictWord = Field(description="Verified or Refused.")
    reason: ShortText | None = Field(default=None, description="Why it was refused, as one word.")
    rule: ImageText | None = Field(default=None, description="Path of the rule in the policy that refused it.")
    message: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="", description="Why it was refused, for people."
    )
    keys: Annotated[tuple[ShortText, ...], Len(0, 64), ListAtomic()] = Field(
        default=(), description="Ids of the keys whose signatures counted."
    )
    approvers: Annotated[tuple[ObjectName, ...], Len(0, 64), ListAtomic()] = Field(
        default=(), description="Owners whose approvals counted."
    )
    formats: Annotated[tuple[ShortText, ...], Len(0, 8), ListAtomic()] = Field(
        default=(), description="Formats of the signatures that counted: jil, cosign, bundle."
    )
    platforms: Annotated[tuple[ImageDigest, ...], Len(0, 32), ListAtomic()] = Field(
        default=(), description="Digests of the platform images inside an index; of the image itself when it is none."
    )
    signed_at: datetime | None = Field(default=None, description="Time of the oldest signature that counted.")
    valid_until: datetime | None = Field(
        default=None, description="When it must be judged again, because an approval expires or a signature gets old."
    )
    checked_at: datetime = Field(description="When the registry was asked.")


class AllowListSpec(SpecModel):
    """What pods of one namespace may run, and why."""

    network: ObjectName = Field(
        description="JILNetwork whose policy was asked. Admission lets nothing in by the list of another network."
    )
    policy_hash: PolicyHash | None = Field(
        default=None, description="Hash of the policy that `digests` was made by; unset before the first verdict."
    )
    digests: Annotated[Mapping[ImageDigest, AllowedImage], Len(0, DIGESTS_MAX)] = Field(
        default_factory=dict, description="Digest (sha256:...) -> why it may run."
    )
    break_glass: Annotated[tuple[BrokenGlass, ...], Len(0, BREAK_GLASS_MAX), ListMap("operation")] = Field(
        default=(), description="Digests that operations let run for some time."
    )
    verdicts: Annotated[tuple[CachedVerdict, ...], Len(0, VERDICTS_MAX), ListMap("release", ("image",))] = Field(
        default=(), description="Verdicts about the images of the releases that are wanted or run here."
    )


class JILImageAllowList(Resource):
    """The digests that may run in the namespace of the same name. Written by the operator, not by people."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "the name of an allow-list must be that of the namespace that it is for.",
        ),
    )

    spec: AllowListSpec
