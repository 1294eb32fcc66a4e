"""``make demo``: one whole JIL node on kind (or on a cluster of yours), and a proof that it works."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from testbed import cluster, images, paths, quickstart
from testbed.errors import BedError
from testbed.progress import say, stage
from testbed.quickstart import FIRST, Target

STATE = "demo.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--context", help="use this context of your kubeconfig instead of a kind cluster")
    parser.add_argument("--registry", help="registry that this machine can push to and that cluster can pull from")
    parser.add_argument("--yes", action="store_true", help="do not ask before using the cluster of --context")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        if options.context:
            _on_a_cluster_of_yours(options.context, options.registry, yes=options.yes)
        elif options.registry:
            raise BedError("REGISTRY is for a cluster of yours: give CONTEXT=<name of its context> too")
        else:
            _on_kind(began)
    except BedError as problem:
        print(f"demo: error: {problem}", file=sys.stderr)
        return 1
    return 0


def _on_kind(began: float) -> None:
    ours = cluster.Cluster()
    cluster.up(ours)
    with stage("images"):
        built = images.build_and_push()
    target = Target(ours.kubeconfig)
    if _unchanged(target, built, str(ours.kubeconfig)):
        say("the demo runs already, and nothing of it has changed: nothing was done")
    else:
        quickstart.bring_up(target, built)
        _prove(target, built)
        _remember(built, str(ours.kubeconfig), None)
    _farewell(target, time.monotonic() - began)


def _on_a_cluster_of_yours(context: str, registry: str | None, *, yes: bool) -> None:
    if registry is None:
        raise BedError(f"CONTEXT={context} needs REGISTRY=<host[:port]/path>, which the cluster can pull images from")
    target = Target(None, context)
    server = target.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}").strip()
    print(
        f"This installs the operator into namespace {quickstart.SYSTEM}, and a node into {FIRST.namespace}, on\n"
        f"  context  {context}\n  server   {server}\nand pushes images to {registry}."
    )
    if not yes:
        if not sys.stdin.isatty():
            raise BedError("nobody is there to ask: run it in a terminal, or say YES=1 if that cluster is meant")
        if input("Type the name of the context to go on: ").strip() != context:
            raise BedError("not confirmed; nothing was done")
    began = time.monotonic()
    built = images.build_and_push(registry=registry)
    quickstart.bring_up(target, built)
    _prove(target, built)
    _remember(built, None, context)
    _farewell(target, time.monotonic() - began)


def _prove(target: Target, built: Mapping[str, str]) -> None:
    with stage("proof, from a pod of its own through Service DNS"):
        print(quickstart.proof(target, FIRST, built), flush=True)


def _state() -> Path:
    return paths.state() / STATE


def _remember(built: Mapping[str, str], kubeconfig: str | None, context: str | None) -> None:
    facts = {"fingerprint": quickstart.fingerprint(built), "kubeconfig": kubeconfig, "context": context}
    _state().write_text(json.dumps(facts))


def _unchanged(target: Target, built: Mapping[str, str], kubeconfig: str) -> bool:
    try:
        known = json.loads(_state().read_text())
    except (OSError, ValueError):
        return False
    if known.get("fingerprint") != quickstart.fingerprint(built) or known.get("kubeconfig") != kubeconfig:
        return False
    return quickstart.status_of(target, FIRST).get("phase") == "Ready"


def _farewell(target: Target, seconds: float) -> None:
    print(quickstart.table(target))
    print(
        f"""{seconds:.0f} s. What to try next:

  eval $(make -s env)                                        # kubectl and helm now talk to this cluster
  kubectl describe jn ch-zug-01 -n jil-ch-finma              # conditions, what it waits for, Events
  kubectl delete deployment ch-zug-01-transfers -n jil-ch-finma   # ... and see it come back
  kubectl patch jn ch-zug-01 -n jil-ch-finma --type merge -p '{{"spec":{{"state":"Maintenance"}}}}'
  kubectl delete jn ch-zug-01 -n jil-ch-finma                # refused, and the message says how to confirm

  make down                                                  # removes what this made"""
    )


if __name__ == "__main__":
    sys.exit(main())
