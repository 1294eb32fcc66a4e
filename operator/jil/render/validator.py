"""The CometBFT validator: the start guard, the armed StatefulSet, p2p and RPC Services, its disruption budget."""

from __future__ import annotations

import json

import tomli_w

from jil.api import labels
from jil.render import pods
from jil.render.context import NodeContext, Object
from jil.render.meta import content_named_config, metadata, selector

COMPONENT = "validator"
P2P_PORT = labels.P2P_PORT
RPC_PORT = labels.RPC_PORT
METRICS_PORT = 26660
HOME = "/var/lib/jil"


def comet_config(ctx: NodeContext) -> str:
    """config.toml. Missing keys take CometBFT's defaults; what is set here is set for a reason."""
    config: dict[str, object] = {
        "moniker": ctx.node.node_id,
        "db_backend": "goleveldb",  # the default differs between release lines: always written
        "log_level": "info",
        "log_format": "json",
        # The application answers for every peer that dials in, so members join and leave without a restart.
        "filter_peers": True,
        "genesis_file": "/etc/jil/genesis/genesis.json",
        "node_key_file": "/etc/jil/node-key/node_key.json",
        "priv_validator_key_file": "/etc/jil/validator-key/priv_validator_key.json",
        "priv_validator_state_file": "data/priv_validator_state.json",
        "rpc": {"laddr": f"tcp://0.0.0.0:{RPC_PORT}", "unsafe": False, "max_open_connections": 200},
        "p2p": {
            "laddr": f"tcp://0.0.0.0:{P2P_PORT}",
            "persistent_peers": ",".join(str(peer) for peer in ctx.dialled_peers),
            # Members are found by persistent_peers alone; a peer that is away is dialled again at least this often.
            "persistent_peers_max_dial_period": "15s",
            "pex": False,
            "addr_book_strict": False,  # cluster addresses are private ones
            "addr_book_file": "data/addrbook.json",
            "allow_duplicate_ip": True,  # masqueraded peers may share an address
            "max_num_inbound_peers": 120,
            "max_num_outbound_peers": 120,
        },
        "consensus": {
            "timeout_propose": f"{ctx.network.consensus.timeout_propose_ms}ms",
            "timeout_commit": f"{ctx.network.consensus.timeout_commit_ms}ms",
            "create_empty_blocks": True,
        },
        "instrumentation": {
            "prometheus": True,
            "prometheus_listen_addr": f":{METRICS_PORT}",
            "namespace": "cometbft",
        },
    }
    return tomli_w.dumps(config)


def config(ctx: NodeContext) -> Object:
    return content_named_config(ctx, COMPONENT, {"config.toml": comet_config(ctx)})


def peers_config(ctx: NodeContext) -> Object:
    """The allow-list of peer ids. The one mutable ConfigMap of a node: the validator reloads it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(ctx, labels.peers_config_map(ctx.name), COMPONENT),
        "data": {"peers.json": json.dumps({"peers": sorted(ctx.allowed_peer_ids)}, separators=(",", ":")) + "\n"},
    }


def p2p_service(ctx: NodeContext) -> Object:
    """Stable address for peers. Not-ready addresses are published, else a full restart deadlocks: readiness would need
    peers and peers would need readiness. CometBFT resolves names once, so the address must outlive the Service."""
    return pods.service(
        ctx,
        labels.p2p_service(ctx.name),
        COMPONENT,
        {"p2p": (P2P_PORT, "p2p")},
        publish_not_ready=True,
        cluster_ip=ctx.p2p_cluster_ip,
    )


def disruption_budget(ctx: NodeContext) -> Object:
    """No eviction of a healthy validator by anybody: the operator sees the drain and moves the pod under a grant."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(ctx, labels.child_name(ctx.name, COMPONENT), COMPONENT),
        "spec": {
            "maxUnavailable": 0,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(ctx, COMPONENT)},
        },
    }


def _affinity(ctx: NodeContext) -> Object:
    """Keeps validators of one network on different hosts, across namespaces."""
    term: Object = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {labels.APP_NAME: COMPONENT, labels.NETWORK: ctx.network_name}},
        "namespaceSelector": {"matchLabels": {labels.NETWORK: ctx.network_name}},
    }
    anti: Object
    if ctx.profile.require_host_spread:
        anti = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    else:
        anti = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    return {**pods.base_pod_spec(ctx, COMPONENT)["affinity"], "podAntiAffinity": anti}


def objects(ctx: NodeContext) -> list[Object]:
    cfg = config(ctx)
    image = ctx.release.images.validator.image
    # Holds the pod back until the operator permits exactly this pod (I1).
    guard = pods.container(
        ctx,
        "guard",
        image,
        command=[
            "/usr/local/bin/jil-validator",
            "guard",
            "--podinfo",
            "/etc/jil/podinfo/annotations",
            "--pod-uid",
            "$(POD_UID)",
            "--home",
            HOME,
        ],
        env=[{"name": "POD_UID", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}}],
        resources=ctx.profile.cache,
        mounts=[
            pods.mount("data", HOME, read_only=False),
            pods.mount("podinfo", "/etc/jil/podinfo"),
            pods.mount("validator-key", "/etc/jil/validator-key"),
        ],
    )
    main = pods.container(
        ctx,
        COMPONENT,
        image,
        command=[
            "/usr/local/bin/jil-validator",
            "start",
            "--home",
            HOME,
            "--config",
            "/etc/jil/config/config.toml",
        ],
        ports={"p2p": P2P_PORT, "rpc": RPC_PORT, "metrics": METRICS_PORT},
        resources=ctx.profile.validator,
        probes=pods.probes(
            startup=pods.http_probe("rpc", "/health", period=2, failures=900),
            readiness=pods.http_probe("rpc", "/health", period=10, failures=3),
            # The process answers, nothing more: a height that stands still is an alert, never a restart.
            liveness=pods.http_probe("rpc", "/health", period=20, failures=9, timeout=5),
        ),
        mounts=[
            pods.mount("data", HOME, read_only=False),
            pods.mount("tmp", "/tmp", read_only=False),  # noqa: S108  a mount path
            pods.mount("config", "/etc/jil/config"),
            pods.mount("genesis", "/etc/jil/genesis"),
            pods.mount("validator-key", "/etc/jil/validator-key"),
            pods.mount("node-key", "/etc/jil/node-key"),
            pods.mount("peers", "/etc/jil/peers"),
        ],
    )
    pod_spec: Object = {
        "affinity": _affinity(ctx),
        "initContainers": [guard],
        "containers": [main],
        "volumes": [
            pods.pvc_volume(ctx, COMPONENT),
            pods.empty_dir("tmp", "64Mi"),
            pods.config_volume("config", cfg["metadata"]["name"]),
            pods.config_volume("genesis", labels.genesis_config_map(ctx.network_name)),
            pods.config_volume("peers", labels.peers_config_map(ctx.name)),
            pods.secret_volume("validator-key", labels.validator_key_secret(ctx.name), ["priv_validator_key.json"]),
            pods.secret_volume("node-key", labels.node_key_secret(ctx.name), ["node_key.json"]),
            {
                "name": "podinfo",
                "downwardAPI": {
                    "defaultMode": 0o444,
                    "items": [
                        {
                            "path": "annotations",
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.annotations"},
                        }
                    ],
                },
            },
        ],
    }
    return [
        cfg,
        peers_config(ctx),
        p2p_service(ctx),
        pods.service(ctx, labels.rpc_service(ctx.name), COMPONENT, {"rpc": (RPC_PORT, "rpc")}),
        disruption_budget(ctx),
        pods.stateful_set(ctx, COMPONENT, pod_spec=pod_spec, grace_seconds=30),
    ]


def client_env(ctx: NodeContext) -> list[Object]:
    return [{"name": "JIL_RPC_URL", "value": f"http://{labels.rpc_service(ctx.name)}:{RPC_PORT}"}]
