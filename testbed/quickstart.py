"""The quickstart on a cluster: operator and jurisdiction by Helm, manifests by kubectl, progress, and the proof."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed import binaries, paths
from testbed.errors import BedError
from testbed.processes import run
from testbed.progress import say, stage

MANIFESTS = paths.CHECKOUT / "manifests"
CHARTS = paths.CHECKOUT / "charts"
SYSTEM = "jil-system"
NETWORK = "quickstart"
LOGIN = "registry-login"
"""Name of the image pull Secret."""
LABELS = ("database", "cache", "broker-kafka", "validator", "node", "operator")
"""Images of the quickstart, by the names of their folders under images/."""


@dataclass(frozen=True)
class Target:
    """A cluster that the quickstart is put on."""

    kubeconfig: Path | None
    context: str | None = None
    login: str = ""
    """Content of the image pull Secret (Docker's config.json) that pods need on this cluster; "" where they need none."""

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60.0) -> str:
        return run([binaries.program_for("kubectl"), *self._where(), *arguments], stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str | Path, timeout_s: float = 180.0) -> str:
        where = [w.replace("--context", "--kube-context") for w in self._where()]
        return run([binaries.program_for("helm"), *where, *arguments], timeout_s=timeout_s)

    def _where(self) -> list[str]:
        found = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        return [*found, "--context", self.context] if self.context else found


@dataclass(frozen=True)
class DemoNode:
    """A node of the samples: which folder, which jurisdiction, and what stands in its manifests."""

    folder: str
    jurisdiction: str
    namespace: str
    name: str
    node_id: str
    region: str
    zone: str


FIRST = DemoNode("quickstart", "ch-finma", "jil-ch-finma", "ch-zug-01", "CH-ZUG-01", "ch-zug", "CH/FINMA")
SECOND = DemoNode("second-node", "sg-mas", "jil-sg-mas", "sg-mas-01", "SG-MAS-01", "sg-central", "SG/MAS")


def server_of(target: Target) -> str:
    """Address of the API server that the target means. Raises BedError when its context is unknown."""
    where = "jsonpath={.clusters[0].cluster.server}"
    return target.kubectl("config", "view", "--minify", "-o", where).strip()


def kinds(target: Target) -> list[str]:
    """Names of our CRDs on the cluster, [] when there are none."""
    found = target.kubectl("get", "crd", "-o", _NAMES).split()
    return sorted(name for name in found if name.endswith(".jil.io"))


def priority_classes(target: Target) -> list[str]:
    """Names of the operator chart's PriorityClasses on the cluster: Helm keeps them, as it keeps the CRDs."""
    found = target.kubectl("get", "priorityclass", "-l", "app.kubernetes.io/part-of=jil", "-o", _NAMES)
    return sorted(found.split())


_NAMES = "jsonpath={.items[*].metadata.name}"


def traces(target: Target) -> list[str]:
    """What the cluster has of the things that the quickstart would make; [] on a cluster that never saw it."""
    found = [f"CRD {name}" for name in kinds(target)[:1]]
    found += [f"PriorityClass {name}" for name in priority_classes(target)[:1]]
    for namespace in (SYSTEM, FIRST.namespace):
        if target.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "name").strip():
            found.append(f"namespace {namespace}")
    return found


def release_suffix(images: Mapping[str, str]) -> str:
    """A release is immutable, so other digests are another release: eight hex digits of all of them."""
    missing = [name for name in LABELS if name not in images]
    if missing:
        raise BedError(f"images {', '.join(missing)} were not built: `python3 -m testbed images` builds all")
    return hashlib.sha256(json.dumps(dict(sorted(images.items()))).encode()).hexdigest()[:8]


def rendered(path: Path, values: Mapping[str, str]) -> str:
    """A ``.in`` manifest with its @NAME@ marks filled in. Raises BedError for a mark that is left."""
    text = path.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    left = [line for line in text.splitlines() if "@" in line.replace("@sha256:", "") and not line.startswith("#")]
    if left:
        raise BedError(f"{path.name}: not filled in: {left[0].strip()}")
    return text


def manifests(node: DemoNode, images: Mapping[str, str]) -> str:
    """Everything of one sample folder, ready for kubectl apply."""
    values = {**images, "RELEASE": release_suffix(images)}
    files = sorted(p for p in (MANIFESTS / node.folder).iterdir() if p.name[0].isdigit())
    return "\n---\n".join(rendered(p, values) if p.suffix == ".in" else p.read_text() for p in files)


def install_operator(target: Target, images: Mapping[str, str], *extra: str) -> None:
    """The operator, in the cluster, with nothing but its chart's rights."""
    settings = ["--set", f"image.ref={images['operator']}"]
    if target.login:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
        target.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
        give_login(target, SYSTEM)
        for owner in ("", "nodes."):
            settings += ["--set", f"{owner}imagePullSecrets[0].name={LOGIN}"]
    target.helm(
        "upgrade", "--install", "jil-operator", CHARTS / "jil-operator", "--namespace", SYSTEM, "--create-namespace",
        *settings, "--wait", "--timeout", "120s", *extra,
    )  # fmt: skip


def give_login(target: Target, namespace: str) -> None:
    """The image pull Secret in a namespace, made or brought up to date; nothing where pods need none."""
    if target.login:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": LOGIN, "namespace": namespace},
            "stringData": {".dockerconfigjson": target.login},
        }
        target.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(secret))


def install_jurisdiction(target: Target, node: DemoNode, network: str = NETWORK) -> None:
    """Namespace with labels and the operator's RoleBinding: the admin's part."""
    target.helm(
        "upgrade", "--install", node.jurisdiction, CHARTS / "jil-jurisdiction", "--namespace", SYSTEM,
        "--set", f"namespace.name={node.namespace}", "--set", f"network={network}",
        "--set", f"jurisdiction.name={node.jurisdiction}",
    )  # fmt: skip
    give_login(target, node.namespace)


def fingerprint(images: Mapping[str, str]) -> str:
    """Of everything that the quickstart installs: the same means that a running demo has nothing to do."""
    digest = hashlib.sha256(json.dumps(dict(sorted(images.items()))).encode())
    for folder in (CHARTS, MANIFESTS / "quickstart"):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(path.relative_to(paths.CHECKOUT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def status_of(target: Target, node: DemoNode) -> dict[str, object]:
    """``status`` of the JILNode, {} when there is none."""
    try:
        text = target.kubectl("get", "jilnode", node.name, "-n", node.namespace, "-o", "json", timeout_s=20)
    except BedError:
        return {}
    found: dict[str, object] = json.loads(text).get("status", {})
    return found


def wait_ready(target: Target, node: DemoNode, deadline_s: float = 300.0) -> None:
    """Watches the node come up and tells what it waits for. Raises BedError with the conditions at the deadline."""
    began, last = time.monotonic(), ""
    while True:
        status = status_of(target, node)
        waiting = status.get("waitingFor")
        what = waiting.get("message", "") if isinstance(waiting, dict) else ""
        line = f"{node.name}: {status.get('phase', 'not seen by the operator yet')}{': ' + what[:140] if what else ''}"
        if line != last:
            say(f"  {time.monotonic() - began:5.1f} s  {line}")
            last = line
        if status.get("phase") == "Ready":
            return
        if time.monotonic() - began > deadline_s:
            raise BedError(
                f"{node.name} is not ready after {deadline_s:.0f} s: {line}\n{json.dumps(status, indent=1)}\n"
                f"operator's log: kubectl logs -n {SYSTEM} deploy/jil-operator"
            )
        time.sleep(0.5)


def proof(target: Target, node: DemoNode, images: Mapping[str, str]) -> str:
    """Runs the proof in a pod of its own and returns what it printed. Raises BedError when a check fails."""
    pod = f"proof-{int(time.time())}"
    values = {
        "POD": pod, "NAMESPACE": node.namespace, "NODE": node.name, "NODE_ID": node.node_id, "REGION": node.region,
        "ZONE": node.zone, "node": images["node"], "PULL": f"name: {LOGIN}" if target.login else "",
    }  # fmt: skip
    target.kubectl("apply", "-f", "-", stdin=rendered(MANIFESTS / "quickstart" / "proof-pod.yaml.in", values))
    try:
        phase = _ended(target, node.namespace, pod)
        log = target.kubectl("logs", "-n", node.namespace, pod)
    finally:
        target.kubectl("delete", "pod", "-n", node.namespace, pod, "--ignore-not-found", "--wait=false")
    if phase != "Succeeded":
        raise BedError(f"the proof failed ({phase}):\n{log}")
    return log


def _ended(target: Target, namespace: str, pod: str, deadline_s: float = 130.0) -> str:
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        phase = target.kubectl("get", "pod", "-n", namespace, pod, "-o", "jsonpath={.status.phase}").strip()
        if phase in ("Succeeded", "Failed"):
            return phase
        time.sleep(0.5)
    return "still running"


def bring_up(target: Target, images: Mapping[str, str]) -> None:
    """Operator, jurisdiction and the whole node, to Ready."""
    with stage("operator by Helm"):
        install_operator(target, images)
    with stage("jurisdiction ch-finma by Helm"):
        install_jurisdiction(target, FIRST)
    with stage("node ch-zug-01"):
        target.kubectl("apply", "-f", "-", stdin=manifests(FIRST, images))
        wait_ready(target, FIRST)


def table(target: Target) -> str:
    """What a person would look at."""
    return subprocess.run(
        [str(binaries.program_for("kubectl")), *target._where(), "get", "jn", "-A"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    ).stdout
