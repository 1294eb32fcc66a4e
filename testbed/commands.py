"""The command line of the test bed."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shlex
import signal
import sys
import threading
from pathlib import Path

from testbed import (
    binaries,
    cluster,
    demo_target,
    engine,
    images,
    nodes,
    paths,
    processes,
    provision,
    quickstart,
    registry,
    virtualenv,
)
from testbed.controlplane import ControlPlane
from testbed.errors import BedError


def main(arguments: list[str]) -> int:
    """Run one command; returns the process's exit status."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        options.action(options)
    except BedError as problem:
        print(f"testbed: error: {problem}", file=sys.stderr)
        return 1
    except OSError as problem:
        if problem.errno not in _REMEDIES:
            raise
        where = f" ({problem.filename})" if problem.filename else ""
        print(f"testbed: error: {problem.strerror}{where}: {_remedy(problem.errno)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("testbed: interrupted", file=sys.stderr)
        return 130
    return 0


_REMEDIES = {
    errno.ENOSPC: "make room under {cache}, or point JIL_CACHE to another disk",
    errno.EDQUOT: "make room under {cache}, or point JIL_CACHE to another disk",
    errno.EROFS: "JIL_CACHE (now {cache}) must name a folder that can be written to",
    errno.EACCES: "this user may not; the cache is {cache}: run as its owner, or point JIL_CACHE to a folder of yours",
    errno.EPERM: "this user may not; the cache is {cache}: run as its owner, or point JIL_CACHE to a folder of yours",
}
"""What to do about an error of the system that no part of the test bed could tell more about."""


def _remedy(number: int | None) -> str:
    return _REMEDIES[number or 0].format(cache=paths.cache_root())


def _interrupted(*_: object) -> None:
    """Builds run in sessions of their own and in threads: end them too, and then this process."""
    processes.interrupt()
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m testbed", description="Real Kubernetes for tests and demo.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str, *, of_cluster: bool = False) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        added.set_defaults(action=globals()[f"_{name.replace('-', '_')}"])
        if of_cluster:
            default = os.environ.get("JIL_CLUSTER", "jil")
            added.add_argument(
                "--cluster", default=default, help="name of the kind cluster (default: $JIL_CLUSTER, now %(default)s)"
            )
        return added

    def on_a_node(name: str, text: str) -> argparse.ArgumentParser:
        added = command(name, text, of_cluster=True)
        added.add_argument("node", metavar="NODE", help="a node as `status` lists it, or its last part: worker2")
        return added

    command("doctor", "say what this host lacks, change nothing")
    command("setup", "say what will be installed, then install it (Debian packages, as root)")
    command("binaries", "build the test bed's programs into the cache and list them")
    command("venv", "make .venv from requirements/dev.txt, by hash")
    up = command("up", "engine, registry and kind cluster, each only if it is not there yet", of_cluster=True)
    up.add_argument("--config", type=Path, default=cluster.CONFIGURATION, help="kind configuration (kind-config.yaml)")
    down = command("down", "delete the clusters made here, stop registry and private engine; caches stay")
    down.add_argument("--cluster", help="only this cluster")
    build = command("images", "build what changed, push it to the local registry, print references by digest")
    build.add_argument("names", nargs="*", metavar="NAME", help="only these images")
    push = command("push", "push an image of the engine, or of an archive, to the local registry; print its reference")
    push.add_argument("image", metavar="IMAGE", help="name or id of an image of the engine, or a .tar of `docker save`")
    push.add_argument("--as", dest="repository", metavar="REPOSITORY", help="repository to push to (default: its name)")
    command("status", "what runs, and where", of_cluster=True)
    command("env", "export lines for a shell: eval $(python3 -m testbed env)", of_cluster=True)
    command("kubeconfig", "print the path of the cluster's kubeconfig", of_cluster=True)
    command("controlplane", "run an API server with controllers (no kubelet) until Ctrl-C; prints its kubeconfig")
    command("logs", "collect the logs of nodes and pods and print the folder", of_cluster=True)
    command("audit", "print the API server's audit log (JSON lines)", of_cluster=True)
    stop = on_a_node("stop-node", "shut a node of the cluster down")
    stop.add_argument("--kill", action="store_true", help="pull the plug instead")
    on_a_node("start-node", "start a node that is down and wait until it is Ready")
    on_a_node("cut-node", "drop all traffic of a node and its pods; what runs on it goes on running")
    on_a_node("heal-node", "undo cut-node and wait until the node is Ready")
    return parser


def _doctor(_: argparse.Namespace) -> None:
    private = _needs_private_engine()
    lacking = [f"{need.program} (Debian package {need.package}): {need.purpose}" for need in provision.missing(private)]
    if not provision.has_venv():
        lacking.append("Python's venv module (Debian package python3-venv): the project's virtual environment")
    problems = provision.doctor(private)
    if lacking or problems:
        raise BedError("this host lacks:\n- " + "\n- ".join([*lacking, *problems]) + "\n`setup` installs packages")
    print("nothing is missing")


def _setup(_: argparse.Namespace) -> None:
    provision.setup(_needs_private_engine())


def _binaries(_: argparse.Namespace) -> None:
    for name, program in sorted(binaries.all_programs().items()):
        print(f"{name}\t{program}")


def _venv(_: argparse.Namespace) -> None:
    print(virtualenv.project())


def _images(options: argparse.Namespace) -> None:
    print(json.dumps(images.build_and_push(options.names or None), indent=1))


def _push(options: argparse.Namespace) -> None:
    print(images.push(options.image, options.repository))


def _up(options: argparse.Namespace) -> None:
    cluster.up(cluster.Cluster(options.cluster, options.config.absolute()))


def _down(options: argparse.Namespace) -> None:
    cluster.down([options.cluster] if options.cluster else None)


def _status(options: argparse.Namespace) -> None:
    host = engine.find()
    if not host:
        print("engine    none answers")
        return
    print(f"engine    {host.host or 'the default one'}{' (private)' if host.private else ''}")
    wanted = cluster.Cluster(options.cluster)
    if not wanted.record.exists():
        print(f"cluster   {wanted.name} is not there")
        return
    healthy = cluster.healthy(host, wanted)
    print(f"cluster   {wanted.name} {'is healthy' if healthy else 'is NOT healthy: `up` makes it again'}")
    for node in nodes.names(host, wanted):
        print(f"node      {node} {nodes.state(host, node)}")
    print(f"config    {wanted.kubeconfig}")
    address = registry.push_address(host) if registry.running(host) else "does not answer"
    print(f"registry  {address} (in the cluster: {registry.NAME})")


def _env(options: argparse.Namespace) -> None:
    host, ours = engine.find(), _existing(options)
    values, folders = {"KUBECONFIG": str(ours.kubeconfig)}, [str(binaries.search_path())]
    if host and host.private:
        values["DOCKER_HOST"] = host.host
    if host and registry.running(host):
        trust = demo_target.kind_trust(ours, host)
        if trust.public_keys():  # a demo was made there: jilctl decides by its policy and reads its registry
            values |= {**trust.registry, "JIL_NETWORK": quickstart.NETWORK}
            folders.append(str(trust.program.parent))
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
    print(f'export PATH={shlex.quote(":".join(folders))}:"$PATH"')


def _kubeconfig(options: argparse.Namespace) -> None:
    print(_existing(options).kubeconfig)


def _controlplane(_: argparse.Namespace) -> None:
    with ControlPlane() as running:
        print(running.kubeconfig, flush=True)
        print(f"testbed: {running.url} serves; Ctrl-C ends it and removes its data", file=sys.stderr)
        threading.Event().wait()


def _logs(options: argparse.Namespace) -> None:
    print(cluster.export_logs(_existing(options)))


def _audit(options: argparse.Namespace) -> None:
    sys.stdout.write(cluster.audit_log(_existing(options)))


def _stop_node(options: argparse.Namespace) -> None:
    host, _, node = _node(options)
    nodes.stop(host, node, kill=options.kill)


def _start_node(options: argparse.Namespace) -> None:
    nodes.start(*_node(options))


def _cut_node(options: argparse.Namespace) -> None:
    host, _, node = _node(options)
    nodes.cut(host, node)


def _heal_node(options: argparse.Namespace) -> None:
    nodes.heal(*_node(options))


def _node(options: argparse.Namespace) -> tuple[engine.Engine, cluster.Cluster, str]:
    wanted = _existing(options)
    host = cluster.running_engine()
    return host, wanted, nodes.resolve(host, wanted, options.node)


def _existing(options: argparse.Namespace) -> cluster.Cluster:
    wanted = cluster.Cluster(options.cluster)
    if not wanted.kubeconfig.exists():
        raise BedError(f"there is no cluster '{wanted.name}'; `python3 -m testbed up` makes it")
    return wanted


def _needs_private_engine() -> bool:
    host = engine.find()
    return host is None or host.private
