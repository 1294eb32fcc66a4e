"""The node's own broker, a cluster of one (architecture: event fabric). The release names the flavour.

``kafka`` is Apache Kafka, the stand-in that speaks the same protocol; ``redpanda`` is the real thing. Both listen on
9092 without TLS inside the namespace until the identity work gives certificates.
"""

from __future__ import annotations

import base64
import hashlib

import yaml

from jil.api import labels
from jil.render import pods, stateful
from jil.render.context import NodeContext, Object
from jil.render.meta import content_named_config
from jil.render.templates import render_text

PORT = labels.BROKER_PORT
COMPONENT = "broker"

_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://:9092,CONTROLLER://127.0.0.1:9093
advertised.listeners=PLAINTEXT://{{ advertised }}:9092
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=/var/lib/jil/kafka
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size={{ cleaner_buffer_bytes }}
"""


def kafka_cluster_id(ctx: NodeContext) -> str:
    """A KRaft cluster id (22 characters of URL-safe base64), the same for a node for ever: its storage is formatted
    with it once and refuses any other."""
    digest = hashlib.sha256(f"jil/broker/{ctx.network.chain_id}/{ctx.node.node_id}".encode()).digest()[:16]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _kafka_config(ctx: NodeContext) -> Object:
    return content_named_config(
        ctx,
        COMPONENT,
        {
            "server.properties": render_text(
                _SERVER_PROPERTIES,
                advertised=labels.child_name(ctx.name, COMPONENT),
                # Taken in one piece at the start; the default of 128 MiB does not fit into a small heap.
                cleaner_buffer_bytes=min(128, max(16, ctx.profile.broker_heap_mb // 8)) * 1024 * 1024,
            ),
            "cluster-id": kafka_cluster_id(ctx) + "\n",
        },
    )


def _probes() -> Object:
    return pods.probes(
        startup=pods.tcp_probe("kafka", period=2, failures=900),
        readiness=pods.tcp_probe("kafka", period=10, failures=3),
        liveness=pods.tcp_probe("kafka", period=20, failures=6),
    )


def _kafka_pod(ctx: NodeContext) -> Object:
    container = pods.container(
        ctx,
        COMPONENT,
        ctx.release.images.broker.image,
        command=["/usr/local/bin/jil-broker"],
        env=[{"name": "KAFKA_HEAP_OPTS", "value": f"-Xms64m -Xmx{ctx.profile.broker_heap_mb}m"}],
        ports={"kafka": PORT},
        resources=ctx.profile.broker,
        probes=_probes(),
        mounts=[
            pods.mount("data", "/var/lib/jil", read_only=False),
            pods.mount("tmp", "/tmp", read_only=False),  # noqa: S108  a mount path
            pods.mount("config", "/etc/jil/config"),
        ],
    )
    return {"containers": [container]}


def _redpanda_config(ctx: NodeContext) -> Object:
    host = labels.child_name(ctx.name, COMPONENT)
    redpanda_yaml = {
        "redpanda": {
            "data_directory": "/var/lib/redpanda/data",
            "empty_seed_starts_cluster": False,
            "seed_servers": [{"host": {"address": "127.0.0.1", "port": 33145}}],
            "rpc_server": {"address": "127.0.0.1", "port": 33145},
            "advertised_rpc_api": {"address": "127.0.0.1", "port": 33145},
            "admin": [{"name": "admin", "address": "127.0.0.1", "port": 9644}],
            "kafka_api": [{"name": "internal", "address": "0.0.0.0", "port": PORT}],
            "advertised_kafka_api": [{"name": "internal", "address": host, "port": PORT}],
        },
        "rpk": {"overprovisioned": True, "tune_aio_events": False},
    }
    # Read only at the first start of the cluster; a surviving volume means that it is ignored.
    bootstrap_yaml = {
        "auto_create_topics_enabled": False,
        "default_topic_replications": 1,
        "internal_topic_replication_factor": 1,
        "partition_autobalancing_mode": "node_add",
        "core_balancing_continuous": False,
    }
    return content_named_config(
        ctx,
        COMPONENT,
        {
            "redpanda.yaml": yaml.safe_dump(redpanda_yaml, sort_keys=True),
            ".bootstrap.yaml": yaml.safe_dump(bootstrap_yaml, sort_keys=True),
        },
    )


def _redpanda_pod(ctx: NodeContext) -> Object:
    image = ctx.release.images.broker.image
    copy = "cp /etc/jil/config/redpanda.yaml /etc/jil/config/.bootstrap.yaml /etc/redpanda/"
    # rpk rewrites redpanda.yaml at every start: it needs a writable copy, not the ConfigMap's mount.
    configurator = pods.container(
        ctx,
        "configurator",
        image,
        command=["/bin/sh", "-c", copy],
        resources=ctx.profile.cache,
        mounts=[pods.mount("etc", "/etc/redpanda", read_only=False), pods.mount("config", "/etc/jil/config")],
    )
    container = pods.container(
        ctx,
        COMPONENT,
        image,
        command=[
            "rpk",
            "redpanda",
            "start",
            "--smp=1",
            f"--memory={_seastar_memory(ctx)}",
            "--reserve-memory=0M",
            "--lock-memory=false",
            "--default-log-level=info",
        ],
        ports={"kafka": PORT},
        resources=ctx.profile.broker,
        probes=_probes(),
        mounts=[
            pods.mount("data", "/var/lib/redpanda/data", read_only=False),
            pods.mount("etc", "/etc/redpanda", read_only=False),
            pods.mount("tmp", "/tmp", read_only=False),  # noqa: S108  a mount path
        ],
    )
    return {
        "securityContext": pods.pod_security_context(pods.REDPANDA_UID),
        "initContainers": [configurator],
        "containers": [container],
    }


def _seastar_memory(ctx: NodeContext) -> str:
    """Nine tenths of the limit for Seastar, the rest for everything else in the container; in MiB."""
    memory = ctx.profile.broker.memory
    mib = int(memory[:-2]) * (1024 if memory.endswith("Gi") else 1)
    return f"{mib * 9 // 10}M"


def objects(ctx: NodeContext) -> list[Object]:
    kafka = ctx.release.broker.flavour == "kafka"
    return stateful.objects(
        ctx,
        COMPONENT,
        config=_kafka_config(ctx) if kafka else _redpanda_config(ctx),
        pod=_kafka_pod(ctx) if kafka else _redpanda_pod(ctx),
        port=("kafka", PORT),
        scratch={"tmp": "256Mi"} if kafka else {"etc": "16Mi", "tmp": "256Mi"},
        grace_seconds=90,
    )


def client_env(ctx: NodeContext) -> list[Object]:
    seeds = f"{labels.child_name(ctx.name, COMPONENT)}:{PORT}"
    return [{"name": "JIL_BROKER_SEEDS", "value": seeds}, {"name": "REDPANDA_SEEDS", "value": seeds}]
