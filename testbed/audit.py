"""The API server's audit log: the policy that both rigs use, and a reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

POLICY = Path(__file__).with_name("audit-policy.yaml")

LOG_IN_NODE = "/var/log/kubernetes/audit.log"
"""Where the API server of a kind cluster writes, inside its control-plane node (kind-config.yaml)."""


def entries(log: Path, offset: int = 0) -> Iterator[dict[str, Any]]:
    """The audit events in ``log`` from byte ``offset`` on; an unfinished last line is left out."""
    with log.open("rb") as handle:
        handle.seek(offset)
        for line in handle:
            if line.endswith(b"\n"):
                yield json.loads(line)
