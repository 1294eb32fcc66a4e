"""Persistent volume claims, by name and one per stateful component. Never volumeClaimTemplates: those cannot grow."""

from __future__ import annotations

from jil.api import labels
from jil.api.labels import Component
from jil.render.context import NodeContext, Object
from jil.render.meta import metadata


def components(ctx: NodeContext) -> tuple[Component, ...]:
    """The components of this node that have a volume."""
    return tuple(c for c in ctx.node.components if c in labels.STATEFUL)


def claim(ctx: NodeContext, component: Component) -> Object:
    """The claim of one component. The validator's is ReadWriteOncePod: a second pod cannot even mount it."""
    spec: Object = {
        "accessModes": ["ReadWriteOncePod" if component is Component.VALIDATOR else "ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": ctx.node.storage.size(component)}},
    }
    if ctx.node.storage.storage_class_name:
        spec["storageClassName"] = ctx.node.storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(ctx, labels.child_name(ctx.name, component), component),
        "spec": spec,
    }


def objects(ctx: NodeContext) -> list[Object]:
    return [claim(ctx, component) for component in components(ctx)]
