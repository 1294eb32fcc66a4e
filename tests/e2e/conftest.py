"""Fixtures of the end-to-end layer: the kind cluster of kind-config.yaml."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from pytest_kind.cluster import KindCluster

from testbed import binaries, cluster, engine, paths, quickstart
from testbed import images as testbed_images
from tests.e2e.demo import Demo


@pytest.fixture(scope="session")
def kind_cluster() -> Iterator[KindCluster]:
    """The cluster of `python3 -m testbed up` (made if it is not there), as pytest-kind's KindCluster; it is kept.

    `python3 -m testbed down` removes it. The cluster's name is $JIL_CLUSTER, or "jil", which the demo uses too.
    """
    ours = cluster.Cluster(os.environ.get("JIL_CLUSTER", "jil"))
    cluster.up(ours)
    host = engine.find()
    assert host is not None
    with pytest.MonkeyPatch.context() as environment:
        for name, value in host.environment.items():
            environment.setenv(name, value)
        environment.setenv("PATH", f"{binaries.search_path()}:{os.environ['PATH']}")
        with contextlib.chdir(paths.state()):  # KindCluster makes a folder where it is created
            found = KindCluster(
                ours.name,
                kubeconfig=ours.kubeconfig,
                kind_path=binaries.program_for("kind"),
                kubectl_path=binaries.program_for("kubectl"),
            )
        found.create(config_file=cluster.CONFIGURATION)
        yield found


@pytest.fixture(scope="session")
def images(kind_cluster: KindCluster) -> dict[str, str]:
    """The project's images in the local registry, by digest."""
    return testbed_images.build_and_push()


@pytest.fixture(scope="session")
def demo(kind_cluster: KindCluster, images: dict[str, str]) -> Demo:
    """The quickstart, Ready: operator by Helm in the cluster, one jurisdiction, one whole node."""
    target = quickstart.Target(cluster.Cluster(os.environ.get("JIL_CLUSTER", "jil")).kubeconfig)
    quickstart.bring_up(target, images)
    return Demo(target, images, quickstart.FIRST)
