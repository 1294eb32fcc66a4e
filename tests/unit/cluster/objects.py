"""Objects as the API server returns them, managedFields included, for tests of comparison."""

from __future__ import annotations

import copy
from typing import Any

Manifest = dict[str, Any]


def statefulset(**spec: Any) -> Manifest:
    """An intent: an armed StatefulSet of one with one container."""
    container = {
        "name": "main",
        "image": "repo/a@sha256:1",
        "args": ["run", "--fast"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "node-database", "namespace": "jil-x", "labels": {"jil.io/node": "node"}},
        "spec": {
            "replicas": 1,
            "serviceName": "node-database",
            "selector": {"matchLabels": {"app": "x"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]},
            },
            **spec,
        },
    }


#: What the API server wrote for the intent above when it was applied (recorded from Kubernetes 1.36).
APPLIED_TREE: Manifest = {
    "f:metadata": {"f:annotations": {"f:jil.io/applied": {}}, "f:labels": {"f:jil.io/node": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:selector": {},
        "f:serviceName": {},
        "f:template": {
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {
                "f:containers": {
                    'k:{"name":"main"}': {
                        ".": {},
                        "f:args": {},
                        "f:env": {
                            'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}},
                            'k:{"name":"B"}': {".": {}, "f:name": {}, "f:value": {}},
                        },
                        "f:image": {},
                        "f:name": {},
                        "f:ports": {
                            'k:{"containerPort":8080,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:name": {}}
                        },
                        "f:resources": {"f:requests": {"f:cpu": {}, "f:memory": {}}},
                        "f:volumeMounts": {'k:{"mountPath":"/data"}': {".": {}, "f:mountPath": {}, "f:name": {}}},
                    }
                },
                "f:volumes": {'k:{"name":"data"}': {".": {}, "f:emptyDir": {}, "f:name": {}}},
            },
        },
        "f:updateStrategy": {"f:rollingUpdate": {"f:partition": {}}, "f:type": {}},
    },
}


def entry(manager: str, tree: Manifest, operation: str = "Update", subresource: str = "") -> Manifest:
    """One entry of managedFields."""
    made = {
        "manager": manager,
        "operation": operation,
        "apiVersion": "apps/v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": tree,
    }
    return made | ({"subresource": subresource} if subresource else {})


def stored(intent: Manifest, applied: str, *others: Manifest, tree: Manifest | None = None) -> Manifest:
    """``intent`` as the server keeps it: defaults filled in, quantities canonical, owned by us and ``others``."""
    live = copy.deepcopy(intent)
    metadata = live["metadata"]
    metadata |= {"uid": "uid-1", "resourceVersion": "10", "generation": 1}
    metadata["annotations"] = {**metadata.get("annotations", {}), "jil.io/applied": applied}
    metadata["managedFields"] = [entry("jil-operator", copy.deepcopy(tree or APPLIED_TREE), "Apply"), *others]
    pod = live["spec"]["template"]["spec"]
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "securityContext": {}, "schedulerName": "default"}
    for container in pod["containers"]:
        container |= {"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}
        for port in container.get("ports", []):
            port["protocol"] = "TCP"
        if container.get("resources", {}).get("requests") == {"cpu": "1000m", "memory": "1024Mi"}:
            container["resources"]["requests"] = {"cpu": "1", "memory": "1Gi"}
    live["spec"] |= {"revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady"}
    live["status"] = {"replicas": 1}
    return live
