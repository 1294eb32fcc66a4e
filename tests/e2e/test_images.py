"""The built images run as they will run in a pod: read-only root, no capabilities, uid 10001, crashes included."""

from __future__ import annotations

import os
import subprocess

from pytest_kind.cluster import KindCluster

from testbed import engine, paths, registry
from testbed import images as testbed_images


def test_the_entrypoints_of_the_built_images_keep_their_promises(
    kind_cluster: KindCluster, images: dict[str, str]
) -> None:
    """First start that is cut short, wrong major version, second process on a volume, secrets out of sight, ..."""
    host = engine.find()
    assert host is not None
    done = subprocess.run(
        ["sh", str(paths.CHECKOUT / "images" / "tests" / "run.sh")],
        env={
            **os.environ,
            **host.environment,
            **registry.client_environment(host),
            "IMAGES": _listing(),
            "REGISTRY": registry.push_address(host),
        },
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert images


def _listing() -> str:
    return str(testbed_images.listing())
