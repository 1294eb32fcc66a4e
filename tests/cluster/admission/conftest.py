"""A control plane with both charts, a namespace with an allow-list, and one that needs a list and has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from jil.api.allowlist import AllowedImage, AllowListSpec
from testbed.apiclient import ApiClient, ApiError
from testbed.controlplane import ControlPlane
from tests.cluster.admission import objects
from tests.cluster.admission.objects import ALLOWED, LISTS, REQUIRED, SPACE
from tests.cluster.charts import rig
from tests.waiting import eventually, until_pods_may_be_made


@dataclass(frozen=True)
class Guarded:
    """``admin`` is a cluster admin: the policies refuse even to it. ``operator`` has the operator's token."""

    cluster: ControlPlane
    helm: rig.Helm
    admin: ApiClient
    operator: ApiClient

    def kubectl(self, *arguments: str, stdin: str | None = None) -> tuple[int, str]:
        """Exit code and everything that kubectl said."""
        return objects.run(self.cluster, *arguments, stdin=stdin)


def allow(guarded: Guarded, namespace: str, *digests: str, **more: Any) -> None:
    """The operator writes the namespace's list: exactly these digests."""
    spec = AllowListSpec(
        network="jil-devnet",
        digests={d: AllowedImage(image=objects.image(d), releases=("jil-1-0-0",)) for d in digests},
        **more,
    )
    uid = guarded.admin.get(f"/api/v1/namespaces/{namespace}")["metadata"]["uid"]
    manifest = objects.allow_list(namespace, uid, spec.wire())
    try:
        guarded.operator.create(LISTS, manifest)
    except ApiError as error:
        if error.code != 409:
            raise
        live = guarded.operator.get(f"{LISTS}/{namespace}")
        guarded.operator.request("PUT", f"{LISTS}/{namespace}", {**live, "spec": spec.wire()})


@pytest.fixture(scope="package")
def guarded() -> Iterator[Guarded]:
    """Namespace SPACE has a list with ALLOWED; REQUIRED asks for one and has none; OPEN is one of JIL without either."""
    with ControlPlane() as cluster:
        helm = rig.Helm(cluster)
        helm.upgrade_operator()
        for space, more in ((SPACE, ()), (objects.OPEN, ()), (REQUIRED, ("--set", "imageTrust=required"))):
            values = f"namespace.name={space},network=jil-devnet,jurisdiction.name={space}"
            chart = str(rig.CHARTS / "jil-jurisdiction")
            helm("upgrade", "--install", space, chart, "-n", rig.SYSTEM, "--set", values, *more)
        cluster.admin.create("/api/v1/namespaces", rig.namespace(rig.ELSEWHERE, {}))
        for space in (SPACE, objects.OPEN, REQUIRED, rig.ELSEWHERE):
            until_pods_may_be_made(cluster.admin, space)
        operator = rig.as_service_account(cluster, rig.SYSTEM, "jil-operator")
        for verb in ("get", "create", "update"):
            eventually(lambda verb=verb: rig.may(operator, "", "jilimageallowlists.jil.io", verb), "the right to lists")  # type: ignore[misc]
        found = Guarded(cluster, helm, cluster.admin, operator)
        allow(found, SPACE, ALLOWED)
        for space in (SPACE, REQUIRED):
            eventually(objects.probe(cluster.admin, space), f"the policy to be in force in {space}")
        _until_guarded(cluster)
        yield found


def _until_guarded(cluster: ControlPlane) -> None:
    """The other policies that the tests are about, each asked by dry run."""
    admin, space = cluster.admin, f"/api/v1/namespaces/{SPACE}"
    operations = f"/apis/jil.io/v1alpha1/namespaces/{SPACE}/jiloperations?dryRun=All"
    relabelled = {"metadata": {"labels": {"jil.io/network": None}}}
    rig.until_refused(lambda: admin.create(f"{LISTS}?dryRun=All", rig.allow_list("guard-probe")), "jil-allow-list")
    rig.until_refused(lambda: admin.create(operations, rig.break_glass()), "jil-operations")
    rig.until_refused(lambda: admin.merge(f"{space}?dryRun=All", relabelled), "jil-guard-labels")
