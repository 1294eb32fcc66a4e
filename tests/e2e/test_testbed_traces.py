"""A second engine and cluster: `up` killed at every stage, run twice at a time, its engine killed, and all of it gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_kind.cluster import KindCluster

from testbed import daemons, engine, nodeimage, paths
from testbed.processes import run
from testbed.provision import find

_DEADLINE_S = 1500

# What `up` says when it begins a stage, and how many seconds into the stage it is killed.
_STAGES = (
    ("starting a private Docker engine …", 0.1),
    ("loading the node image into the engine …", 1.0),
    ("creating the kind cluster 'trace' …", 6.0),
    ("starting the registry …", 0.1),
    ("waiting for nodes and the default ServiceAccount …", 0.1),
)

# Settings of the kernel that move by themselves.
_VOLATILE = (
    "dentry-state", "file-nr", "inode-nr", "inode-state", "ns_last_pid", "/random/", "/pty/nr", "aio-nr",
    "nf_conntrack_count", "perf_event_max_sample_rate", "quota/syncs",
)  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """A test bed on a cache of its own: its engine, its names and its cluster are nobody else's."""

    cache: Path
    configuration: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "JIL_CACHE": str(self.cache), "JIL_CLUSTER": "trace", "DOCKER_HOST": ""}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "testbed", *arguments],
            cwd=paths.CHECKOUT, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def call(self, *arguments: str) -> tuple[str, str]:
        """Run a command to its end; returns stdout and stderr."""
        with self.start(*arguments) as child:
            out, err = child.communicate(timeout=600)
        assert child.returncode == 0, f"{arguments}: {err[-3000:]}"
        return out, err

    def up(self) -> str:
        """Returns what it said."""
        return self.call("up", "--config", str(self.configuration))[1]

    def killed_up(self, line: str, seconds: float) -> None:
        """SIGKILL ``seconds`` after `up` has said ``line``; nothing that it started may go on."""
        with self.start("up", "--config", str(self.configuration)) as child:
            assert child.stderr is not None
            said = ""
            for said in child.stderr:
                if line in said:
                    break
            assert line in said, f"`up` never came to '{line}'"
            time.sleep(seconds)
            child.kill()

    @property
    def names(self) -> tuple[str, ...]:
        """What everything of this test bed on the machine is called by."""
        private = engine_of(self.cache)
        return (private.run.name, private.own_bridge, private.kind_bridge, private.cgroup, str(self.cache))

    def traces(self) -> dict[str, list[str]]:
        """Everything on this machine that bears one of the names, by where it was found."""

        def matching(lines: list[str]) -> list[str]:
            return [line for line in lines if any(name in line for name in self.names)]

        running = {str(pid) for name in self.names for pid in daemons.mentioning(name)}
        running |= {file.parent.name for file in Path("/proc").glob("[0-9]*/cgroup") if matching([_text(file)])}
        return {
            "processes": sorted(running),
            "mounts": matching(_text(Path("/proc/self/mounts")).splitlines()),
            "links": matching(os.listdir("/sys/class/net")),
            "rules": matching(_rules()),
            "files": matching([str(path) for path in Path("/run").iterdir()]),
            "cgroups": matching([str(path) for path in Path("/sys/fs/cgroup").glob("*/*")]),
        }


def engine_of(cache: Path) -> engine._Private:
    """The private engine that belongs to a cache."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JIL_CACHE", str(cache))
        return engine._Private()


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _rules() -> list[str]:
    """Chains, policies and rules of the host's firewall, without their counters and comments."""
    programs = [find(family) for family in ("iptables-save", "ip6tables-save")]
    lines = [line for program in programs if program for line in run([program]).splitlines()]
    return [line.split(" [")[0] for line in lines if not line.startswith("#")]


def _machine() -> dict[str, str]:
    """The machine as an engine or a node could have changed it for good: name -> value."""
    facts = {}
    for name in ("/etc/docker", "/run/docker", "/run/containerd", "/opt/containerd"):
        facts[name] = str(sorted(path.name for path in Path(name).iterdir()) if Path(name).exists() else None)
    for folder, _, files in os.walk("/proc/sys"):
        for name in files:
            file = f"{folder}/{name}"
            if not any(part in file for part in _VOLATILE):
                facts[file] = _text(Path(file))
    for number, rule in enumerate(sorted(_rules())):
        facts[f"rule {number}"] = rule
    facts["links"] = str(sorted(os.listdir("/sys/class/net")))
    mounts = _text(Path("/proc/self/mounts")).splitlines()
    facts["mounts"] = str(sorted(line.split()[1] for line in mounts))
    facts["chains"] = str([rule for rule in _rules() if rule.startswith(":")])
    return facts


@pytest.mark.timeout(_DEADLINE_S)
def test_up_killed_at_any_stage_is_repaired_and_down_leaves_the_machine_as_it_was(
    kind_cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host = engine.find()
    assert host is not None
    if not host.private:
        pytest.fail("this test needs a host without a Docker engine of its own: it is about the private one")
    nodeimage.tar()  # shared below: what is built already is not built again
    cache = tmp_path_factory.mktemp("trace")
    (cache / "built").symlink_to(paths.built())
    bed = Trace(cache, cache / "one-node.yaml")
    text = (paths.CHECKOUT / "kind-config.yaml").read_text()
    bed.configuration.write_text(text.replace("  - role: worker\n", ""))
    before = _machine()
    try:
        for line, seconds in _STAGES:
            bed.killed_up(line, seconds)
        _two_at_a_time(bed)
        assert "trace is healthy" in bed.call("status")[0]
        assert all(bed.traces().values()), "the names this test looks for are not the ones in use"

        said = bed.up()
        assert "creating" not in said, f"it was up already: {said}"
        assert "starting" not in said, f"it was up already: {said}"

        _kill_engine(bed)
        bed.up()
        assert "trace is healthy" in bed.call("status")[0]
    finally:
        bed.call("down")
    volumes = [path.name for path in (cache / "engine" / "data" / "volumes").iterdir() if path.is_dir()]
    containers = list((cache / "engine" / "data" / "containers").iterdir())
    shutil.rmtree(cache / "engine", ignore_errors=True)

    assert (volumes, containers) == ([], []), "what the nodes wrote is still there"
    assert [trace for found in bed.traces().values() for trace in found] == []
    after = _machine()
    changed = {name: (before.get(name), after.get(name)) for name in before.keys() | after.keys()}
    assert {name: pair for name, pair in changed.items() if pair[0] != pair[1]} == {}
    assert "none answers" in bed.call("status")[0]
    assert kind_cluster.kubectl("get", "--raw", "/readyz") == "ok", "the other engine was disturbed"


def _two_at_a_time(bed: Trace) -> None:
    """Both end well, and the cluster is not made twice."""
    both = [bed.start("up", "--config", str(bed.configuration)) for _ in range(2)]
    said = [child.communicate(timeout=600)[1] for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    assert sum("creating the kind cluster" in text for text in said) <= 1, said
    assert any("waiting for another run" in text for text in said), "they did not meet"


def _kill_engine(bed: Trace) -> None:
    """SIGKILL to dockerd and its containerd: nobody is left to look after the containers."""
    dockerd = json.loads((bed.cache / "state" / "dockerd.json").read_text())["pid"]
    for pid in {dockerd, *daemons.mentioning(str(engine_of(bed.cache).run / "exec"))}:
        if _text(Path(f"/proc/{pid}/comm")).strip() in ("dockerd", "containerd"):
            os.kill(pid, signal.SIGKILL)
