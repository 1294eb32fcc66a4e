"""``make down``: removes what ``make demo`` made, and nothing else. Built programs and images stay cached."""

from __future__ import annotations

import json
import sys

from testbed import cluster, paths, quickstart
from testbed.demo import STATE
from testbed.errors import BedError
from testbed.progress import say, stage
from testbed.quickstart import FIRST, Target


def _leave_a_cluster_of_theirs(context: str) -> None:
    """Takes back what the demo put on somebody's cluster; the CRDs go last, with everything of their kinds."""
    target = Target(None, context)
    with stage(f"removing the demo from context {context}"):
        confirm = f"jil.io/confirm-delete={FIRST.name}"
        target.kubectl("annotate", "jn", FIRST.name, "-n", FIRST.namespace, confirm, "--overwrite")
        target.kubectl("delete", "jn", FIRST.name, "-n", FIRST.namespace, "--timeout=180s", timeout_s=200)
        target.helm("uninstall", FIRST.jurisdiction, "--namespace", quickstart.SYSTEM)
        target.helm("uninstall", "jil-operator", "--namespace", quickstart.SYSTEM)
    say(
        f"namespaces {FIRST.namespace} and {quickstart.SYSTEM} stay, with volumes and keys; delete them when you are sure:"
        f" kubectl --context {context} delete namespace {FIRST.namespace} {quickstart.SYSTEM}"
    )


def main() -> int:
    state = paths.state() / STATE
    try:
        known = json.loads(state.read_text()) if state.exists() else {}
        if known.get("context"):
            _leave_a_cluster_of_theirs(known["context"])
        else:
            cluster.down()
        state.unlink(missing_ok=True)
    except (BedError, ValueError) as problem:
        print(f"down: error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
