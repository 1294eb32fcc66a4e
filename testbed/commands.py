"""The command line of the test bed."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading

from testbed import binaries, cluster, engine, images, processes, provision, registry, virtualenv
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
    except KeyboardInterrupt:
        print("testbed: interrupted", file=sys.stderr)
        return 130
    return 0


def _interrupted(*_: object) -> None:
    """Builds run in sessions of their own and in threads: end them too, and then this process."""
    processes.interrupt()
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m testbed", description="Real Kubernetes for tests and demo.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str, *, of_cluster: bool = False) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(action=globals()[f"_{name}"])
        if of_cluster:
            default = os.environ.get("JIL_CLUSTER", "jil")
            added.add_argument("--cluster", default=default, help="name of the kind cluster (default: %(default)s)")
        return added

    command("doctor", "say what this host lacks, change nothing")
    command("setup", "say what will be installed, then install it (Debian packages, as root)")
    command("binaries", "build the test bed's programs into the cache and list them")
    command("venv", "make .venv from requirements/dev.txt, by hash")
    command("up", "engine, registry and kind cluster, each only if it is not there yet", of_cluster=True)
    down = command("down", "delete the clusters made here, stop registry and private engine; caches stay")
    down.add_argument("--cluster", help="only this cluster")
    build = command("images", "build what changed, push it to the local registry, print references by digest")
    build.add_argument("names", nargs="*", metavar="NAME", help="only these images")
    command("status", "what runs, and where", of_cluster=True)
    command("env", "export lines for a shell: eval $(python3 -m testbed env)", of_cluster=True)
    command("kubeconfig", "print the path of the cluster's kubeconfig", of_cluster=True)
    command("controlplane", "run an API server with controllers (no kubelet) until Ctrl-C; prints its kubeconfig")
    command("logs", "collect the logs of nodes and pods and print the folder", of_cluster=True)
    command("audit", "print the API server's audit log (JSON lines)", of_cluster=True)
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


def _up(options: argparse.Namespace) -> None:
    cluster.up(cluster.Cluster(options.cluster))


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
    print(f"nodes     {' '.join(cluster.nodes(host, wanted))}")
    print(f"config    {wanted.kubeconfig}")
    address = registry.push_address(host) if registry.running(host) else "does not answer"
    print(f"registry  {address} (in the cluster: {registry.NAME})")


def _env(options: argparse.Namespace) -> None:
    host = engine.find()
    values = {"KUBECONFIG": str(_existing(options).kubeconfig)}
    if host and host.private:
        values["DOCKER_HOST"] = host.host
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
    print(f'export PATH={shlex.quote(str(binaries.search_path()))}:"$PATH"')


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


def _existing(options: argparse.Namespace) -> cluster.Cluster:
    wanted = cluster.Cluster(options.cluster)
    if not wanted.kubeconfig.exists():
        raise BedError(f"there is no cluster '{wanted.name}'; `python3 -m testbed up` makes it")
    return wanted


def _needs_private_engine() -> bool:
    host = engine.find()
    return host is None or host.private
