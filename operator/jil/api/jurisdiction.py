"""JILJurisdiction: the zone that a namespace stands for, the release its nodes run, its compliance configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Len
from pydantic import Field, StringConstraints

from jil.api.conditions import Condition
from jil.api.fields import Count, ListMap, NetworkName, ReleaseName, ShortText, SpecModel, StatusModel, Zone
from jil.api.objects import Resource
from jil.api.rules import Rule, immutable

ComplianceKey = Annotated[str, StringConstraints(max_length=64)]
ComplianceValue = Annotated[str, StringConstraints(max_length=1024)]


class JurisdictionSpec(SpecModel):
    """Desired state of a JILJurisdiction."""

    zone: Annotated[
        Zone,
        immutable("zone", "The namespace is the zone's isolation boundary: make another namespace for another zone."),
    ] = Field(description="Zone such as CH/FINMA; JIL_JURISDICTION of every node here. Immutable.")
    network: Annotated[
        NetworkName, immutable("network", "Keys and data belong to one chain: make another namespace for another one.")
    ] = Field(description="Name of the JILNetwork that the nodes here take part in. Immutable.")
    release: ReleaseName = Field(description="Name of the JILRelease that the nodes here run.")
    compliance: Annotated[
        Mapping[ComplianceKey, ComplianceValue],
        Len(0, 64),
        Rule("self.all(k, size(k) <= 64)", "a key of compliance must have at most 64 characters: shorten it."),
    ] = Field(
        default_factory=dict,
        description="Compliance configuration, pushed to every node here without a restart: at most 64 entries, keys "
        "of at most 64 and values of at most 1024 characters.",
    )


class JurisdictionStatus(StatusModel):
    """Observed state of a JILJurisdiction."""

    observed_generation: Count = Field(default=0, description="metadata.generation that the status was computed from.")
    conditions: Annotated[tuple[Condition, ...], Len(0, 32), ListMap("type")] = Field(
        default=(), description="SpecValid, Ready."
    )
    nodes: Annotated[int, Ge(0), Le(10_000)] | None = Field(default=None, description="JILNodes in the namespace.")
    ready_nodes: Annotated[int, Ge(0), Le(10_000)] | None = Field(
        default=None, description="JILNodes in the namespace whose Ready condition is True."
    )
    release: ShortText | None = Field(default=None, description="JILRelease that all ready nodes run.")


class JILJurisdiction(Resource):
    """The zone that a namespace stands for: exactly one per namespace."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "the name of a JILJurisdiction becomes a label value: at most 63 lower-case letters, digits and hyphens, "
            "beginning and ending with a letter or digit.",
            "'name ' + self.metadata.name + ' becomes a label value: use at most 63 lower-case letters, digits and "
            "hyphens, beginning and ending with a letter or digit.'",
        ),
    )

    spec: JurisdictionSpec
    status: JurisdictionStatus = JurisdictionStatus()
