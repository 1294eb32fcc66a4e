"""JILRelease: one version of the whole stack, every image by digest, the catalogue of services, the signatures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Len
from pydantic import AfterValidator, Field, StringConstraints
from pydantic.alias_generators import to_camel

from jil.api.conditions import Condition
from jil.api.fields import (
    DNS_LABEL_PATTERN,
    Count,
    Image,
    ImageText,
    ListAtomic,
    ListMap,
    ListSet,
    ObjectName,
    Quantity,
    ShortText,
    SpecModel,
    StatusModel,
    Tag,
    Version,
)
from jil.api.labels import RESERVED_SERVICE_NAMES, SERVICE_NAME_MAX, Component
from jil.api.objects import Resource
from jil.api.rules import Rule

SERVICES_MAX = 250
#: Four networks that run one release of full size.
IMAGE_VERDICTS_MAX = 4 * (SERVICES_MAX + 6)


class BrokerFlavour(StrEnum):
    """Which broker the release's ``broker`` image is; both speak the Kafka protocol."""

    REDPANDA = "redpanda"
    KAFKA = "kafka"


class Need(StrEnum):
    """What a service uses of its own node."""

    DATABASE = "database"
    CACHE = "cache"
    BROKER = "broker"
    CHAIN = "chain"


class ImageRef(SpecModel):
    """One image, by digest."""

    image: Image = Field(description="REPOSITORY@sha256:DIGEST; what runs.")
    tag: Tag | None = Field(default=None, description="Tag that the digest had when it was released; informational.")


class Images(SpecModel):
    """The images of the components that every node has."""

    database: ImageRef = Field(description="PostgreSQL.")
    cache: ImageRef = Field(description="Redis.")
    broker: ImageRef = Field(description="Broker of the flavour that broker.flavour names.")
    validator: ImageRef = Field(description="CometBFT with the network's application.")
    health: ImageRef = Field(description="The node's health endpoint.")


class Broker(SpecModel):
    """Which broker the release carries."""

    flavour: BrokerFlavour = Field(
        default=BrokerFlavour.REDPANDA,
        description="redpanda or kafka; decides configuration and command of the broker.",
    )


class Resources(SpecModel):
    """Requests of one container. Memory is also its limit; CPU has none."""

    cpu: Quantity | None = Field(default=None, description="CPU request in cores, such as 250m.")
    memory: Quantity | None = Field(default=None, description="Memory request and limit in bytes, such as 256Mi.")


_RESERVED = ", ".join(RESERVED_SERVICE_NAMES)
ServiceName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=SERVICE_NAME_MAX, pattern=DNS_LABEL_PATTERN),
    Rule(
        f"self.matches('{DNS_LABEL_PATTERN}')",
        "name of a service must be at most 20 lower-case letters, digits and hyphens, beginning and ending with a "
        "letter or digit, such as transfers.",
        replaces_pattern=True,
    ),
]
Argument = Annotated[str, StringConstraints(max_length=512)]


def _not_reserved(name: str) -> str:
    if name in RESERVED_SERVICE_NAMES:
        raise ValueError(f"{name!r} is taken by a part that every node has ({_RESERVED}): choose another name")
    return name


class Service(SpecModel):
    """One service of the catalogue; every node of the release runs it."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(self.name in [" + ", ".join(f"'{name}'" for name in RESERVED_SERVICE_NAMES) + "])",
            f"the name of a service must not be that of a part that every node has: {_RESERVED}.",
            f"'service name ' + self.name + ' is taken by a part that every node has ({_RESERVED}): choose another.'",
        ),
    )

    name: Annotated[ServiceName, AfterValidator(_not_reserved)] = Field(
        description="Name of the service, at most 20 characters; unique in the release."
    )
    image: ImageRef = Field(description="Image of the service.")
    command: Annotated[tuple[Argument, ...], Len(0, 32), ListAtomic()] = Field(
        default=(), description="Entry point; that of the image when empty."
    )
    args: Annotated[tuple[Argument, ...], Len(0, 32), ListAtomic()] = Field(
        default=(), description="Arguments; those of the image when empty."
    )
    port: Annotated[int, Ge(1), Le(65535)] = Field(
        default=8080, description="TCP port that the container serves HTTP on; its Service has port 80."
    )
    replicas: Annotated[int, Ge(1), Le(10)] = Field(default=1, description="Pods per node.")
    resources: Resources = Field(
        default=Resources(), description="Requests per pod; what is not set comes from the node's profile."
    )
    needs: Annotated[tuple[Need, ...], Len(0, 4), ListSet()] = Field(
        default=(),
        description="What the service uses of its own node: database, cache, broker, chain. Credentials, environment "
        "and network access follow.",
    )


#: DSSE envelopes as JSON text. One is the signed list of up to 255 images; approvals are small.
ENVELOPES_MAX = 32
Envelope = Annotated[str, StringConstraints(min_length=2, max_length=131_072)]


class ReleaseSpec(SpecModel):
    """Content of a JILRelease; immutable but for the envelopes, which grow."""

    version: Version = Field(description="Version for people, such as 1.4.0; informational.")
    broker: Broker = Field(default=Broker(), description="Which broker the release carries.")
    images: Images = Field(description="Images of the components that every node has.")
    services: Annotated[tuple[Service, ...], Len(0, SERVICES_MAX), ListMap("name")] = Field(
        default=(), description="Service catalogue."
    )
    envelopes: Annotated[tuple[Envelope, ...], Len(0, ENVELOPES_MAX), ListSet()] = Field(
        default=(),
        description="Signatures and approvals of this release: DSSE envelopes as JSON text (jilctl release sign makes "
        "them). Entries can be added and never removed.",
    )

    def image(self, component: Component) -> str:
        """Image, by digest, of a component that every node has."""
        ref: ImageRef = getattr(self.images, component.value)
        return ref.image

    def service(self, name: str) -> Service | None:
        """The service of that name, or None when the catalogue has none."""
        return next((service for service in self.services if service.name == name), None)

    @property
    def all_images(self) -> Mapping[str, str]:
        """Component or service name -> image by digest: everything that a node of this release runs."""
        return {component.value: self.image(component) for component in Component} | {
            service.name: service.image.image for service in self.services
        }


class ImageVerdict(StatusModel):
    """What was found about one image of the release, for one network that runs it."""

    network: ObjectName = Field(description="JILNetwork whose policy was asked.")
    name: ShortText = Field(description="Component or service; `release` for the release's own signature.")
    image: ImageText = Field(description="Image by digest; for the release, the digest of its canonical form.")
    verdict: ShortText = Field(description="Verified, Refused or Unknown.")
    reason: ShortText | None = Field(default=None, description="Why it was refused, as one word.")
    rule: ImageText | None = Field(
        default=None, description="Path of the rule in the policy that refused it, such as tracks[mainnet].approvals."
    )
    message: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="", description="Why, for people, with the command that shows more."
    )
    keys: Annotated[tuple[ShortText, ...], Len(0, 64), ListAtomic()] = Field(
        default=(), description="Ids of the keys whose signatures counted."
    )
    approvers: Annotated[tuple[ObjectName, ...], Len(0, 64), ListAtomic()] = Field(
        default=(), description="Owners whose approvals counted."
    )
    since: datetime | None = Field(default=None, description="Since when the verdict stands.")
    next_try: datetime | None = Field(
        default=None, description="When the registry is asked again, while the verdict is Unknown."
    )


class ReleaseStatus(StatusModel):
    """Observed state of a JILRelease: whether its images may run."""

    observed_generation: Count = Field(default=0, description="metadata.generation that the status was computed from.")
    conditions: Annotated[tuple[Condition, ...], Len(0, 32), ListMap("type")] = Field(
        default=(), description="SpecValid, ImageTrust, Ready."
    )
    images: Annotated[tuple[ImageVerdict, ...], Len(0, IMAGE_VERDICTS_MAX), ListMap("network", ("name",))] = Field(
        default=(), description="Verdict per image and network; of networks without a policy there is none."
    )


def _unchanged(name: str, required: bool) -> str:
    same = f"self.spec.{name} == oldSelf.spec.{name}"
    if required:
        return same
    return f"has(self.spec.{name}) == has(oldSelf.spec.{name}) && (!has(self.spec.{name}) || {same})"


class JILRelease(Resource):
    """One immutable version of the whole stack: every image by digest, and the service catalogue."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
            "the name of a JILRelease must be at most 63 lower-case letters, digits and hyphens, "
            "beginning and ending with a letter or digit.",
            "'name ' + self.metadata.name + ' must be at most 63 lower-case letters, digits and hyphens, beginning "
            "and ending with a letter or digit, such as jil-1-4-0.'",
        ),
        Rule(
            # Made from the fields, so that one that is added later is frozen too.
            " && ".join(
                _unchanged(to_camel(name), field.is_required())
                for name, field in ReleaseSpec.model_fields.items()
                if name != "envelopes"
            ),
            "a JILRelease cannot be changed: nodes may already run it. Create another JILRelease and name that in the "
            "JILJurisdiction.",
        ),
        Rule(
            "!has(oldSelf.spec.envelopes) || "
            "(has(self.spec.envelopes) && oldSelf.spec.envelopes.all(e, e in self.spec.envelopes))",
            "envelopes of a JILRelease can be added and neither removed nor changed: they are what its images run on. "
            "Keep those that are there; a signature is taken back by revoking its key.",
        ),
    )

    spec: ReleaseSpec
    status: ReleaseStatus = ReleaseStatus()
