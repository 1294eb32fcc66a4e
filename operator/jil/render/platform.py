"""What the cluster that a node runs in adds to every pod: where images are pulled from, and who goes first.

These are settings of the operator and not of a node: two nodes of one cluster still differ only where AC-04 allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jil.api import labels
from jil.api.labels import Component

PRIORITY_CLASSES: Mapping[str, str] = {
    Component.VALIDATOR: "jil-validator",
    Component.DATABASE: "jil-database",
    Component.BROKER: "jil-broker",
    Component.CACHE: "jil-broker",
}
"""Component -> PriorityClass of chart jil-operator. When a machine runs out of memory its kubelet ends the services
first and the validator last: a validator that is evicted counts against the network's quorum, a service does not."""

SERVICE_PRIORITY_CLASS = "jil-service"
"""Of the catalogue's services and the health endpoint."""


@dataclass(frozen=True)
class Platform:
    """``image_mirror``: ``host[:port][/path]`` that stands for every registry; ``pull_secrets``: names of Secrets in the
    jurisdictions' namespaces; ``priority_classes``: whether the chart's classes are set on the pods; ``node_logins``:
    whether every node has a pull Secret of its own."""

    image_mirror: str | None = None
    pull_secrets: tuple[str, ...] = ()
    priority_classes: bool = False
    node_logins: bool = False

    def image(self, reference: str) -> str:
        """The image as it is pulled here: the registry's host is replaced, path and digest stay, so it is the same
        image whoever hands it out."""
        if not self.image_mirror:
            return reference
        host, slash, rest = reference.partition("/")
        named = bool(slash) and ("." in host or ":" in host or host == "localhost")
        # Without a host a name belongs to Docker's own registry; its path is whole already.
        return f"{self.image_mirror.rstrip('/')}/{rest if named else reference}"

    def pod_fields(self, node: str, component: str) -> dict[str, object]:
        """Fields of the spec of a pod of JILNode ``node``; empty when nothing is set."""
        fields: dict[str, object] = {}
        own = (labels.pull_secret(node),) if self.node_logins else ()
        if own or self.pull_secrets:
            fields["imagePullSecrets"] = [{"name": name} for name in (*own, *self.pull_secrets)]
        if self.priority_classes:
            fields["priorityClassName"] = PRIORITY_CLASSES.get(component, SERVICE_PRIORITY_CLASS)
        return fields
