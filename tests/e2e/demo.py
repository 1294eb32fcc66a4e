"""The running quickstart as tests see it: kubectl with JSON, waiting with a deadline, a node's facts."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed import quickstart
from testbed.errors import BedError
from testbed.quickstart import SYSTEM, DemoNode, Target
from tests.waiting import comes_true


@dataclass(frozen=True)
class Demo:
    target: Target
    images: Mapping[str, str]
    node: DemoNode

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 120.0) -> str:
        return self.target.kubectl(*arguments, stdin=stdin, timeout_s=timeout_s)

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def child(self, kind: str, suffix: str, node: DemoNode | None = None) -> dict[str, Any]:
        """A child of a node, e.g. ("statefulset", "database")."""
        node = node or self.node
        return self.get(kind, f"{node.name}-{suffix}", "-n", node.namespace)

    def status(self, node: DemoNode | None = None) -> dict[str, Any]:
        node = node or self.node
        found: dict[str, Any] = self.get("jilnode", node.name, "-n", node.namespace).get("status", {})
        return found

    def record(self, node: DemoNode | None = None) -> dict[str, Any]:
        node = node or self.node
        found: dict[str, Any] = self.get("jilnoderecord", node.node_id.lower(), "-n", SYSTEM)["spec"]
        return found

    def until(self, condition: Callable[[], object], what: str, seconds: float = 120.0) -> float:
        """Polls until the condition holds and returns the seconds that it took; fails with what was waited for."""
        began, forgiven = time.monotonic(), (BedError, KeyError, IndexError, ValueError)
        held, last = comes_true(condition, seconds, pause=0.2, forgiven=forgiven)
        if held:
            return time.monotonic() - began
        log = self.kubectl("logs", "-n", SYSTEM, "deploy/jil-operator", "--tail=15")
        raise AssertionError(
            f"waited {seconds:.0f} s for {what}{last}\nstatus: {self.status()}\noperator: {log[-3000:]}"
        )

    def until_phase(self, phase: str, seconds: float = 120.0, node: DemoNode | None = None) -> float:
        return self.until(lambda: self.status(node).get("phase") == phase, f"phase {phase}", seconds)

    def declare(self, node: DemoNode) -> None:
        """What its people do: the jurisdiction by Helm, and their manifests. The node comes up from here on."""
        quickstart.install_jurisdiction(self.target, node)
        self.kubectl("apply", "-f", "-", stdin=quickstart.manifests(self.target, node, self.images))

    def patch_state(self, state: str, node: DemoNode | None = None) -> None:
        node = node or self.node
        patch = json.dumps({"spec": {"state": state}})
        self.kubectl("patch", "jilnode", node.name, "-n", node.namespace, "--type=merge", "-p", patch)

    def confirm_and_delete(self, kind: str, name: str, *where: str, timeout_s: float = 200.0) -> None:
        self.kubectl("annotate", kind, name, *where, f"jil.io/confirm-delete={name}", "--overwrite")
        self.kubectl("delete", kind, name, *where, f"--timeout={timeout_s:.0f}s", timeout_s=timeout_s + 10)

    def secret(self, name: str, namespace: str) -> dict[str, bytes]:
        data = self.get("secret", name, "-n", namespace)["data"]
        return {key: base64.b64decode(value) for key, value in data.items()}

    def sql(self, statement: str, node: DemoNode | None = None) -> str:
        """Runs SQL over the local socket of the database's pod, as its superuser."""
        node = node or self.node
        return self.kubectl(
            "exec", "-n", node.namespace, f"{node.name}-database-0", "--",
            "psql", "-h", "/run/jil", "-U", "postgres", "-d", "jil", "-tAc", statement,
        ).strip()  # fmt: skip

    def chain_height(self, node: DemoNode | None = None) -> int:
        """latest_block_height of the node's own RPC, through the API server's service proxy."""
        node = node or self.node
        path = f"/api/v1/namespaces/{node.namespace}/services/{node.name}-rpc:26657/proxy/status"
        body = json.loads(self.kubectl("get", "--raw", path))
        return int(body["result"]["sync_info"]["latest_block_height"])

    def sign_state(self, node: DemoNode | None = None) -> dict[str, Any]:
        """The validator's sign state, read from its volume through the validator's own container."""
        node = node or self.node
        text = self.kubectl(
            "exec", "-n", node.namespace, f"{node.name}-validator-0", "-c", "validator", "--",
            "cat", "/var/lib/jil/data/priv_validator_state.json",
        )  # fmt: skip
        found: dict[str, Any] = json.loads(text)
        return found

    def refused(self, *arguments: str, stdin: str | None = None) -> str:
        """The words with which the API server refuses a kubectl command; fails when it is not refused."""
        try:
            out = self.kubectl(*arguments, stdin=stdin)
        except BedError as error:
            return str(error)
        raise AssertionError(f"kubectl {' '.join(arguments)} was not refused: {out}")
