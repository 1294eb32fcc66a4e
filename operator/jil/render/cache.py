"""Redis: the node's cache. One ACL user, the default user off, append-only file on the node's volume."""

from __future__ import annotations

from jil.api import labels
from jil.render import pods
from jil.render.context import NodeContext, Object
from jil.render.meta import content_named_config, identity_env
from jil.render.templates import render_text

PORT = labels.CACHE_PORT
USER = "jil"
COMPONENT = "cache"

_REDIS_CONF = """\
bind * -::*
port 6379
protected-mode no
dir /var/lib/jil
aclfile /run/jil/users.acl
appendonly yes
appendfsync everysec
maxmemory {{ max_memory_mb }}mb
maxmemory-policy volatile-lru
daemonize no
logfile ""
"""


def config(ctx: NodeContext) -> Object:
    return content_named_config(
        ctx, COMPONENT, {"redis.conf": render_text(_REDIS_CONF, max_memory_mb=ctx.profile.cache_max_memory_mb)}
    )


def objects(ctx: NodeContext) -> list[Object]:
    cfg = config(ctx)
    pod_spec: Object = {
        "containers": [
            {
                "name": COMPONENT,
                "image": ctx.release.images.cache.image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/usr/local/bin/jil-cache"],
                "env": identity_env(ctx),
                "ports": [{"name": "redis", "containerPort": PORT, "protocol": "TCP"}],
                "resources": ctx.profile.cache.as_requirements(),
                "securityContext": pods.container_security_context(),
                **pods.probes(
                    startup=pods.tcp_probe("redis", period=2, failures=300),
                    readiness=pods.tcp_probe("redis", period=10, failures=3),
                    liveness=pods.tcp_probe("redis", period=20, failures=6),
                ),
                "volumeMounts": [
                    pods.mount("data", "/var/lib/jil", read_only=False),
                    pods.mount("run", "/run/jil", read_only=False),
                    pods.mount("tmp", "/tmp", read_only=False),  # noqa: S108  a mount path
                    pods.mount("config", "/etc/jil/config"),
                    pods.mount("credentials", "/etc/jil/credentials"),
                ],
            }
        ],
        "volumes": [
            pods.pvc_volume(ctx, COMPONENT),
            pods.empty_dir("run", "16Mi"),
            pods.empty_dir("tmp", "64Mi"),
            pods.config_volume("config", cfg["metadata"]["name"]),
            pods.secret_volume("credentials", labels.credentials_secret(ctx.name), ["cache-password"]),
        ],
    }
    return [
        cfg,
        pods.service(ctx, labels.child_name(ctx.name, COMPONENT), COMPONENT, {"redis": (PORT, "redis")}),
        pods.stateful_set(ctx, COMPONENT, pod_spec=pod_spec, grace_seconds=30),
    ]


def client_env(ctx: NodeContext) -> list[Object]:
    return [
        {"name": "JIL_CACHE_HOST", "value": labels.child_name(ctx.name, COMPONENT)},
        {"name": "JIL_CACHE_PORT", "value": str(PORT)},
        {"name": "JIL_CACHE_USER", "value": USER},
        pods.secret_env("JIL_CACHE_PASSWORD", labels.credentials_secret(ctx.name), "cache-password"),
    ]
