"""Pod parts that every component shares: the restricted security context, probes, StatefulSets of one, Services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jil.api import labels
from jil.render.context import NodeContext, Object
from jil.render.meta import common_labels, identity_env, metadata, selector
from jil.render.profiles import Resources

NEEDS_LABEL_PREFIX = "jil.io/needs-"
"""Pod label per needed component (``jil.io/needs-database: "true"``); the network policies select by it."""

UID = 10001
"""uid and gid of every image of ours (images/*/Containerfile)."""
REDPANDA_UID = 101
"""uid and gid inside Redpanda's own image (operands: chart values)."""


def pod_security_context(uid: int = UID) -> Object:
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "fsGroup": uid,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security_context() -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def tcp_probe(port: str, *, period: int, failures: int, timeout: int = 2) -> Object:
    return {
        "tcpSocket": {"port": port},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }


def http_probe(port: str, path: str, *, period: int, failures: int, timeout: int = 2) -> Object:
    return {
        "httpGet": {"port": port, "path": path},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }


def exec_probe(command: Sequence[str], *, period: int, failures: int, timeout: int = 5) -> Object:
    """Only for small native programs (pg_isready): an interpreter started every few seconds is a load of its own."""
    return {
        "exec": {"command": list(command)},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }


def probes(startup: Object, readiness: Object, liveness: Object) -> Object:
    """Liveness asks only whether the process answers: no restart may depend on peers or on progress."""
    return {"startupProbe": startup, "readinessProbe": readiness, "livenessProbe": liveness}


def container(
    ctx: NodeContext,
    name: str,
    image: str,
    *,
    resources: Resources,
    mounts: Sequence[Object],
    command: Sequence[str] = (),
    env: Sequence[Object] = (),
    ports: Mapping[str, int] | None = None,
    probes: Object | None = None,
) -> Object:
    """A restricted container with the node's three identity values before its own ``env``. ``ports``: name -> number."""
    made: Object = {"name": name, "image": ctx.platform.image(image), "imagePullPolicy": "IfNotPresent"}
    if command:
        made["command"] = list(command)
    made["env"] = [*identity_env(ctx), *env]
    if ports:
        made["ports"] = [{"name": n, "containerPort": number, "protocol": "TCP"} for n, number in ports.items()]
    made["resources"] = resources.as_requirements()
    made["securityContext"] = container_security_context()
    made.update(probes or {})
    made["volumeMounts"] = list(mounts)
    return made


def needs_labels(needs: Sequence[str]) -> dict[str, str]:
    """Pod labels that the network policies of the needed components select."""
    return {f"{NEEDS_LABEL_PREFIX}{need}": "true" for need in sorted(needs)}


def stateful_set(
    ctx: NodeContext,
    component: str,
    *,
    pod_spec: Object,
    grace_seconds: int,
    pod_labels: Mapping[str, str] | None = None,
) -> Object:
    """A StatefulSet of one, armed: ``partition: 1`` keeps a changed template from moving any pod, and brings an evicted
    pod back with the OLD one. Only a grant disarms it."""
    name = labels.child_name(ctx.name, component)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(ctx, name, component),
        "spec": {
            "replicas": 1,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "selector": {"matchLabels": selector(ctx, component)},
            "template": {
                "metadata": {"labels": {**common_labels(ctx, component), **(pod_labels or {})}},
                "spec": {**base_pod_spec(ctx, component), "terminationGracePeriodSeconds": grace_seconds, **pod_spec},
            },
        },
    }


def base_pod_spec(ctx: NodeContext, component: str) -> Object:
    """What every pod has; ``component`` decides its priority."""
    spec: Object = {
        **ctx.platform.pod_fields(ctx.name, component),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(),
        "affinity": {
            "podAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 10,
                        "podAffinityTerm": {
                            "topologyKey": "topology.kubernetes.io/zone",
                            "labelSelector": {"matchLabels": {labels.NODE: ctx.name}},
                        },
                    }
                ]
            }
        },
    }
    if ctx.node.placement.node_selector:
        spec["nodeSelector"] = dict(sorted(ctx.node.placement.node_selector.items()))
    return spec


def service(
    ctx: NodeContext,
    name: str,
    component: str,
    ports: Mapping[str, tuple[int, str]],
    *,
    publish_not_ready: bool = False,
    extra_selector: Mapping[str, str] | None = None,
    cluster_ip: str | None = None,
) -> Object:
    """A ClusterIP Service. ``ports``: name -> (port, target port name)."""
    spec: Object = {
        "type": "ClusterIP",
        "selector": {**selector(ctx, component), **(extra_selector or {})},
        "ports": [
            {"name": port_name, "port": port, "targetPort": target, "protocol": "TCP"}
            for port_name, (port, target) in ports.items()
        ],
    }
    if publish_not_ready:
        spec["publishNotReadyAddresses"] = True
    if cluster_ip:
        spec["clusterIP"] = cluster_ip
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(ctx, name, component), "spec": spec}


def pvc_volume(ctx: NodeContext, component: str) -> Object:
    return {"name": "data", "persistentVolumeClaim": {"claimName": labels.child_name(ctx.name, component)}}


def secret_volume(name: str, secret_name: str, keys: Sequence[str]) -> Object:
    """Only the named keys, readable by the pod's group."""
    return {
        "name": name,
        "secret": {
            "secretName": secret_name,
            "defaultMode": 0o440,
            "items": [{"key": key, "path": key} for key in keys],
        },
    }


def config_volume(name: str, config_map_name: str) -> Object:
    return {"name": name, "configMap": {"name": config_map_name, "defaultMode": 0o444}}


def empty_dir(name: str, size: str) -> Object:
    return {"name": name, "emptyDir": {"sizeLimit": size}}


def mount(name: str, path: str, *, read_only: bool = True) -> Object:
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


def secret_env(name: str, secret_name: str, key: str) -> Object:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret_name, "key": key}}}
