"""A control plane on which both charts are installed with their default values, and with nodes' own logins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from testbed.apiclient import ApiClient
from testbed.controlplane import ControlPlane
from tests.cluster.charts import rig


@dataclass(frozen=True)
class Installed:
    """``admin`` is a cluster admin: the guards refuse even to it. ``operator`` has the token of the operator's pod."""

    cluster: ControlPlane
    helm: rig.Helm
    admin: ApiClient
    operator: ApiClient


@pytest.fixture(scope="package")
def installed() -> Iterator[Installed]:
    """Operator in jil-system, jurisdiction ch-finma in jil-ch-finma, a namespace of nobody; guards in force."""
    with ControlPlane() as cluster:
        helm = rig.Helm(cluster)
        helm.upgrade_operator(*rig.NODE_LOGINS)
        helm.upgrade_jurisdiction()
        cluster.admin.create("/api/v1/namespaces", rig.namespace(rig.ELSEWHERE, {}))
        rig.wait_for_guards(cluster)
        yield Installed(cluster, helm, cluster.admin, rig.as_service_account(cluster, rig.SYSTEM, "jil-operator"))
