"""Fixtures of the end-to-end layer: the kind cluster of kind-config.yaml."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_kind.cluster import KindCluster

from testbed import binaries, cluster, demo_target, engine, paths, quickstart
from testbed import images as testbed_images
from tests.e2e.demo import Demo

PATIENCE_S = 900
"""For one test with the fixtures that are made for it: the first one brings up the whole quickstart."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The time limit of these tests, where they have none of their own."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PATIENCE_S))


@pytest.fixture(scope="session")
def kind_cluster(request: pytest.FixtureRequest) -> Iterator[KindCluster]:
    """The cluster of `python3 -m testbed up`, as pytest-kind's KindCluster. Its name is $JIL_CLUSTER, or "jil".

    One that is there already is used and stays; one that this run made goes with it, unless pytest got `--keep`.
    """
    ours = cluster.Cluster(os.environ.get("JIL_CLUSTER", "jil"))
    made_here = not ours.record.exists()
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
    if made_here and not request.config.getoption("--keep"):
        cluster.down([ours.name])


@pytest.fixture(scope="session")
def images(kind_cluster: KindCluster) -> dict[str, str]:
    """The project's images in the local registry, by digest."""
    return testbed_images.build_and_push()


@pytest.fixture(scope="session")
def demo(kind_cluster: KindCluster, images: dict[str, str]) -> Demo:
    """The quickstart, Ready: operator by Helm in the cluster, one jurisdiction, one whole node."""
    target = demo_target.on_kind(cluster.Cluster(os.environ.get("JIL_CLUSTER", "jil")))
    quickstart.bring_up(target, images)
    return Demo(target, images, quickstart.FIRST)
