"""``make demo``: one whole JIL node on kind (or on a cluster of yours), and a proof that it works."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from testbed import cluster, demo_refusal, demo_state, demo_target, images, quickstart
from testbed.demo_state import DemoState
from testbed.errors import BedError
from testbed.progress import say, stage
from testbed.quickstart import FIRST, Target


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--context", help="use this context of your kubeconfig instead of a kind cluster")
    parser.add_argument("--registry", help="registry that this machine can push to and that cluster can pull from")
    parser.add_argument("--endpoint", help="URL at which that cluster's pods reach it, if not https://<its name>")
    parser.add_argument(
        "--login", type=Path, help="Docker config.json with a login for it, for this machine and for pods"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before using the cluster of --context")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        if options.context:
            _on_a_cluster_of_yours(options)
        elif options.registry or options.endpoint or options.login:
            raise BedError(
                "REGISTRY, ENDPOINT and LOGIN are for a cluster of yours: give CONTEXT=<name of its context> too"
            )
        else:
            _on_kind(began)
    except BedError as problem:
        print(f"demo: error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; `make down` removes what was made so far", file=sys.stderr)
        return 130
    return 0


def _on_kind(began: float) -> None:
    # Always the cluster of the test bed, by a kubeconfig file of its own: an exported KUBECONFIG is no consent.
    ours = cluster.Cluster()
    cluster.up(ours)
    with stage("images"):
        built = images.build_and_push()
    target = demo_target.on_kind(ours)
    state = DemoState(None, str(ours.kubeconfig))
    if _unchanged(target, built, demo_state.load(None), state):
        say("the demo runs already, and nothing of it has changed: nothing was done")
    else:
        _bring_up_and_prove(target, built, state)
    _farewell(target, time.monotonic() - began, "eval $(make -s env)", "make down")


def _on_a_cluster_of_yours(options: argparse.Namespace) -> None:
    context, address = options.context, options.registry
    if address is None:
        raise BedError(f"CONTEXT={context} needs REGISTRY=<host[:port]/path>, which the cluster can pull images from")
    target = demo_target.on_a_cluster_of_yours(context, address, options.endpoint, options.login)
    server = quickstart.server_of(target)
    known = demo_state.load(context)
    if known is None or known.server != server:
        _refuse_what_is_there(target, context)
    print(
        f"This installs the operator into namespace {quickstart.SYSTEM}, and a node into {FIRST.namespace}, on\n"
        f"  context  {context}\n  server   {server}\nand pushes images and their signatures to {address}."
    )
    if not options.yes:
        if not sys.stdin.isatty():
            raise BedError("nobody is there to ask: run it in a terminal, or say YES=1 if that cluster is meant")
        if input("Type the name of the context to go on: ").strip() != context:
            raise BedError("not confirmed; nothing was done")
    began = time.monotonic()
    built = images.build_and_push(registry=address)
    _bring_up_and_prove(target, built, DemoState(context, os.environ.get("KUBECONFIG"), server))
    _farewell(target, time.monotonic() - began, f"kubectl config use-context {context}", f"make down CONTEXT={context}")


def _refuse_what_is_there(target: Target, context: str) -> None:
    """A demo makes everything anew, so that `make down` can remove all of it and nothing else."""
    found = quickstart.traces(target)
    if found:
        raise BedError(
            f"context {context} has already: {', '.join(found)}. The demo did not make that and leaves it alone: "
            f"take another cluster, or remove it (docs/install.md, 'Uninstall')"
        )


def _bring_up_and_prove(target: Target, built: Mapping[str, str], state: DemoState) -> None:
    state.save()
    quickstart.bring_up(target, built)
    with stage("proof, from a pod of its own through Service DNS"):
        print(quickstart.proof(target, FIRST, built), flush=True)
    with stage("an image that nobody signed"):
        print(demo_refusal.show(target, built), flush=True)
    DemoState(state.context, state.kubeconfig, state.server, quickstart.fingerprint(target, built)).save()


def _unchanged(target: Target, built: Mapping[str, str], known: DemoState | None, now: DemoState) -> bool:
    if known is None or known.fingerprint != quickstart.fingerprint(target, built):
        return False
    if known.kubeconfig != now.kubeconfig:
        return False
    return quickstart.status_of(target, FIRST).get("phase") == "Ready"


def _farewell(target: Target, seconds: float, reach: str, remove: str) -> None:
    print(quickstart.table(target))
    print(
        f"""{seconds:.0f} s. What to try next:

  {reach:<58} # kubectl and helm now talk to this cluster
  kubectl describe jn ch-zug-01 -n jil-ch-finma              # conditions, what it waits for, Events
  kubectl delete deployment ch-zug-01-transfers -n jil-ch-finma   # ... and see it come back
  kubectl patch jn ch-zug-01 -n jil-ch-finma --type merge -p '{{"spec":{{"state":"Maintenance"}}}}'
  kubectl delete jn ch-zug-01 -n jil-ch-finma                # refused, and the message says how to confirm
  kubectl get jilimageallowlist jil-ch-finma -o yaml         # what may run there, and by whose signatures

  {remove:<58} # removes what this made"""
    )


if __name__ == "__main__":
    sys.exit(main())
