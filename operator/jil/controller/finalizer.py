"""What holds a deleted JILNode until its workloads are down in order, under grants."""

from __future__ import annotations

from typing import Final

from jil.api import kinds
from jil.api.node import JILNode
from jil.cluster.client import KubeClient, Manifest

FINALIZER: Final = "jil.io/node"


def held(node: JILNode) -> bool:
    """Whether the API server keeps the JILNode for us."""
    return FINALIZER in node.metadata.finalizers


async def add(client: KubeClient, node: JILNode) -> Manifest:
    """The JILNode as it is with our finalizer. Raises Conflict when it is not at the version of ``node`` any more."""
    return await _patch(client, node, "add", [*node.metadata.finalizers, FINALIZER])


async def remove(client: KubeClient, node: JILNode) -> None:
    """Lets the JILNode go; finalizers of others stay. Raises Conflict as ``add``."""
    await _patch(client, node, "replace", [each for each in node.metadata.finalizers if each != FINALIZER])


async def _patch(client: KubeClient, node: JILNode, op: str, finalizers: list[str]) -> Manifest:
    return await client.json_patch(
        kinds.JIL_NODE,
        node.name,
        node.metadata.namespace,
        [{"op": op, "path": "/metadata/finalizers", "value": finalizers}],
        resource_version=node.metadata.resource_version,
    )
