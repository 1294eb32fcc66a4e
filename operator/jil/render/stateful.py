"""The shape that database, cache and broker share: one configuration, one Service, a StatefulSet of one with its volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jil.api import labels
from jil.render import pods
from jil.render.context import NodeContext, Object


def objects(
    ctx: NodeContext,
    component: str,
    *,
    config: Object,
    pod: Object,
    port: tuple[str, int],
    scratch: Mapping[str, str],
    credentials: Sequence[str] = (),
    grace_seconds: int,
) -> list[Object]:
    """Configuration, Service and StatefulSet of ``component``.

    ``pod``: its containers, and what else differs from the ordinary. ``port``: (name, number) of the one port.
    ``scratch``: emptyDir -> size. ``credentials``: keys of the node's credentials that the pod may read, as files.
    """
    volumes = [
        pods.pvc_volume(ctx, component),
        *(pods.empty_dir(name, size) for name, size in scratch.items()),
        pods.config_volume("config", config["metadata"]["name"]),
    ]
    if credentials:
        volumes.append(pods.secret_volume("credentials", labels.credentials_secret(ctx.name), credentials))
    name, number = port
    return [
        config,
        pods.service(ctx, labels.child_name(ctx.name, component), component, {name: (number, name)}),
        pods.stateful_set(ctx, component, pod_spec={**pod, "volumes": volumes}, grace_seconds=grace_seconds),
    ]
