"""Names, labels and selectors of a node's children."""

from __future__ import annotations

from collections.abc import Mapping

from jil.api import labels
from jil.render.context import NodeContext, Object


def selector(ctx: NodeContext, component: str) -> dict[str, str]:
    """The immutable selector of a component's pods: it names node and component, never a UID (a re-applied JILNode
    has a new one and must find its StatefulSets again)."""
    return labels.selector_labels(node=ctx.name, component=component)


def common_labels(ctx: NodeContext, component: str) -> dict[str, str]:
    """Labels of objects and pod templates alike."""
    return labels.pod_labels(
        node=ctx.name, component=component, network=ctx.network_name, jurisdiction=ctx.jurisdiction_name
    )


def metadata(ctx: NodeContext, name: str, component: str, extra_labels: Mapping[str, str] | None = None) -> Object:
    """Metadata of a child. It carries the JILNode's UID as a label instead of an ownerReference: foreground deletion of
    an owner would take pods down while our finalizer still holds the JILNode."""
    return {
        "name": name,
        "namespace": ctx.namespace,
        "labels": {**common_labels(ctx, component), labels.NODE_UID: ctx.uid, **(extra_labels or {})},
    }


def identity_env(ctx: NodeContext) -> list[Object]:
    """The three values that are unique to a node (AC-04), in every container."""
    return [
        {"name": "JIL_NODE_ID", "value": ctx.node.node_id},
        {"name": "JIL_REGION", "value": ctx.node.region},
        {"name": "JIL_JURISDICTION", "value": ctx.jurisdiction.zone},
    ]


def content_named_config(ctx: NodeContext, component: str, data: Mapping[str, str]) -> Object:
    """An immutable ConfigMap whose name carries its content's hash.

    A template refers to exactly one content, so a pod that is evicted while a change is armed comes back with the old
    configuration as well as the old template.
    """
    content = "".join(f"{key}\0{data[key]}\0" for key in sorted(data))
    name = labels.config_map(ctx.name, component, content)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(ctx, name, component),
        "immutable": True,
        "data": dict(sorted(data.items())),
    }
