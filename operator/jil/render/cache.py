"""Redis: the node's cache. One ACL user, the default user off, append-only file on the node's volume."""

from __future__ import annotations

from jil.api import labels
from jil.render import pods, stateful
from jil.render.context import NodeContext, Object
from jil.render.meta import content_named_config
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
    container = pods.container(
        ctx,
        COMPONENT,
        ctx.release.images.cache.image,
        command=["/usr/local/bin/jil-cache"],
        ports={"redis": PORT},
        resources=ctx.profile.cache,
        probes=pods.probes(
            startup=pods.tcp_probe("redis", period=2, failures=300),
            readiness=pods.tcp_probe("redis", period=10, failures=3),
            liveness=pods.tcp_probe("redis", period=20, failures=6),
        ),
        mounts=[
            pods.mount("data", "/var/lib/jil", read_only=False),
            pods.mount("run", "/run/jil", read_only=False),
            pods.mount("tmp", "/tmp", read_only=False),  # noqa: S108  a mount path
            pods.mount("config", "/etc/jil/config"),
            pods.mount("credentials", "/etc/jil/credentials"),
        ],
    )
    return stateful.objects(
        ctx,
        COMPONENT,
        config=config(ctx),
        pod={"containers": [container]},
        port=("redis", PORT),
        scratch={"run": "16Mi", "tmp": "64Mi"},
        credentials=["cache-password"],
        grace_seconds=30,
    )


def client_env(ctx: NodeContext) -> list[Object]:
    return [
        {"name": "JIL_CACHE_HOST", "value": labels.child_name(ctx.name, COMPONENT)},
        {"name": "JIL_CACHE_PORT", "value": str(PORT)},
        {"name": "JIL_CACHE_USER", "value": USER},
        pods.secret_env("JIL_CACHE_PASSWORD", labels.credentials_secret(ctx.name), "cache-password"),
    ]
