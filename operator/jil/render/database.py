"""PostgreSQL: one instance per node, checksums on, SCRAM only, superuser over the local socket alone."""

from __future__ import annotations

from jil.api import labels
from jil.render import pods, stateful
from jil.render.context import NodeContext, Object
from jil.render.meta import content_named_config
from jil.render.templates import render_text

PORT = labels.DATABASE_PORT
DATABASE = "jil"
APP_USER = "jil_app"
HEALTH_USER = "jil_health"
COMPONENT = "database"

_POSTGRESQL_CONF = """\
listen_addresses = '*'
port = 5432
unix_socket_directories = '/run/jil'
hba_file = '/etc/jil/config/pg_hba.conf'
password_encryption = 'scram-sha-256'
shared_buffers = '{{ shared_buffers_mb }}MB'
max_connections = 200
dynamic_shared_memory_type = posix
wal_level = replica
max_wal_size = '1GB'
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = on
log_connections = off
log_lock_waits = on
"""

# The superuser exists on the socket inside the pod only; over the network there are the two roles that are needed.
_PG_HBA_CONF = """\
local all       postgres                 peer
host  {{ database }} {{ app_user }}    all scram-sha-256
host  all {{ health_user }} all scram-sha-256
"""


def config(ctx: NodeContext) -> Object:
    return content_named_config(
        ctx,
        COMPONENT,
        {
            "postgresql.conf": render_text(_POSTGRESQL_CONF, shared_buffers_mb=ctx.profile.shared_buffers_mb),
            "pg_hba.conf": render_text(_PG_HBA_CONF, database=DATABASE, app_user=APP_USER, health_user=HEALTH_USER),
        },
    )


def objects(ctx: NodeContext) -> list[Object]:
    ready = ["pg_isready", "-q", "-h", "/run/jil", "-p", str(PORT)]
    container = pods.container(
        ctx,
        COMPONENT,
        ctx.release.images.database.image,
        command=["/usr/local/bin/jil-database"],
        ports={"postgres": PORT},
        resources=ctx.profile.database,
        probes=pods.probes(
            # Crash recovery may take minutes: the start has an hour before anybody restarts it.
            startup=pods.exec_probe(ready, period=2, failures=1800),
            readiness=pods.exec_probe(ready, period=10, failures=3),
            liveness=pods.tcp_probe("postgres", period=20, failures=6),
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
        port=("postgres", PORT),
        scratch={"run": "16Mi", "tmp": "256Mi"},
        credentials=["superuser-password", "app-password", "health-password"],
        # A fast shutdown ends sessions and writes a checkpoint: two minutes for a large shared_buffers.
        grace_seconds=120,
    )


def client_env(ctx: NodeContext, *, user: str, password_key: str) -> list[Object]:
    """Connection settings for a container of the same node."""
    return [
        {"name": "JIL_DATABASE_HOST", "value": labels.child_name(ctx.name, COMPONENT)},
        {"name": "JIL_DATABASE_PORT", "value": str(PORT)},
        {"name": "JIL_DATABASE_NAME", "value": DATABASE},
        {"name": "JIL_DATABASE_USER", "value": user},
        pods.secret_env("JIL_DATABASE_PASSWORD", labels.credentials_secret(ctx.name), password_key),
    ]
