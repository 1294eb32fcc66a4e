"""The demo on a cluster of somebody else: it asks, it installs, it proves, and `make down` takes back all of it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_kind.cluster import KindCluster

from testbed import binaries, cluster, engine, paths, registry
from testbed.demo_state import DemoState
from testbed.engine import NETWORK
from testbed.processes import run, succeeds, wait_until

_NAME = "jil-foreign"
_REGISTRY = "jil-foreign-registry"
_KINDS = (
    "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,persistentvolumes,priorityclasses,"
    "validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingwebhookconfigurations,"
    "validatingwebhookconfigurations,storageclasses,apiservices"
)


@dataclass(frozen=True)
class Theirs:
    """A cluster and a registry that the test bed knows nothing of."""

    kubeconfig: Path
    context: str
    registry: str

    def kubectl(self, *arguments: str) -> str:
        return run([binaries.program_for("kubectl"), "--kubeconfig", self.kubeconfig, *arguments], timeout_s=180)

    def everything(self) -> set[str]:
        """Names of all objects that belong to no namespace, and of all pods, Secrets and the like in any."""
        found = set(self.kubectl("get", _KINDS, "-o", "name").split())
        namespaced = (
            "deployments,statefulsets,services,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,pvc"
        )
        lines = self.kubectl("get", namespaced, "-A", "-o", _WITH_NAMESPACE).splitlines()
        return found | {line for line in lines if not line.startswith("kube-node-lease")}

    def settle(self) -> None:
        """Until a new cluster has all that it makes for itself: nothing has come or gone for five seconds."""
        self.kubectl("wait", "deployments", "--all", "-A", "--for=condition=Available", "--timeout=170s")
        found, since, deadline = self.everything(), time.monotonic(), time.monotonic() + 180
        while time.monotonic() < since + 5:
            assert time.monotonic() < deadline, "their cluster does not come to rest"
            time.sleep(1)
            now = self.everything()
            if now != found:
                found, since = now, time.monotonic()

    def make(self, *words: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
        """`make …` as their owner would run it: in a terminal where an answer is ``typed``, else without one."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        command = ["make", "--no-print-directory", *words]
        if typed is None:
            return subprocess.run(
                command, cwd=paths.CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=700, check=False,
            )  # fmt: skip
        ours, terminal = pty.openpty()
        try:
            os.write(ours, f"{typed}\n".encode())
            return subprocess.run(
                command, cwd=paths.CHECKOUT, env=environment, stdin=terminal, capture_output=True, text=True,
                timeout=700, check=False,
            )  # fmt: skip
        finally:
            os.close(ours)
            os.close(terminal)

    def pushed(self) -> bool:
        """Whether their registry got any image."""
        return _catalog(self.registry) != ""


_WITH_NAMESPACE = 'jsonpath={range .items[*]}{.metadata.namespace} {.kind} {.metadata.name}{"\\n"}{end}'


def _catalog(address: str) -> str:
    program = binaries.program_for("crane")
    return run([program, "catalog", address.partition("/")[0]]).strip()


@pytest.fixture(scope="module")
def theirs(kind_cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theirs]:
    """Made with kind and docker themselves: one node, and a registry without the test bed's names."""
    host = engine.find()
    assert host is not None
    folder = tmp_path_factory.mktemp("foreign")
    kubeconfig, configuration = folder / "kubeconfig", folder / "kind.yaml"
    configuration.write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n")
    kind = [binaries.program_for("kind"), "--name", _NAME, "--kubeconfig", kubeconfig]
    image = json.loads(cluster.Cluster(kind_cluster.name).record.read_text())["image"]

    def remove() -> None:
        with contextlib.suppress(Exception):
            run([*kind[:1], "delete", "cluster", *kind[1:]])
        host.docker("rm", "--force", "--volumes", _REGISTRY)
        DemoState(f"kind-{_NAME}", None).forget()

    remove()
    try:
        create = [*kind[:1], "create", "cluster", *kind[1:], "--image", image, "--config", configuration]
        run([*create, "--wait", "240s"], timeout_s=400, env={"KIND_EXPERIMENTAL_PROVIDER": "docker"})
        port = _start_registry(host)
        address = f"127.0.0.1:{port}"
        hosts = f"/etc/containerd/certs.d/{address}"
        text = f'server = "http://{address}"\n[host."http://{_REGISTRY}:5000"]\n'
        script = f"mkdir -p {hosts} && printf '%s' '{text}' > {hosts}/hosts.toml"
        host.docker("exec", f"{_NAME}-control-plane", "sh", "-c", script)
        made = Theirs(kubeconfig, f"kind-{_NAME}", f"{address}/theirs")
        made.settle()
        yield made
    finally:
        remove()


def _start_registry(host: engine.Engine) -> str:
    options = ["--detach", "--name", _REGISTRY, "--network", NETWORK, "--publish", "127.0.0.1::5000"]
    host.docker("run", *options, "--tmpfs", "/var/lib/registry", registry.image(host))
    port = host.docker("port", _REGISTRY, "5000/tcp").split()[0].rpartition(":")[2]
    wait_until(lambda: succeeds([binaries.program_for("crane"), "catalog", f"127.0.0.1:{port}"]), "their registry", 90)
    return port


def test_without_a_terminal_nobody_is_asked_and_nothing_is_done(theirs: Theirs) -> None:
    before = theirs.everything()
    done = theirs.make("demo", f"CONTEXT={theirs.context}", f"REGISTRY={theirs.registry}")
    assert done.returncode != 0
    assert "nobody is there to ask" in done.stderr
    assert theirs.context in done.stdout, "it shows which cluster is meant"
    assert theirs.everything() == before
    assert not theirs.pushed()


def test_another_answer_than_the_contexts_name_is_a_no(theirs: Theirs) -> None:
    before = theirs.everything()
    done = theirs.make("demo", f"CONTEXT={theirs.context}", f"REGISTRY={theirs.registry}", typed="yes")
    assert done.returncode != 0
    assert "not confirmed; nothing was done" in done.stderr
    assert theirs.everything() == before
    assert not theirs.pushed()


def test_what_was_not_made_by_a_demo_is_not_taken_down(theirs: Theirs) -> None:
    done = theirs.make("down", f"CONTEXT={theirs.context}")
    assert done.returncode != 0
    assert "no demo was made on context" in done.stderr


def test_a_cluster_that_has_an_operator_already_is_left_alone(theirs: Theirs) -> None:
    theirs.kubectl("create", "namespace", "jil-system")
    try:
        done = theirs.make("demo", f"CONTEXT={theirs.context}", f"REGISTRY={theirs.registry}", typed=theirs.context)
        assert done.returncode != 0
        assert "has already: namespace jil-system" in done.stderr
    finally:
        theirs.kubectl("delete", "namespace", "jil-system")


@pytest.mark.timeout(1800)
def test_asked_and_confirmed_it_runs_there_and_down_takes_back_all_of_it_and_nothing_else(
    theirs: Theirs, images: dict[str, str], kind_cluster: KindCluster
) -> None:
    theirs.kubectl("create", "configmap", "their-own", "-n", "default")
    before = theirs.everything()
    began = time.monotonic()
    # Its pods know the registry by another address than this machine does.
    where = (f"CONTEXT={theirs.context}", f"REGISTRY={theirs.registry}", f"ENDPOINT=http://{_REGISTRY}:5000")
    done = theirs.make("demo", *where, typed=theirs.context)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "may not run in namespace" in done.stdout, "signatures are read from their registry, and it is shown"
    assert "pods and workloads in jil-sg-mas: none" in done.stdout
    assert "all 6 checks passed" in done.stdout
    assert f"make down CONTEXT={theirs.context}" in done.stdout
    print(f"demo on a foreign cluster: {time.monotonic() - began:.0f} s\n{done.stderr}")
    operator = theirs.kubectl("get", "deployment", "jil-operator", "-n", "jil-system", "-o", "yaml")
    assert f"image: {theirs.registry}/jil/operator@sha256:" in operator

    began = time.monotonic()
    done = theirs.make("down", f"CONTEXT={theirs.context}")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    print(f"down on a foreign cluster: {time.monotonic() - began:.0f} s\n{done.stderr}")
    deadline = time.monotonic() + 120
    while theirs.everything() != before and time.monotonic() < deadline:
        time.sleep(1)
    assert theirs.everything() == before
    left = run(["docker", "exec", f"{_NAME}-control-plane", "ls", "/var/local-path-provisioner"])
    assert left.split() == [], "the volumes' data is gone too"
    assert kind_cluster.kubectl("get", "--raw", "/readyz") == "ok", "the cluster of the tests was left alone"
