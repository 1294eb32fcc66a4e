"""A whole node: every object that belongs to a JILNode, except its Secrets (those are made once, see cluster/)."""

from __future__ import annotations

from jil.render import broker, cache, database, policies, services, storage, validator
from jil.render.context import NodeContext, Object


def objects(ctx: NodeContext) -> list[Object]:
    """All children in the order in which they are applied: what others refer to comes first."""
    made = [*policies.objects(ctx), *storage.objects(ctx), *database.objects(ctx), *cache.objects(ctx)]
    made += broker.objects(ctx)
    if ctx.node.validator.enabled:
        made += validator.objects(ctx)
    made += services.health_objects(ctx)
    for item in ctx.release.services:
        made += services.service_objects(ctx, item)
    return made


WORKLOAD_KINDS = ("StatefulSet", "Deployment")


def workloads(rendered: list[Object]) -> list[Object]:
    return [o for o in rendered if o["kind"] in WORKLOAD_KINDS]
