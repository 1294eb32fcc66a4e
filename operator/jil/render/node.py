"""A whole node: every object that belongs to a JILNode, except its Secrets (those are made once, see cluster/)."""

from __future__ import annotations

from collections.abc import Mapping

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


def with_replicas(rendered: list[Object], replicas: Mapping[str, int]) -> list[Object]:
    """The same objects with these replica counts; a workload that is not named keeps its declared one."""

    def differs(o: Object) -> bool:
        name = o["metadata"]["name"]
        return o["kind"] in WORKLOAD_KINDS and name in replicas and o["spec"]["replicas"] != replicas[name]

    return [
        {**o, "spec": {**o["spec"], "replicas": replicas[o["metadata"]["name"]]}} if differs(o) else o for o in rendered
    ]


def workloads(rendered: list[Object]) -> list[Object]:
    return [o for o in rendered if o["kind"] in WORKLOAD_KINDS]
