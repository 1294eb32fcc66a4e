"""Another operator on the same rig, with as many objects to make: what does each of them cost, and per object?

dask-kubernetes is written in Python on Kopf as this operator is. It runs as its documentation says, from a virtual
environment of its own; its resources ask for about as many objects in all as the nodes beside them. No pod runs for
either. The two run one after the other on one control plane, each alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from bench.cluster import Operator, Rig, is_write, moment_of, rig, until
from bench.report import Reporter
from testbed import paths
from testbed.locking import exclusive
from testbed.processes import run as call
from testbed.processes import spawn_bound

NODES = 10
VERSION = "2026.3.0"
#: Objects of one DaskCluster with one worker: worker group, Service, two Deployments.
_EACH = 4
_GROUP = "/apis/kubernetes.dask.org/v1"
_LABEL = "dask.org/cluster-name"
_SPACE = "dask"


def run(report: Reporter, nodes: int = NODES) -> None:
    """``nodes`` JILNodes first, then as many DaskClusters as make the same number of objects."""
    program = _installed()
    with rig() as bench:
        objects = _ours(report, bench, nodes)
        _dask(report, bench, program, objects)


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
    created = [moment_of(e) for e in entries if is_write(e) and e.get("responseStatus", {}).get("code") == 201]
    made, took = len(created), max(created) - began  # the last are made when pods are ready; dask's wait for none
    _tell(report, "jil-operator", operator, made, took, idle, cpu, Counter(e["verb"] for e in entries))
    operator.end()
    return made


def _dask(report: Reporter, bench: Rig, program: Path, objects: int) -> None:
    folder = program.parents[1] / "lib"
    for path in sorted(folder.glob("python*/site-packages/dask_kubernetes/operator/customresources/dask*.yaml")):
        if not path.name.endswith(".patch.yaml"):
            crd = _without_references(yaml.safe_load(path.read_text()))
            where = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
            bench.api.apply(where, crd)
    bench.api.create("/api/v1/namespaces", {"metadata": {"name": _SPACE}})
    time.sleep(5)
    user = "dask-operator"
    config = bench.plane.kubeconfig_for_user(user, ["system:masters"], namespace=_SPACE)
    log = bench.folder / "dask.log"
    command: list[str | Path] = [
        program,
        "run",
        "-m",
        "dask_kubernetes.operator.controller",
        "--all-namespaces",
        "--standalone",
    ]
    child = spawn_bound(command, log, env={**os.environ, "KUBECONFIG": str(config)})
    operator = Operator(child, 0, log)
    time.sleep(20)
    if child.poll() is not None:
        raise RuntimeError(f"dask-kubernetes has ended: {log.read_text()[-1500:]}")
    count = -(-objects // _EACH)
    idle, cpu, since, began = operator.rss(), operator.cpu(), bench.plane.audit_position(), time.monotonic()
    for number in range(count):
        bench.api.create(f"{_GROUP}/namespaces/{_SPACE}/daskclusters", _cluster(f"c{number:04d}"))
    wanted = count * _EACH
    until(lambda: _made(bench) >= wanted, "all objects", 600, pause=0.5, now=lambda: f"{_made(bench)} of {wanted}")
    took = time.monotonic() - began
    entries = [
        e for e in bench.plane.audit_entries(since) if e["user"]["username"] == user and e.get("verb") != "watch"
    ]
    _tell(report, "dask-kubernetes", operator, wanted, took, idle, cpu, Counter(e["verb"] for e in entries))
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


def _made(bench: Rig) -> int:
    kinds = ("/api/v1/services", "/apis/apps/v1/deployments", f"{_GROUP}/daskworkergroups")
    return sum(
        bool((item["metadata"].get("labels") or {}).get(_LABEL)) or kind.endswith("groups")
        for kind in kinds
        for item in bench.api.get(kind)["items"]
    )


def _cluster(name: str) -> dict[str, Any]:
    """The smallest that the documentation shows: a scheduler and one worker."""
    container = {"name": "main", "image": "ghcr.io/dask/dask:latest"}
    port = {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": 8786}
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


def _without_references(value: Any) -> Any:
    """Schemas that refer to files which only their build has: any object will do."""
    if isinstance(value, dict):
        if "$ref" in value:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return {key: _without_references(one) for key, one in value.items()}
    return [_without_references(one) for one in value] if isinstance(value, list) else value


def _installed() -> Path:
    """The kopf of an environment that has dask-kubernetes; made when the cache does not have it."""
    folder = paths.built() / f"dask-kubernetes-{VERSION}-{sys.version_info[0]}.{sys.version_info[1]}"
    program = folder / "bin" / "kopf"
    with exclusive("dask-kubernetes"):
        if not program.exists():
            call([sys.executable, "-m", "venv", "--clear", folder], timeout_s=120)
            pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
            try:
                call([*pip, "install", f"dask-kubernetes=={VERSION}"], timeout_s=900)
            except BaseException:
                subprocess.run(["rm", "-rf", str(folder)], check=False)
                raise
    return program
