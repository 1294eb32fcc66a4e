"""The application services of the release and the node health endpoint: Deployments that roll by their own strategy."""

from __future__ import annotations

from collections.abc import Sequence

from jil.api import labels
from jil.api.release import Service as ReleaseService
from jil.render import broker, cache, database, pods, validator
from jil.render.context import NodeContext, Object
from jil.render.meta import common_labels, metadata, selector
from jil.render.profiles import Resources

HEALTH = "health"
HEALTH_PORT = labels.HEALTH_PORT


def _needs_env(ctx: NodeContext, needs: Sequence[str], *, database_user: str, password_key: str) -> list[Object]:
    env: list[Object] = []
    if "database" in needs:
        env += database.client_env(ctx, user=database_user, password_key=password_key)
    if "cache" in needs:
        env += cache.client_env(ctx)
    if "broker" in needs:
        env += broker.client_env(ctx)
    if "chain" in needs and ctx.node.validator.enabled:
        env += validator.client_env(ctx)
    return env


def _deployment(
    ctx: NodeContext,
    component: str,
    container: Object,
    *,
    replicas: int,
    needs: Sequence[str],
    volumes: list[Object],
    serving: bool,
) -> Object:
    name = labels.child_name(ctx.name, component)
    pod_labels = {**common_labels(ctx, component), **pods.needs_labels(needs)}
    if serving:
        # In the Service's selector: drain flips it on the live pod.
        pod_labels[labels.SERVING] = "true"
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(ctx, name, component),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector(ctx, component)},
            "template": {
                "metadata": {"labels": pod_labels},
                "spec": {
                    **pods.base_pod_spec(ctx, component),
                    "terminationGracePeriodSeconds": 40,
                    "containers": [container],
                    "volumes": volumes,
                },
            },
        },
    }


def _http_probes() -> Object:
    return pods.probes(
        startup=pods.http_probe("http", "/livez", period=2, failures=300),
        readiness=pods.http_probe("http", "/readyz", period=10, failures=3, timeout=5),
        liveness=pods.http_probe("http", "/livez", period=20, failures=6, timeout=5),
    )


def _service_resources(ctx: NodeContext, item: ReleaseService) -> Resources:
    override = ctx.node.override(item.name)
    base = ctx.profile.service
    cpu, memory = base.cpu, base.memory
    for source in (item.resources, override.resources if override else None):
        if source:
            cpu, memory = source.cpu or cpu, source.memory or memory
    return Resources(cpu, memory)


def service_objects(ctx: NodeContext, item: ReleaseService) -> list[Object]:
    """Deployment and Service of one service. The node may override replicas and resources, never the image."""
    name = labels.child_name(ctx.name, item.name)
    container = pods.container(
        ctx,
        item.name,
        item.image.image,
        env=[
            {"name": "JIL_COMPLIANCE_FILE", "value": "/etc/jil/compliance/compliance.json"},
            {"name": "JIL_PORT", "value": str(item.port)},
            *_needs_env(ctx, item.needs, database_user=database.APP_USER, password_key="app-password"),  # noqa: S106
        ],
        ports={"http": item.port},
        resources=_service_resources(ctx, item),
        # Endpoints need a moment to forget a pod that is going away.
        probes={**_http_probes(), "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
        mounts=[
            pods.mount("tmp", "/tmp", read_only=False),  # noqa: S108  a mount path
            pods.mount("compliance", "/etc/jil/compliance"),
        ],
    )
    if item.command:
        container["command"] = list(item.command)
    if item.args:
        container["args"] = list(item.args)
    return [
        pods.service(ctx, name, item.name, {"http": (80, "http")}, extra_selector={labels.SERVING: "true"}),
        _deployment(
            ctx,
            item.name,
            container,
            replicas=ctx.node.replicas(item),
            needs=item.needs,
            volumes=[pods.empty_dir("tmp", "128Mi"), pods.config_volume("compliance", labels.COMPLIANCE_CONFIG_MAP)],
            serving=True,
        ),
    ]


def health_objects(ctx: NodeContext) -> list[Object]:
    """The node health endpoint: it reads database, cache, broker and chain from inside the node, so that the operator
    never logs in to a node's database."""
    needs = ["database", "cache", "broker", *(["chain"] if ctx.node.validator.enabled else [])]
    container = pods.container(
        ctx,
        HEALTH,
        ctx.release.images.health.image,
        command=["python", "-m", "jil.node.health"],
        env=_needs_env(
            ctx,
            needs,
            database_user=database.HEALTH_USER,
            password_key="health-password",  # noqa: S106  the key's name in the Secret
        ),
        ports={"http": HEALTH_PORT},
        resources=ctx.profile.health,
        probes=pods.probes(
            startup=pods.http_probe("http", "/livez", period=2, failures=300),
            readiness=pods.http_probe("http", "/livez", period=10, failures=3),
            liveness=pods.http_probe("http", "/livez", period=20, failures=6),
        ),
        mounts=[pods.mount("tmp", "/tmp", read_only=False)],  # noqa: S108  a mount path
    )
    return [
        pods.service(ctx, labels.child_name(ctx.name, HEALTH), HEALTH, {"http": (HEALTH_PORT, "http")}),
        _deployment(
            ctx,
            HEALTH,
            container,
            replicas=1,
            needs=needs,
            volumes=[pods.empty_dir("tmp", "64Mi")],
            serving=False,
        ),
    ]
