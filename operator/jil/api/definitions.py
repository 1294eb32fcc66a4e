"""The CustomResourceDefinitions: each kind's model, names, scope and the columns that ``kubectl get`` shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from jil.api import kinds, labels
from jil.api.allowlist import JILImageAllowList
from jil.api.jurisdiction import JILJurisdiction
from jil.api.kinds import Kind
from jil.api.network import JILNetwork
from jil.api.node import JILNode
from jil.api.objects import Resource
from jil.api.operation import JILOperation
from jil.api.record import JILNodeRecord
from jil.api.release import JILRelease
from jil.api.rules import VALIDATIONS
from jil.api.structural import Schema, structural, walk


@dataclass(frozen=True)
class Column:
    """A column of ``kubectl get``; ``wide`` ones show with ``-o wide``."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    wide: bool = False

    def to_manifest(self) -> dict[str, Any]:
        """An entry of ``additionalPrinterColumns``."""
        entry: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            entry["description"] = self.description
        if self.wide:
            entry["priority"] = 1
        return entry


_AGE = Column("Age", ".metadata.creationTimestamp", "date")
_READY = Column("Ready", '.status.conditions[?(@.type=="Ready")].status', description="The Ready condition.")
_MESSAGE = Column(
    "Message", '.status.conditions[?(@.type=="Ready")].message', description="Message of Ready.", wide=True
)


@dataclass(frozen=True)
class Definition:
    """One kind as a CustomResourceDefinition."""

    kind: Kind
    model: type[Resource]
    short_name: str
    columns: tuple[Column, ...]

    @property
    def has_status(self) -> bool:
        """Whether the kind has a status, and with it the status subresource."""
        return "status" in self.model.model_fields

    @property
    def crd_name(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.kind.plural}.{self.kind.group}"

    @property
    def file_name(self) -> str:
        """Name of the generated file in ``crds/``."""
        return f"{self.kind.group}_{self.kind.plural}.yaml"

    def schema(self) -> Schema:
        """Structural schema of the whole object; the API server owns apiVersion, kind and metadata."""
        fields = self.model.model_fields
        root: Schema = {"description": " ".join((self.model.__doc__ or "").split()), "type": "object"}
        rules = getattr(self.model, "rules", ())
        if rules:
            root[VALIDATIONS] = [rule.to_schema() for rule in rules]
        root["required"] = ["spec"]
        root["properties"] = {
            "apiVersion": {"description": f"{self.kind.api_version}.", "type": "string"},
            "kind": {"description": f"{self.kind.kind}.", "type": "string"},
            # The API server refuses everything else here, even a description.
            "metadata": {"type": "object"},
        }
        for name in ("spec", "status"):
            if name in fields:
                model = fields[name].annotation
                if not (isinstance(model, type) and issubclass(model, BaseModel)):
                    raise TypeError(f"{self.kind.kind}.{name} is not a model but {model}")
                root["properties"][name] = structural(model)
        return root

    def manifest(self) -> dict[str, Any]:
        """The CustomResourceDefinition, ready for ``kubectl apply``."""
        version: dict[str, Any] = {
            "name": self.kind.version,
            "served": True,
            "storage": True,
            "additionalPrinterColumns": [column.to_manifest() for column in self.columns],
            "schema": {"openAPIV3Schema": self.schema()},
        }
        if self.has_status:
            version["subresources"] = {"status": {}}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.crd_name, "labels": {labels.APP_PART_OF: labels.PART_OF}},
            "spec": {
                "group": self.kind.group,
                "names": {
                    "kind": self.kind.kind,
                    "listKind": f"{self.kind.kind}List",
                    "plural": self.kind.plural,
                    "singular": self.kind.kind.lower(),
                    "shortNames": [self.short_name],
                    # Not `all`: a kind in it is deleted by `kubectl delete all --all`.
                    "categories": [labels.CATEGORY],
                },
                "scope": "Namespaced" if self.kind.namespaced else "Cluster",
                "versions": [version],
            },
        }

    def rules(self) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Every CEL rule as (path of its schema node, index there, rule)."""
        for path, node in walk(self.schema()):
            for index, rule in enumerate(node.get(VALIDATIONS, [])):
                yield path, index, rule


DEFINITIONS: tuple[Definition, ...] = (
    Definition(
        kinds.JIL_NETWORK,
        JILNetwork,
        "jnet",
        (
            Column("Chain ID", ".spec.chainId"),
            Column("Track", ".spec.track"),
            _READY,
            Column("Genesis", ".status.genesisHash", description="SHA-256 of the frozen genesis.", wide=True),
            _MESSAGE,
            _AGE,
        ),
    ),
    Definition(
        kinds.JIL_RELEASE,
        JILRelease,
        "jrel",
        (
            Column("Version", ".spec.version"),
            Column("Broker", ".spec.broker.flavour"),
            Column(
                "Trust",
                '.status.conditions[?(@.type=="ImageTrust")].reason',
                description="Whether every image is signed and approved.",
            ),
            Column(
                "Message",
                '.status.conditions[?(@.type=="ImageTrust")].message',
                description="Message of ImageTrust.",
                wide=True,
            ),
            _AGE,
        ),
    ),
    Definition(
        kinds.JIL_JURISDICTION,
        JILJurisdiction,
        "jj",
        (
            Column("Zone", ".spec.zone"),
            Column("Network", ".spec.network"),
            Column("Release", ".spec.release"),
            Column("Nodes", ".status.nodes", "integer", "JILNodes in the namespace."),
            Column("Ready", ".status.readyNodes", "integer", "JILNodes that are ready."),
            _MESSAGE,
            _AGE,
        ),
    ),
    Definition(
        kinds.JIL_NODE,
        JILNode,
        "jn",
        (
            Column("State", ".status.state", description="State that the node has reached."),
            Column("Phase", ".status.phase", description="One word derived from the conditions."),
            Column("Release", ".status.release", description="JILRelease that the node runs."),
            Column("Height", ".status.height", "integer", "Height of the chain, sampled about once a minute."),
            Column("Lag", ".status.lag", "integer", "Blocks behind the highest peer, sampled with the height."),
            Column("Peer ID", ".status.peerId", description="p2p id of the node.", wide=True),
            _MESSAGE,
            _AGE,
        ),
    ),
    Definition(
        kinds.JIL_NODE_RECORD,
        JILNodeRecord,
        "jrec",
        (
            Column("Node ID", ".spec.nodeId"),
            Column("Network", ".spec.network"),
            Column("Namespace", ".spec.owner.namespace", description="Namespace of the JILNode that holds the claim."),
            Column("Node", ".spec.owner.name", description="JILNode that holds the claim."),
            Column("Signed", ".spec.highestSignedHeight", "integer", "Highest height seen signed."),
            _AGE,
        ),
    ),
    Definition(
        kinds.JIL_OPERATION,
        JILOperation,
        "jop",
        (
            Column("Type", ".spec.type"),
            Column("Request", ".spec.requestId"),
            Column("By", ".spec.requestedBy", description="User who created it."),
            Column("Phase", ".status.phase", description="What became of it."),
            Column("Until", ".spec.breakGlass.until", description="End of a BreakGlass.", wide=True),
            Column("Reason", ".spec.reason", description="Why it was asked for.", wide=True),
            _MESSAGE,
            _AGE,
        ),
    ),
    Definition(
        kinds.JIL_IMAGE_ALLOW_LIST,
        JILImageAllowList,
        "jal",
        (
            Column("Network", ".spec.network"),
            Column("Policy", ".spec.policyHash", description="Hash of the policy that it was made by."),
            _AGE,
        ),
    ),
)


def definition(kind: str) -> Definition:
    """The definition of a kind by its name. Raises KeyError with the known names."""
    for candidate in DEFINITIONS:
        if candidate.kind.kind == kind:
            return candidate
    raise KeyError(f"no kind {kind!r}; there are {', '.join(d.kind.kind for d in DEFINITIONS)}")
