"""Building blocks of the resources: base models, list types and the string formats that several kinds share.

A format is a regex that Python checks too, so an object that was stored before a rule existed is still refused when it
is read; in the CRD the same format is a CEL rule with a readable message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le
from pydantic import AfterValidator, BaseModel, ConfigDict, GetJsonSchemaHandler, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from jil.api.quantity import parse_quantity
from jil.api.rules import VALIDATIONS, Rule


class _Shape(BaseModel):
    """What spec and status parts have in common: camelCase on the wire, snake_case and frozen in Python."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    #: CEL rules over the whole object (cross-field and transition rules).
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.rules:
            schema[VALIDATIONS] = [rule.to_schema() for rule in cls.rules]
        return schema

    def wire(self) -> dict[str, Any]:
        """The object as it is written to the API server: camelCase, JSON types, nothing that is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class SpecModel(_Shape):
    """Part of a spec: a field we do not know is an error, never something silently ignored."""

    model_config = ConfigDict(extra="forbid")


class StatusModel(_Shape):
    """Part of a status: a field we do not know comes from a newer operator and is ignored."""

    model_config = ConfigDict(extra="ignore")


@dataclass(frozen=True)
class ListMap:
    """The list is a map keyed by ``key`` (and ``more``): duplicates are refused, entries are merged one by one."""

    key: str
    more: tuple[str, ...] = ()

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            **handler(core_schema),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [self.key, *self.more],
        }


@dataclass(frozen=True)
class ListSet:
    """The list is a set of scalars: the API server refuses duplicates."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core_schema), "x-kubernetes-list-type": "set"}


@dataclass(frozen=True)
class ListAtomic:
    """The list has one owner and is replaced as a whole."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core_schema), "x-kubernetes-list-type": "atomic"}


def _cel_string(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def format_rule(pattern: str, message: str) -> Rule:
    """A regex of a field as a CEL rule, so that a refusal says what is expected instead of showing the regex."""
    return Rule(f"self.matches({_cel_string(pattern)})", message, replaces_pattern=True)


NODE_ID_PATTERN = "^[A-Z]{2}-[A-Z]{3,4}-[0-9]{2}$"
ZONE_PATTERN = "^[A-Z]{2}/[A-Z0-9]{2,10}$"
DNS_LABEL_PATTERN = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
#: Service names must begin with a letter (RFC 1035), and child names begin with the name of their node.
DNS_1035_PATTERN = "^[a-z]([a-z0-9-]*[a-z0-9])?$"
CHAIN_ID_PATTERN = "^[a-z0-9][a-z0-9-]{0,49}$"
IMAGE_PATTERN = "^[a-z0-9]+([._-][a-z0-9]+)*(:[0-9]{1,5})?(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*@sha256:[0-9a-f]{64}$"
PEER_ID_PATTERN = "^[0-9a-f]{40}$"
ADDRESS_PATTERN = "^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}$"
#: 32 bytes in base64: 43 characters and one '='.
PUBLIC_KEY_PATTERN = "^[A-Za-z0-9+/]{43}=$"
DIGEST_PATTERN = "^sha256:[0-9a-f]{64}$"
SHA256_HEX_PATTERN = "^[0-9a-f]{64}$"
CONSENSUS_ADDRESS_PATTERN = "^[0-9A-F]{40}$"
LABEL_VALUE_PATTERN = "^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$"
LABEL_KEY_PATTERN = "^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
VERSION_PATTERN = "^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$"
TAG_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
COUNTRY_PATTERN = "^[A-Z]{2}$"
#: What `resource.ParseQuantity` of Kubernetes accepts, without a sign: sizes and shares are never negative.
QUANTITY_PATTERN = "^([0-9]+|[0-9]+[.][0-9]*|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"

NodeId = Annotated[
    str,
    StringConstraints(max_length=10, pattern=NODE_ID_PATTERN),
    format_rule(
        NODE_ID_PATTERN,
        "nodeId must be COUNTRY-PLACE-NUMBER such as CH-ZUG-01: two capital letters, three or four capital letters, "
        "two digits.",
    ),
]
Zone = Annotated[
    str,
    StringConstraints(max_length=13, pattern=ZONE_PATTERN),
    format_rule(
        ZONE_PATTERN,
        "zone must be COUNTRY/REGULATOR such as CH/FINMA: two capital letters, a slash, 2 to 10 capital letters or "
        "digits.",
    ),
]
Country = Annotated[
    str,
    StringConstraints(max_length=2, pattern=COUNTRY_PATTERN),
    format_rule(COUNTRY_PATTERN, "country must be an ISO 3166 code of two capital letters such as CH."),
]


def _place(what: str, example: str) -> Rule:
    return format_rule(
        DNS_LABEL_PATTERN,
        f"{what} must be lower-case letters, digits and hyphens, beginning and ending with a letter or digit, such as "
        f"{example}.",
    )


Region = Annotated[
    str, StringConstraints(min_length=1, max_length=32, pattern=DNS_LABEL_PATTERN), _place("region", "ch-zug")
]
Datacenter = Annotated[
    str, StringConstraints(min_length=1, max_length=32, pattern=DNS_LABEL_PATTERN), _place("datacenter", "zug-1")
]
#: Name of a namespace or of one of our own resources that is used as a label value.
NamespaceName = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=DNS_LABEL_PATTERN), _place("namespace", "jil-ch-finma")
]
NetworkName = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=DNS_LABEL_PATTERN), _place("network", "jil-devnet")
]
ReleaseName = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=DNS_LABEL_PATTERN), _place("release", "jil-1-4-0")
]
Image = Annotated[
    str,
    StringConstraints(max_length=512, pattern=IMAGE_PATTERN),
    format_rule(
        IMAGE_PATTERN,
        "image must be pinned by digest, REPOSITORY@sha256:<64 hex digits>, without a tag: a tag can change under a "
        "running node. Put the tag, for people, into the field tag.",
    ),
]
Tag = Annotated[
    str,
    StringConstraints(max_length=128, pattern=TAG_PATTERN),
    format_rule(TAG_PATTERN, "tag must be an image tag such as 1.4.0: letters, digits, '.', '_' and '-', at most 128."),
]
Version = Annotated[
    str,
    StringConstraints(max_length=64, pattern=VERSION_PATTERN),
    format_rule(
        VERSION_PATTERN,
        "version must begin with a letter or digit and hold only letters, digits, '.', '+', '_' and '-': 1.4.0.",
    ),
]
PeerId = Annotated[
    str,
    StringConstraints(max_length=40, pattern=PEER_ID_PATTERN),
    format_rule(
        PEER_ID_PATTERN,
        "peerId must be the 40 lower-case hex digits that status.peerId of the member's own cluster shows.",
    ),
]
PublicKey = Annotated[
    str,
    StringConstraints(max_length=44, pattern=PUBLIC_KEY_PATTERN),
    format_rule(
        PUBLIC_KEY_PATTERN,
        "publicKey must be an ed25519 public key in base64: 44 characters, the last one '='. It is the value that "
        "status.members of the member's own cluster shows, never a private key.",
    ),
]
Address = Annotated[
    str,
    StringConstraints(max_length=260, pattern=ADDRESS_PATTERN),
    format_rule(ADDRESS_PATTERN, "address must be HOST:PORT such as validator.example.com:26656."),
]
ChainId = Annotated[
    str,
    StringConstraints(max_length=50, pattern=CHAIN_ID_PATTERN),
    format_rule(
        CHAIN_ID_PATTERN,
        "chainId must be 1 to 50 lower-case letters, digits and hyphens, beginning with a letter or digit, such as "
        "jil-devnet-1.",
    ),
]


def _positive(text: str) -> str:
    if parse_quantity(text) <= 0:
        raise ValueError(f"{text!r} must be greater than zero")
    return text


#: A size or share, a Kubernetes quantity as text: ``10Gi``, ``250m``.
Quantity = Annotated[
    str,
    StringConstraints(min_length=1, max_length=20, pattern=QUANTITY_PATTERN),
    AfterValidator(_positive),
    Rule(
        "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
        "must be a positive Kubernetes quantity such as 10Gi, 500Mi or 250m.",
        replaces_pattern=True,
    ),
]
LabelValue = Annotated[
    str,
    StringConstraints(max_length=63, pattern=LABEL_VALUE_PATTERN),
    format_rule(
        LABEL_VALUE_PATTERN,
        "must be a label value: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or "
        "digit.",
    ),
]

#: Heights, generations and lags: what JSON carries exactly.
Count = Annotated[int, Ge(0), Le(2**53 - 1)]

# Formats of objects that only the operator writes: the plain regex is enough, nobody reads its message.
RecordedNodeId = Annotated[str, StringConstraints(max_length=10, pattern=NODE_ID_PATTERN)]
RecordedPeerId = Annotated[str, StringConstraints(max_length=40, pattern=PEER_ID_PATTERN)]
RecordedPublicKey = Annotated[str, StringConstraints(max_length=44, pattern=PUBLIC_KEY_PATTERN)]
Sha256Hex = Annotated[str, StringConstraints(max_length=64, pattern=SHA256_HEX_PATTERN)]
ImageDigest = Annotated[str, StringConstraints(max_length=71, pattern=DIGEST_PATTERN)]
ConsensusAddress = Annotated[str, StringConstraints(max_length=40, pattern=CONSENSUS_ADDRESS_PATTERN)]
Uid = Annotated[str, StringConstraints(min_length=1, max_length=64)]
ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
ShortText = Annotated[str, StringConstraints(max_length=64)]
Message = Annotated[str, StringConstraints(max_length=4096)]
ImageText = Annotated[str, StringConstraints(max_length=512)]
