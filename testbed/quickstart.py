"""The quickstart on a cluster: operator and jurisdiction by Helm, manifests by kubectl, progress, and the proof."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed import binaries, paths
from testbed.demo_trust import Trust
from testbed.errors import BedError
from testbed.processes import run
from testbed.progress import say, stage
from testbed.registry_access import ISSUER_KEY, NodeLogins

MANIFESTS = paths.CHECKOUT / "manifests"
CHARTS = paths.CHECKOUT / "charts"
SYSTEM = "jil-system"
NETWORK = "quickstart"
LOGIN = "registry-login"
"""Name of the image pull Secret that is not a node's own."""
ISSUER = "registry-issuer"
"""Name of the Secret with the key that nodes' own logins are signed with."""
LABELS = ("database", "cache", "broker-kafka", "validator", "node", "operator")
"""Images of the quickstart, by the names of their folders under images/."""
OF_NODES = LABELS[:-1]
"""Those that its release names: they have to be signed. The operator's own is nobody's to judge but the admin's."""
REGISTRY_CA = "registry-ca"
"""Name of the ConfigMap with the registry's CA."""


@dataclass(frozen=True)
class Target:
    """A cluster that the quickstart is put on."""

    kubeconfig: Path | None
    context: str | None = None
    login: str = ""
    """Content of the image pull Secret (Docker's config.json) that the operator's pod needs on this cluster, and with which
    it reads signatures; "" where it needs none."""
    node_logins: NodeLogins | None = None
    """Where nodes have logins of their own, which the operator makes; None: ``login`` is theirs too."""
    ca: str = ""
    """Certificate (PEM) by which the operator trusts the registry; "" where a public CA does."""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Where pods reach the registry if not at https://NAME: name in images -> URL."""
    trust: Trust | None = None
    """Keys and signatures of the demo; None where nothing is installed."""

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
    for namespace in (SYSTEM, FIRST.namespace, SECOND.namespace):
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
        # A mark that has its line alone gives its indentation to every line of the value, so that PEM may follow a `|`.
        alone = re.search(rf"(?m)^( *)@{re.escape(name)}@$", text)
        text = text.replace(f"@{name}@", value.strip().replace("\n", f"\n{alone[1]}") if alone else value)
    left = [line for line in text.splitlines() if re.search(r"@[A-Za-z][\w-]*@", line) and not line.startswith("#")]
    if left:
        raise BedError(f"{path.name}: not filled in: {left[0].strip()}")
    return text


def manifests(target: Target, node: DemoNode, images: Mapping[str, str]) -> str:
    """Everything of one sample folder, ready for kubectl apply; a release in it is signed."""
    texts = []
    for path in sorted(p for p in (MANIFESTS / node.folder).iterdir() if p.name[0].isdigit()):
        if path.suffix == ".in":
            text = rendered(path, marks(target, images))
            texts.append(keys_of(target).signed_release(text) if path.name.startswith("20-release") else text)
        else:
            texts.append(path.read_text())
    return "\n---\n".join(texts)


def marks(target: Target, images: Mapping[str, str]) -> dict[str, str]:
    """What stands for the @NAMES@ of the samples: images, name of the release, public keys, repositories."""
    repositories = images["cache"].rpartition("@")[0].rpartition("/")[0] + "/"
    keys = keys_of(target).public_keys()
    return {**images, **keys, "RELEASE": release_suffix(images), "REPOSITORIES": repositories}


def keys_of(target: Target) -> Trust:
    """The demo's keys. Raises BedError on a target that nothing is installed on."""
    if target.trust is None:
        raise BedError("this target has no keys to sign with")
    return target.trust


def sign(target: Target, images: Mapping[str, str]) -> None:
    """Keys, and a signature for every image of the nodes that has none yet."""
    trust = keys_of(target)
    new = trust.make_keys()
    network = rendered(MANIFESTS / FIRST.folder / "10-network.yaml.in", marks(target, images))
    trust.sign_images([images[name] for name in OF_NODES], network, new=new)


def install_operator(target: Target, images: Mapping[str, str], *extra: str) -> None:
    """The operator, in the cluster, with nothing but its chart's rights."""
    settings = ["--set", f"image.ref={images['operator']}"]
    if target.login or target.ca:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
        target.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    if target.login:
        give_login(target, SYSTEM)
        for owner in ("",) if target.node_logins else ("", "nodes."):
            settings += ["--set", f"{owner}imagePullSecrets[0].name={LOGIN}"]
    settings += [*_reading_signatures(target), *_node_logins(target)]
    target.helm(
        "upgrade", "--install", "jil-operator", CHARTS / "jil-operator", "--namespace", SYSTEM, "--create-namespace",
        *settings, "--wait", "--timeout", "120s", *extra,
    )  # fmt: skip


def _reading_signatures(target: Target) -> list[str]:
    """Values of the chart by which the operator reads signatures from the registry; what they name is made."""
    found = ["--set", f"registries.credentials={LOGIN}"] if target.login else []
    if target.ca:
        where = {"name": REGISTRY_CA, "namespace": SYSTEM}
        content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": {"ca.crt": target.ca}}
        target.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(content))
        found += ["--set", f"registries.ca.configMap={REGISTRY_CA}"]
    if target.endpoints:
        found += ["--set-json", f"registries.endpoints={json.dumps(dict(target.endpoints))}"]
    return found


def _node_logins(target: Target) -> list[str]:
    """Values of the chart by which the operator gives every node a login of its own; the key that they name is put there."""
    if target.node_logins is None:
        return []
    _put_secret(target, SYSTEM, ISSUER, "Opaque", {ISSUER_KEY: target.node_logins.key})
    value = "registries.nodeLogins"
    return ["--set", f"{value}.registry={target.node_logins.registry},{value}.keySecret={ISSUER}"]


def give_login(target: Target, namespace: str) -> None:
    """The image pull Secret in a namespace, made or brought up to date; nothing where pods need none."""
    if target.login:
        _put_secret(target, namespace, LOGIN, "kubernetes.io/dockerconfigjson", {".dockerconfigjson": target.login})


def _put_secret(target: Target, namespace: str, name: str, kind: str, content: Mapping[str, str]) -> None:
    where = {"name": name, "namespace": namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": where, "stringData": dict(content)}
    target.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(secret))


def install_jurisdiction(target: Target, node: DemoNode, network: str = NETWORK, *extra: str) -> None:
    """Namespace with labels and the operator's RoleBinding: the admin's part."""
    target.helm(
        "upgrade", "--install", node.jurisdiction, CHARTS / "jil-jurisdiction", "--namespace", SYSTEM,
        "--set", f"namespace.name={node.namespace}", "--set", f"network={network}",
        "--set", f"jurisdiction.name={node.jurisdiction}", *extra,
    )  # fmt: skip
    if target.node_logins is None:
        give_login(target, node.namespace)


def fingerprint(target: Target, images: Mapping[str, str]) -> str:
    """Of everything that the quickstart installs: the same means that a running demo has nothing to do."""
    given = [dict(sorted(images.items())), target.login, target.ca, dict(target.endpoints)]
    given.append(target.node_logins.key if target.node_logins else "")
    given.append(target.trust.public_keys() if target.trust else {})
    digest = hashlib.sha256(json.dumps(given).encode())
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


def login_of(target: Target, node: DemoNode) -> str:
    """Name of the Secret that pods of a node pull with."""
    return f"{node.name}-pull" if target.node_logins else LOGIN


def proof(target: Target, node: DemoNode, images: Mapping[str, str]) -> str:
    """Runs the proof in a pod of its own and returns what it printed. Raises BedError when a check fails."""
    pod = f"proof-{int(time.time())}"
    values = {
        "POD": pod, "NAMESPACE": node.namespace, "NODE": node.name, "NODE_ID": node.node_id, "REGION": node.region,
        "ZONE": node.zone, "node": images["node"], "PULL": f"name: {login_of(target, node)}" if target.login else "",
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
    """Signatures, operator, jurisdiction and the whole node, to Ready."""
    with stage("keys, provenance and signatures"):
        sign(target, images)
    with stage("operator by Helm"):
        install_operator(target, images)
    with stage("jurisdiction ch-finma by Helm"):
        install_jurisdiction(target, FIRST)
    with stage("node ch-zug-01"):
        target.kubectl("apply", "-f", "-", stdin=manifests(target, FIRST, images))
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
