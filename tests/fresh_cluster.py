"""A new kind cluster for the end-to-end layer: what an earlier run left of it, running or not, goes first."""

from __future__ import annotations

import os
import sys

from testbed import cluster, engine
from testbed.errors import BedError


def main() -> int:
    name = os.environ["JIL_CLUSTER"]
    try:
        # Without an engine nothing of an old cluster could be removed, only forgotten.
        engine.up()
        cluster.down([name])
        cluster.up(cluster.Cluster(name))
    except BedError as problem:
        print(f"testbed: error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
