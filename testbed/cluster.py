"""The kind cluster: created from kind-config.yaml, waited for, and deleted again."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed import binaries, engine, fingerprint, nodeimage, nodes, paths, registry
from testbed.audit import LOG_IN_NODE, POLICY
from testbed.engine import Engine
from testbed.errors import BedError
from testbed.locking import exclusive
from testbed.processes import run, succeeds, wait_until
from testbed.progress import say, stage

CONFIGURATION = paths.CHECKOUT / "kind-config.yaml"


@dataclass(frozen=True)
class Cluster:
    """A kind cluster by name; its files live in the cache's state folder, never in ~/.kube."""

    name: str = "jil"
    configuration: Path = CONFIGURATION
    """The kind configuration that `up` makes it from; a relative hostPath in it is one of the checkout."""

    def __post_init__(self) -> None:
        # It becomes part of file and container names, and kind refuses others only once much has been done.
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,38}[a-z0-9])?", self.name):
            raise BedError(
                f"'{self.name}' cannot name a cluster: at most 40 of a-z, 0-9, '-' and '.', as in a host name"
            )

    @property
    def kubeconfig(self) -> Path:
        """Cluster-admin kubeconfig of its own."""
        return paths.state() / f"{self.name}.kubeconfig"

    @property
    def record(self) -> Path:
        """What the cluster was made from; also the sign that it is ours to delete."""
        return paths.state() / f"{self.name}.cluster.json"

    @property
    def trust(self) -> Path:
        """Folder of the keys that were made for what runs on it (demo_trust.py)."""
        return paths.state() / f"{self.name}.trust"

    @property
    def control_plane_node(self) -> str:
        """Container name of the node that runs the API server."""
        return f"{self.name}-control-plane"

    def kubectl(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run kubectl on this cluster; returns stdout."""
        program = binaries.program_for("kubectl")
        return run([program, "--kubeconfig", self.kubeconfig, *arguments], timeout_s=timeout_s)


def up(cluster: Cluster) -> None:
    """Engine, registry and cluster, each only if it is not there yet; returns when pods can be scheduled.

    What is left of a half-finished or broken run is removed first. Raises BedError with the remedy when it cannot.
    """
    with exclusive(f"cluster-{cluster.name}"):
        host = engine.up()
        image = _node_image(host)
        wanted = _recipe(image, cluster.configuration)
        if cluster.name in _existing(host):
            if not cluster.record.exists():
                raise BedError(
                    f"a kind cluster named '{cluster.name}' exists that this test bed did not make; "
                    f"delete it (kind delete cluster --name {cluster.name}) or choose another name (--cluster)"
                )
            reason = _reason_to_make_again(host, cluster, wanted)
            if reason:
                say(f"the cluster '{cluster.name}' {reason}: it is made again")
                _delete(host, cluster)
        if cluster.name not in _existing(host):
            _create(host, cluster, image, wanted)
        registry.up(host)
        for node in nodes.names(host, cluster):
            registry.teach(host, node)
        _wait(cluster)


def _reason_to_make_again(host: Engine, cluster: Cluster, wanted: dict[str, str]) -> str:
    """Why a cluster that exists cannot be used; "" when it can, after waking up nodes that were stopped or paused."""
    known = json.loads(cluster.record.read_text())
    if not known.pop("complete", False):
        return "was never finished"
    if known != wanted:
        return "was made from another recipe"
    for node in nodes.names(host, cluster):
        nodes.wake(host, node)
    try:
        # Patient: a machine under load is no reason to throw a cluster away.
        wait_until(lambda: healthy(host, cluster), "the cluster to be healthy", 90, 1.0)
    except BedError:
        return "is not healthy"
    return ""


def down(names: list[str] | None = None) -> None:
    """Delete the clusters this test bed made (all, or those named); with the last one registry and engine go too."""
    host = engine.find()
    known = [Cluster(file.name.removesuffix(".cluster.json")) for file in paths.state().glob("*.cluster.json")]
    for cluster in known:
        if names is None or cluster.name in names:
            with exclusive(f"cluster-{cluster.name}"):
                if host:
                    _delete(host, cluster)
                _forget(cluster)
    if list(paths.state().glob("*.cluster.json")):
        return
    if host:
        registry.remove(host)
    engine.down()


def healthy(host: Engine, cluster: Cluster) -> bool:
    """Whether every node's container runs and the API server is ready."""
    label = f"label=io.x-k8s.kind.cluster={cluster.name}"
    states = host.docker("ps", "--all", "--filter", label, "--format", "{{.State}}").split()
    ready: list[str | Path] = [
        binaries.program_for("kubectl"),
        "--kubeconfig",
        cluster.kubeconfig,
        "get",
        "--raw",
        "/readyz",
    ]
    return bool(states) and set(states) == {"running"} and succeeds(ready, timeout_s=15)


def audit_log(cluster: Cluster) -> str:
    """The API server's audit log so far (JSON lines)."""
    return running_engine().docker("exec", cluster.control_plane_node, "cat", LOG_IN_NODE)


def export_logs(cluster: Cluster) -> Path:
    """Collect the logs of nodes and pods into a folder of the cache and return it."""
    folder = paths.cache_root() / "logs" / cluster.name
    host = running_engine()
    try:
        _kind(host, "export", "logs", folder, "--name", cluster.name, timeout_s=120)
    except BedError as problem:
        # kind also lists the images with crictl, which our node image does not have, and reports that at the end.
        if not all((folder / node / "journal.log").exists() for node in nodes.names(host, cluster)):
            raise
        say(f"some of the logs could not be collected: {str(problem).splitlines()[-1]}")
    return folder


def running_engine() -> Engine:
    """The engine in use. Raises BedError with the remedy when none answers."""
    host = engine.find()
    if not host:
        raise BedError("no Docker engine answers; `python3 -m testbed up` starts what is needed")
    return host


def _node_image(host: Engine) -> str:
    """The node image, in the engine. A user's engine pulls kind's own where it can; else ours is built and loaded."""
    ours = nodeimage.reference()
    if host.has(ours):
        return ours
    if not host.private:
        for official in _official_images(host):
            return official
    archive = nodeimage.tar()
    with stage("loading the node image into the engine"):
        host.docker("load", "--quiet", "--input", archive, timeout_s=600)
    for old in host.docker("images", "--format", "{{.Repository}}:{{.Tag}}", ours.partition(":")[0]).split():
        if "-jil-" in old and old != ours:
            host.succeeds("image", "rm", old)
    return ours


def _official_images(host: Engine) -> list[str]:
    """kind's published image of our Kubernetes version, when the engine has it or can pull it."""
    official = f"kindest/node:{binaries.KUBERNETES}"
    if not host.has(official):
        try:
            with stage(f"pulling {official}"):
                host.docker("pull", "--quiet", official, timeout_s=900)
        except BedError as problem:
            say(f"cannot pull it, so it is built here: {str(problem).splitlines()[-1]}")
            return []
    return [official]


def _recipe(image: str, configuration: Path) -> dict[str, str]:
    if not configuration.is_file():
        raise BedError(f"there is no kind configuration {configuration}; --config names one")
    return {
        "image": image,
        "configuration": fingerprint.of_file(configuration),
        "audit policy": fingerprint.of_file(POLICY),
    }


def _create(host: Engine, cluster: Cluster, image: str, recipe: dict[str, str]) -> None:
    # Written first: whatever happens from here on, `down` knows that the cluster is ours.
    cluster.record.write_text(json.dumps({**recipe, "complete": False}))
    with stage(f"creating the kind cluster '{cluster.name}'"):
        options = ["--name", cluster.name, "--image", image, "--config", str(cluster.configuration)]
        _kind(host, "create", "cluster", *options, "--kubeconfig", cluster.kubeconfig, "--retain", timeout_s=420)
    cluster.record.write_text(json.dumps({**recipe, "complete": True}))


def _wait(cluster: Cluster) -> None:
    with stage("waiting for nodes and the default ServiceAccount"):
        cluster.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=120s", timeout_s=130)
        account: list[str | Path] = [binaries.program_for("kubectl"), "--kubeconfig", cluster.kubeconfig]
        account += ["-n", "default", "get", "serviceaccount", "default"]
        wait_until(lambda: succeeds(account), "the default ServiceAccount", 60, 0.2)
        for kind, namespace, name in (
            ("daemonset", "kube-system", "kindnet"),
            ("deployment", "kube-system", "coredns"),
            ("deployment", "local-path-storage", "local-path-provisioner"),
        ):
            cluster.kubectl("-n", namespace, "rollout", "status", f"{kind}/{name}", "--timeout=120s", timeout_s=130)


def _delete(host: Engine, cluster: Cluster) -> None:
    with stage(f"deleting the kind cluster '{cluster.name}'"):
        _kind(host, "delete", "cluster", "--name", cluster.name, "--kubeconfig", cluster.kubeconfig)


def _forget(cluster: Cluster) -> None:
    for file in (cluster.record, cluster.kubeconfig, cluster.kubeconfig.with_suffix(".kubeconfig.lock")):
        file.unlink(missing_ok=True)
    shutil.rmtree(cluster.trust, ignore_errors=True)


def _existing(host: Engine) -> list[str]:
    label = "label=io.x-k8s.kind.cluster"
    found = host.docker("ps", "--all", "--filter", label, "--format", '{{.Label "io.x-k8s.kind.cluster"}}')
    return sorted(set(found.split()))


def _kind(host: Engine, *arguments: str | Path, timeout_s: float = 120.0) -> str:
    # The configuration mounts a file of the checkout by a relative path, which kind resolves against its own folder.
    search = f"{binaries.search_path()}:{os.environ.get('PATH', '')}"
    environment = {**host.environment, "PATH": search, "KIND_EXPERIMENTAL_PROVIDER": "docker"}
    program = binaries.program_for("kind")
    return run([program, *arguments], timeout_s=timeout_s, env=environment, cwd=paths.CHECKOUT)
