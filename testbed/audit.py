"""The API server's audit log: the policy that both rigs use, and a reader.

The log is evidence: tests map every disruptive request to a grant, count writes at rest, and compare the verbs that
were used with the verbs that the chart grants. So every request of everyone who is not the control plane itself is
recorded with user, userAgent, verb and objectRef, and every write also with what was sent (never Secrets or tokens).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CONTROL_PLANE = [
    "system:apiserver",
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:kube-proxy",
]
_WRITES = ["create", "update", "patch", "delete", "deletecollection"]
_READS = ["get", "list", "watch"]

POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/openapi*", "/metrics*"]},
        # The control plane's own reads, leases and events are noise; its writes (garbage collection, say) are not.
        {"level": "None", "users": _CONTROL_PLANE, "verbs": _READS},
        {"level": "None", "userGroups": ["system:nodes"], "verbs": _READS},
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"], "verbs": _READS},
        {
            "level": "None",
            "userGroups": ["system:serviceaccounts:kube-system", "system:nodes"],
            "resources": [
                {"group": "coordination.k8s.io"},
                {"group": "", "resources": ["events"]},
                {"group": "events.k8s.io"},
            ],
        },
        {"level": "None", "users": _CONTROL_PLANE, "resources": [{"group": "coordination.k8s.io"}]},
        # Bodies that hold secrets are never written down.
        {
            "level": "Metadata",
            "resources": [
                {"group": "", "resources": ["secrets", "serviceaccounts/token"]},
                {"group": "authentication.k8s.io"},
            ],
        },
        {"level": "Request", "verbs": _WRITES},
        {"level": "Metadata"},
    ],
}


def policy_text() -> str:
    """The policy file's content (JSON, which is YAML)."""
    return json.dumps(POLICY, indent=1)


def entries(log: Path, offset: int = 0) -> Iterator[dict[str, Any]]:
    """The audit events in ``log`` from byte ``offset`` on; an unfinished last line is left out."""
    with log.open("rb") as handle:
        handle.seek(offset)
        for line in handle:
            if line.endswith(b"\n"):
                yield json.loads(line)
