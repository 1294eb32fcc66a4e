"""``make down``: removes what ``make demo`` made, and nothing else. Built programs and images stay cached."""

from __future__ import annotations

import argparse
import json
import os
import sys

from testbed import cluster, demo_refusal, demo_state, quickstart
from testbed.demo_state import DemoState
from testbed.errors import BedError
from testbed.processes import wait_until
from testbed.progress import say, stage
from testbed.quickstart import FIRST, SYSTEM, Target

_PATIENCE_S = 240


def main(arguments: list[str] | None = None) -> int:
    """Removes the demo; returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="make down", description=__doc__)
    parser.add_argument("--context", help="only the demo on the cluster of this context")
    options = parser.parse_args(arguments)
    try:
        if options.context:
            _one(options.context)
        else:
            for state in demo_state.on_clusters_of_others():
                _leave(state)
            cluster.down([cluster.Cluster().name])
            DemoState(None, None).forget()
    except BedError as problem:
        print(f"down: error: {problem}", file=sys.stderr)
        return 1
    return 0


def _one(context: str) -> None:
    known = demo_state.load(context)
    if known is None:
        raise BedError(f"no demo was made on context {context}; nothing was done")
    _leave(known)
    cluster.down([])  # a private engine that was only there to build the images


def _leave(state: DemoState) -> None:
    """Takes everything back that the demo put on somebody's cluster, data and keys of the demo's node included."""
    # The kubeconfig of then: `eval $(make -s env)` may have exported another one since.
    if state.kubeconfig:
        os.environ["KUBECONFIG"] = state.kubeconfig
    else:
        os.environ.pop("KUBECONFIG", None)
    target = Target(None, state.context)
    try:
        server = quickstart.server_of(target)
    except BedError as problem:
        raise BedError(
            f"the demo on context {state.context} cannot be removed: {problem}\n"
            f"If that cluster is gone for good, there is nothing to remove: delete {state.file}"
        ) from None
    if server != state.server:
        raise BedError(
            f"context {state.context} means {server} now, and the demo was made on {state.server}: nothing was done. "
            f"Give the context its old meaning and try again"
        )
    if quickstart.kinds(target):
        demo_refusal.clear(target)  # of a demo that was cut short
    _refuse_if_others_use_it(target, state)
    say(f"removing the demo from context {state.context}")
    if quickstart.kinds(target):
        # While the operator still runs: it lifts the finalizers of its kinds.
        with stage("the node, and what declares it"):
            _confirm_and_delete(target, "jilnode", FIRST.name, "-n", FIRST.namespace)
            _confirm_and_delete(target, "jiljurisdiction", FIRST.jurisdiction, "-n", FIRST.namespace)
            _confirm_and_delete(target, "jilnetwork", quickstart.NETWORK)
            for release in _names(target, "jilrelease"):
                if release.startswith(f"{quickstart.NETWORK}-"):
                    _confirm_and_delete(target, "jilrelease", release)
    with stage("the operator, with its guards"):
        for release in (FIRST.jurisdiction, "jil-operator"):
            target.helm("uninstall", release, "--namespace", SYSTEM, "--ignore-not-found", "--wait")
    volumes = _volumes(target)
    with stage("namespaces, with data and keys"):
        for volume in volumes:
            # The operator had set them to Retain; a demo's data goes with the demo.
            target.kubectl("patch", "pv", volume, "-p", '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}')
        for namespace in (FIRST.namespace, SYSTEM):
            _delete(target, "namespace", namespace)
        demo_refusal.wait_gone(target)
    with stage("kinds, priority classes, volumes"):
        for kind in quickstart.kinds(target):
            _delete(target, "crd", kind)
        for name in quickstart.priority_classes(target):
            _delete(target, "priorityclass", name)
        wait_until(
            lambda: not set(volumes) & set(_names(target, "pv")), "the demo's volumes to be deleted", _PATIENCE_S, 0.5
        )
    state.forget()


def _refuse_if_others_use_it(target: Target, state: DemoState) -> None:
    """Operator and CRDs go with the demo: nodes that somebody has added since would go with them."""
    if "jilnodes.jil.io" not in quickstart.kinds(target):
        return
    where = 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{"\\n"}{end}'
    nodes = target.kubectl("get", "jilnodes", "-A", "-o", where).split()
    others = sorted(set(nodes) - {f"{FIRST.namespace}/{FIRST.name}"})
    if others:
        raise BedError(
            f"context {state.context} has JIL nodes that the demo did not make: {', '.join(others)}. Nothing was done: "
            f"remove them first, or keep the operator (docs/install.md)"
        )


def _confirm_and_delete(target: Target, kind: str, name: str, *where: str) -> None:
    if target.kubectl("get", kind, name, *where, "--ignore-not-found", "-o", "name").strip():
        target.kubectl("annotate", kind, name, *where, f"jil.io/confirm-delete={name}", "--overwrite")
        _delete(target, kind, name, *where)


def _delete(target: Target, kind: str, name: str, *where: str) -> None:
    deadline = f"--timeout={_PATIENCE_S}s"
    target.kubectl("delete", kind, name, *where, "--ignore-not-found", deadline, timeout_s=_PATIENCE_S + 20)


def _names(target: Target, kind: str) -> list[str]:
    found = target.kubectl("get", kind, "-o", "jsonpath={.items[*].metadata.name}")
    return found.split()


def _volumes(target: Target) -> list[str]:
    """Volumes that were made for claims of the demo's node."""
    items = json.loads(target.kubectl("get", "pv", "-o", "json"))["items"]
    return [
        item["metadata"]["name"]
        for item in items
        if item["spec"].get("claimRef", {}).get("namespace") == FIRST.namespace
    ]


if __name__ == "__main__":
    sys.exit(main())
