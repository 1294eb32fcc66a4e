"""JILRelease: one version of the whole stack, every image by digest, and the catalogue of services."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import Ge, Le, Len
from pydantic import AfterValidator, Field, StringConstraints

from jil.api.fields import (
    DNS_LABEL_PATTERN,
    Image,
    ListAtomic,
    ListMap,
    ListSet,
    Quantity,
    SpecModel,
    Tag,
    Version,
)
from jil.api.labels import RESERVED_SERVICE_NAMES, SERVICE_NAME_MAX, Component
from jil.api.objects import Resource
from jil.api.rules import Rule

SERVICES_MAX = 250


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


class ReleaseSpec(SpecModel):
    """Content of a JILRelease; immutable as a whole."""

    version: Version = Field(description="Version for people, such as 1.4.0; informational.")
    broker: Broker = Field(default=Broker(), description="Which broker the release carries.")
    images: Images = Field(description="Images of the components that every node has.")
    services: Annotated[tuple[Service, ...], Len(0, SERVICES_MAX), ListMap("name")] = Field(
        default=(), description="Service catalogue."
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
            "self.spec == oldSelf.spec",
            "a JILRelease cannot be changed: nodes may already run it. Create another JILRelease and name that in the "
            "JILJurisdiction.",
        ),
    )

    spec: ReleaseSpec
