"""What the test bed promises about its cluster, and that nothing of it is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from pytest_kind.cluster import KindCluster

from testbed import audit, binaries, daemons, engine, images, nodeimage, paths, registry
from testbed.processes import run, wait_until
from testbed.provision import find

# It starts a second engine and cluster, breaks them, and repairs them: about two minutes on two cores.
_TRACE_DEADLINE_S = 600
_HELPER_IMAGE = "docker.io/kindest/local-path-helper:testbed"


def test_nodes_and_default_storage_class_are_there(kind_cluster: KindCluster) -> None:
    nodes = kind_cluster.kubectl("get", "nodes", "--no-headers").splitlines()
    assert len(nodes) == 5, "one control plane and four workers, as in kind-config.yaml"
    assert all(" Ready " in node for node in nodes)
    assert "standard (default)" in kind_cluster.kubectl("get", "storageclass")


def test_the_api_servers_audit_log_is_written(kind_cluster: KindCluster) -> None:
    kind_cluster.kubectl("create", "configmap", "audited", "--dry-run=server")
    command = ["docker", "exec", f"{kind_cluster.name}-control-plane", "cat", audit.LOG_IN_NODE]

    def logged() -> bool:
        events = [json.loads(line) for line in run(command).splitlines() if '"audited"' in line]
        return any(event["verb"] == "create" and "dryRun=All" in event["requestURI"] for event in events)

    wait_until(logged, "the request in the audit log", 10)


def test_a_pod_that_is_not_root_writes_to_a_volume_that_one_pod_may_use(
    kind_cluster: KindCluster, tmp_path: Path
) -> None:
    def pod(name: str, command: str) -> dict[str, object]:
        mount = {"name": "data", "mountPath": "/data"}
        container = {"name": "c", "image": _HELPER_IMAGE, "command": ["sh", "-c", command], "volumeMounts": [mount]}
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "one"}}
        security = {"runAsUser": 10001, "runAsNonRoot": True}
        spec = {"containers": [container], "volumes": [volume], "securityContext": security}
        spec |= {"terminationGracePeriodSeconds": 0}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}

    claim = {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "10Mi"}}}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "testbed-storage"}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "one"}, "spec": claim},
        pod("first", "id -u > /data/who && sleep 600"),
        pod("second", "sleep 600"),
    ]
    manifest = tmp_path / "objects.json"
    manifest.write_text("\n---\n".join(map(json.dumps, objects)))
    here = ("-n", "testbed-storage")
    try:
        kind_cluster.kubectl("apply", "-f", str(manifest), *here)
        kind_cluster.kubectl("wait", "pod/first", "--for=condition=Ready", "--timeout=90s", *here)
        assert kind_cluster.kubectl("exec", "first", *here, "--", "cat", "/data/who").strip() == "10001"
        second = json.loads(kind_cluster.kubectl("get", "pod", "second", *here, "-o", "json"))
        assert second["status"]["phase"] == "Pending"
        volume = json.loads(kind_cluster.kubectl("get", "pv", "-o", "json"))["items"]
        mine = [each for each in volume if each["spec"]["claimRef"]["namespace"] == "testbed-storage"]
        assert mine[0]["spec"]["nodeAffinity"]["required"]
    finally:
        kind_cluster.kubectl("delete", "namespace", "testbed-storage", "--wait=false")


def test_every_image_in_the_listing_can_be_pulled_by_its_digest(kind_cluster: KindCluster) -> None:
    built = images.build_and_push()
    assert set(built) == set(images.names())
    for reference in built.values():
        assert reference.startswith(f"{registry.NAME}/jil/")
        assert "@sha256:" in reference
    smallest = built["cache"]
    hosts = ("--hosts-dir", "/etc/containerd/certs.d")
    run(["docker", "exec", f"{kind_cluster.name}-worker", "ctr", "-n", "k8s.io", "images", "pull", *hosts, smallest])


def _testbed(cache: Path, *arguments: str) -> str:
    """Run `python -m testbed` on a cache of its own."""
    environment = {"JIL_CACHE": str(cache), "JIL_CLUSTER": "trace", "DOCKER_HOST": ""}
    return run([sys.executable, "-m", "testbed", *arguments], env=environment, cwd=paths.CHECKOUT, timeout_s=500)


def _traces(cache: Path, names: tuple[str, ...]) -> dict[str, list[str]]:
    """Everything on this machine that bears one of an engine's names, by where it was found."""
    bears = (*names, str(cache))

    def matching(lines: list[str]) -> list[str]:
        return [line for line in lines if any(name in line for name in bears)]

    rules = [find(family) for family in ("iptables-save", "ip6tables-save")]
    running = {str(pid) for name in names for pid in daemons.mentioning(name)}
    running |= {file.parent.name for file in Path("/proc").glob("[0-9]*/cgroup") if matching([_text(file)])}
    return {
        "processes": sorted(running),
        "mounts": matching(_text(Path("/proc/self/mounts")).splitlines()),
        "links": matching(os.listdir("/sys/class/net")),
        "rules": matching([line for rule in rules if rule for line in run([rule]).splitlines()]),
        "files": matching([str(path) for path in Path("/run").iterdir()]),
        "cgroups": matching([str(path) for path in Path("/sys/fs/cgroup").glob("*/*")]),
    }


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _settings() -> dict[str, str]:
    """What an engine or a node could have changed on the host for good."""
    files = [Path(name) for name in ("/etc/docker/key.json", "/run/docker", "/run/containerd", "/opt/containerd")]
    facts = {str(file): str(file.exists()) for file in files}
    for name in ("net/ipv4/ip_forward", "fs/file-max", "kernel/panic", "vm/overcommit_memory", "fs/protected_regular"):
        facts[name] = _text(Path("/proc/sys") / name)
    save = find("iptables-save")
    lines = run([save]).splitlines() if save else []
    facts["chains"] = "\n".join(
        line.split(" [")[0] for line in lines if line.startswith((":", "*")) and "DOCKER" in line
    )
    return facts


@pytest.mark.timeout(_TRACE_DEADLINE_S)
def test_a_crashed_engine_is_repaired_and_down_leaves_nothing_behind(
    kind_cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host = engine.find()
    assert host is not None
    if not host.private:
        pytest.fail("this test needs a host without a Docker engine of its own: it is about the private one")
    nodeimage.tar()  # shared below: what is built already is not built again
    cache = tmp_path_factory.mktemp("trace")
    (cache / "built").symlink_to(paths.built())
    before = _settings()
    try:
        _testbed(cache, "up")
        status = _testbed(cache, "status")
        assert "trace is healthy" in status
        line = next(line for line in status.splitlines() if line.startswith("engine"))
        run_folder = Path(line.split()[1].removeprefix("unix://")).parent
        names = (run_folder.name, f"jil{run_folder.name.removeprefix('jil-testbed-')[:6]}")
        assert all(_traces(cache, names).values()), "the names this test looks for are not the ones in use"

        _kill_engine(cache, run_folder)
        _testbed(cache, "up")
        assert "trace is healthy" in _testbed(cache, "status")
    finally:
        _testbed(cache, "down")
        shutil.rmtree(cache / "engine", ignore_errors=True)

    assert [trace for found in _traces(cache, names).values() for trace in found] == []
    assert _settings() == before
    assert "none answers" in _testbed(cache, "status")
    assert kind_cluster.kubectl("get", "--raw", "/readyz") == "ok", "the other engine was disturbed"


def _kill_engine(cache: Path, run_folder: Path) -> None:
    """SIGKILL to dockerd and its containerd: nobody is left to look after the containers."""
    dockerd = json.loads((cache / "state" / "dockerd.json").read_text())["pid"]
    for pid in {dockerd, *daemons.mentioning(str(run_folder / "exec"))}:
        if _text(Path(f"/proc/{pid}/comm")).strip() in ("dockerd", "containerd"):
            os.kill(pid, signal.SIGKILL)


def test_kubectl_kind_and_helm_are_the_ones_of_the_test_bed_or_good_enough() -> None:
    for name in ("kubectl", "kind", "helm"):
        assert os.access(binaries.program_for(name), os.X_OK)
