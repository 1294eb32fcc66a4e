"""Objects of simulated machines: Kubernetes nodes, their heartbeats, the volumes on their disks. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

LEASES = "kube-node-lease"


def machine_name(number: int) -> str:
    """The name of the n-th simulated machine, from 1."""
    return f"sim-node-{number}"


def machine_ip(number: int) -> str:
    """An address from the documentation range (RFC 5737): nothing ever connects to it."""
    return f"192.0.2.{number}"


def kubernetes_node(number: int) -> Object:
    """The Node object, as a kubelet registers itself."""
    name = machine_name(number)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "jil.io/simulated": "true"}},
    }


def node_status(number: int, now: datetime) -> Object:
    """The status of a machine that is well."""
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    well = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )
    return {
        "conditions": [
            {
                "type": type_,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": stamp,
                "lastTransitionTime": stamp,
            }
            for type_, status, reason, message in well
        ],
        "addresses": [{"type": "InternalIP", "address": machine_ip(number)}],
        "capacity": {"cpu": "64", "memory": "256Gi", "pods": "2000"},
        "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "2000"},
    }


def reports(node: Object) -> bool:
    """Whether the API server takes the machine for one that is well."""
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def lease(number: int, now: datetime) -> Object:
    """The heartbeat that the node lifecycle controller looks for."""
    name = machine_name(number)
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASES},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": 40,
            "renewTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }


def volume(claim: Object, machine: str) -> Object:
    """A volume for the claim on the machine's own disk, as a local provisioner makes it."""
    meta = claim["metadata"]
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [machine]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"sim-{meta['uid']}"},
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": claim["spec"].get("storageClassName", ""),
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "local": {"path": "/sim"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
        },
    }


def warning(pod: Object, reason: str, message: str, component: str, now: datetime) -> Object:
    """A Warning Event about the pod with the metadata ``pod``, as a kubelet or the scheduler writes it."""
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    reference = {"apiVersion": "v1", "kind": "Pod", "name": pod["name"], "namespace": pod["namespace"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{pod['name']}.", "namespace": pod["namespace"]},
        "involvedObject": {**reference, "uid": pod["uid"]},
        "reason": reason,
        "message": message[:1000],
        "type": "Warning",
        "source": {"component": component},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
