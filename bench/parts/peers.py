"""Other operators on the same rig, with as many objects to make: what does each of them cost, and per object?

dask-kubernetes is written in Python on Kopf, as this operator is; Argo Rollouts in Go. Each runs with its own defaults, from
the package index and from the Go module proxy; their resources ask for about as many objects in all as the nodes beside
them. No pod runs for any of them. They run one after the other on one control plane, each alone.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.cluster import Operator, Rig, is_creation, moment_of, rig, until
from bench.report import Reporter
from testbed import binaries, paths, toolchain
from testbed.locking import exclusive
from testbed.ports import free_ports
from testbed.processes import run as call
from testbed.processes import spawn_bound

NODES = 10
DASK = "2026.3.0"
ROLLOUTS, ROLLOUTS_VERSION = "github.com/argoproj/argo-rollouts", "v1.9.1"
#: Objects of one DaskCluster with one worker: worker group, Service, two Deployments. A Rollout makes one ReplicaSet.
_EACH = 4
_DASK_CRDS = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds/*.yaml"
_GROUP = "/apis/kubernetes.dask.org/v1"
_ARGO = "/apis/argoproj.io/v1alpha1"
_LABEL = "dask.org/cluster-name"
_SPACE = "peers"
_IMAGE = "registry.example/peers/main@sha256:" + "ab" * 32


def run(report: Reporter, nodes: int = NODES) -> None:
    """``nodes`` JILNodes first, then as many resources of each peer as make the same number of objects."""
    kopf, rollouts = _dask_kubernetes(), _argo_rollouts()
    with rig() as bench:
        objects = _ours(report, bench, nodes)
        bench.api.create("/api/v1/namespaces", {"metadata": {"name": _SPACE}})
        for path in sorted((kopf.parents[1] / "lib").glob(f"python*/site-packages/{_DASK_CRDS}")):
            _serve(bench, yaml.safe_load(path.read_text()))
        for path in sorted((rollouts.parent / "crds").glob("*-crd.yaml")):
            _serve(bench, yaml.safe_load(path.read_text()))
        time.sleep(5)
        count = -(-objects // _EACH)
        dask: list[str | Path] = [
            kopf,
            "run",
            "-m",
            "dask_kubernetes.operator.controller",
            "--all-namespaces",
            "--standalone",
        ]
        clusters = (f"{_GROUP}/namespaces/{_SPACE}/daskclusters", [_cluster(f"c{n:04d}") for n in range(count)])
        _peer(report, bench, "dask-kubernetes", dask, *clusters, lambda: _dask_objects(bench), count * _EACH)
        metrics, healthz = free_ports(2)
        argo: list[str | Path] = [
            rollouts,
            "--leader-elect=false",
            f"--metricsPort={metrics}",
            f"--healthzPort={healthz}",
        ]
        wanted = (f"{_ARGO}/namespaces/{_SPACE}/rollouts", [_rollout(f"r{n:04d}") for n in range(objects)])
        _peer(report, bench, "argo-rollouts", argo, *wanted, lambda: _replica_sets(bench), objects)


def _ours(report: Reporter, bench: Rig, nodes: int) -> int:
    """Returns how many objects the operator made (bookkeeping and Secrets included, as they are work all the same)."""
    operator = bench.operator()
    bench.leading(operator)
    time.sleep(5)
    idle, places = operator.rss(), bench.places(nodes)
    cpu, since, began = operator.cpu(), bench.plane.audit_position(), time.time()
    bench.create(places)
    bench.until_ready(nodes, 400)
    entries = bench.requests(since)
    created = [moment_of(e) for e in entries if is_creation(e)]
    made, took = len(created), max(created) - began  # the last are made when pods are ready; dask's wait for none
    _tell(report, "jil-operator", operator, made, took, idle, cpu, Counter(e["verb"] for e in entries))
    operator.end()
    return made


def _peer(
    report: Reporter,
    bench: Rig,
    who: str,
    command: Sequence[str | Path],
    path: str,
    bodies: list[dict[str, Any]],
    made: Callable[[], int],
    wanted: int,
) -> None:
    config = bench.plane.kubeconfig_for_user(who, ["system:masters"], namespace=_SPACE)
    log = bench.folder / f"{who}.log"
    child = spawn_bound(command, log, env={**os.environ, "KUBECONFIG": str(config)})
    operator = Operator(child, 0, log)
    time.sleep(20)
    if child.poll() is not None:
        raise RuntimeError(f"{who} has ended: {log.read_text(errors='replace')[-1500:]}")
    idle, cpu, since, began = operator.rss(), operator.cpu(), bench.plane.audit_position(), time.monotonic()
    for body in bodies:
        bench.api.create(path, body)
    until(lambda: made() >= wanted, f"all objects of {who}", 600, pause=0.5, now=lambda: f"{made()} of {wanted}")
    took = time.monotonic() - began
    theirs = [e for e in bench.plane.audit_entries(since) if e["user"]["username"] == who and e["verb"] != "watch"]
    _tell(report, who, operator, wanted, took, idle, cpu, Counter(e["verb"] for e in theirs))
    operator.end(5)


def _tell(
    report: Reporter, who: str, operator: Operator, made: int, took: float, idle: float, cpu: float, verbs: Counter[str]
) -> None:
    spent = operator.cpu() - cpu
    report.tell(f"{who}: objects made", made, "objects", f"in {took:.1f} s")
    report.tell(f"{who}: RSS idle", idle, "MiB")
    report.tell(f"{who}: RSS after", operator.rss(), "MiB")
    report.tell(f"{who}: CPU per object", spent / made * 1000, "ms", f"{spent:.1f} s in all")
    report.tell(f"{who}: requests per object", verbs.total() / made, "requests", str(dict(verbs.most_common(5))))
    report.tell(f"{who}: objects per second", made / took, "1/s")


def _dask_objects(bench: Rig) -> int:
    kinds = ("/api/v1/services", "/apis/apps/v1/deployments", f"{_GROUP}/daskworkergroups")
    return sum(
        bool((item["metadata"].get("labels") or {}).get(_LABEL)) or kind.endswith("groups")
        for kind in kinds
        for item in bench.api.get(kind)["items"]
    )


def _replica_sets(bench: Rig) -> int:
    items = bench.api.get(f"/apis/apps/v1/namespaces/{_SPACE}/replicasets")["items"]
    return sum("rollouts-pod-template-hash" in (item["metadata"].get("labels") or {}) for item in items)


def _serve(bench: Rig, crd: dict[str, Any]) -> None:
    bench.api.apply(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}", crd)


def _rollout(name: str) -> dict[str, Any]:
    """The smallest that the documentation shows; its pod is held back by a selector, as no other pod runs here."""
    pod = {"containers": [{"name": "main", "image": _IMAGE}], "nodeSelector": {"bench": "nowhere"}}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template, "strategy": {"canary": {}}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name, "namespace": _SPACE},
        "spec": spec,
    }


def _cluster(name: str) -> dict[str, Any]:
    """The smallest that the documentation shows: a scheduler and one worker."""
    container = {"name": "main", "image": _IMAGE}
    port = {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": "tcp-comm"}
    service = {"type": "ClusterIP", "selector": {_LABEL: name, "dask.org/component": "scheduler"}, "ports": [port]}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name, "namespace": _SPACE},
        "spec": {
            "worker": {"replicas": 1, "spec": {"containers": [container]}},
            "scheduler": {"spec": {"containers": [container]}, "service": service},
        },
    }


def _dask_kubernetes() -> Path:
    """The kopf of an environment that has dask-kubernetes; made when the cache does not have it."""
    folder = paths.built() / f"dask-kubernetes-{DASK}-{sys.version_info[0]}.{sys.version_info[1]}"
    program = folder / "bin" / "kopf"
    with exclusive("dask-kubernetes"):
        if not program.exists():
            call([sys.executable, "-m", "venv", "--clear", folder], timeout_s=120)
            pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
            call([*pip, "install", f"dask-kubernetes=={DASK}"], timeout_s=900)
    return program


def _argo_rollouts() -> Path:
    """The controller, with its CRDs beside it in ``crds``. Built from a copy of the module: only as the main module has it
    its own replace lines. Ten minutes on two cores the first time."""
    folder = paths.built() / f"argo-rollouts-{ROLLOUTS_VERSION}"
    with exclusive("argo-rollouts"):
        if not folder.exists():
            with paths.FreshFolder(folder) as made:
                source = made / "source"
                shutil.copytree(binaries.module_folder(ROLLOUTS, ROLLOUTS_VERSION), source)
                call(["chmod", "-R", "u+w", source], timeout_s=60)
                build: list[str | Path] = [toolchain.go(), "build", "-trimpath", "-ldflags", "-s -w"]
                build += ["-o", made / "rollouts-controller", "./cmd/rollouts-controller"]
                environment = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
                call(["nice", "-n", "10", *build], timeout_s=3600, env=environment, cwd=source)
                shutil.copytree(source / "manifests" / "crds", made / "crds")
                shutil.rmtree(source)
    return folder / "rollouts-controller"
