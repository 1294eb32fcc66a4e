"""Fixtures of the API tests: the checked-in CRDs on the shared control plane, and copies of them to tamper with."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.apiclient import ApiClient
from testbed.controlplane import ControlPlane
from tests.waiting import until_served

Manifest = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#: Group of the copies: whatever is done to them, nobody else's JIL objects notice.
TAMPERED_GROUP = "tampered.jil.io"
CHECKOUT = Path(__file__).parents[3]


@functools.cache
def checked_in() -> dict[str, Manifest]:
    """Kind -> CRD as it lies in crds/: what users install."""
    manifests = [yaml.safe_load(path.read_text()) for path in sorted((CHECKOUT / "crds").glob("*.yaml"))]
    return {manifest["spec"]["names"]["kind"]: manifest for manifest in manifests}


def collection(crd: Manifest, namespace: str, group: str | None = None) -> str:
    """URL path of a kind's objects in ``namespace`` (left out for a cluster-scoped kind)."""
    scope = f"/namespaces/{namespace}" if crd["spec"]["scope"] == "Namespaced" else ""
    version = crd["spec"]["versions"][0]["name"]
    return f"/apis/{group or crd['spec']['group']}/{version}{scope}/{crd['spec']['names']['plural']}"


def install(admin: ApiClient, *crds: Manifest) -> None:
    """Apply CRDs and wait until their objects can be written."""
    for crd in crds:
        admin.apply(f"{CRDS}/{crd['metadata']['name']}", crd)
    until_served(admin, crds)


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> dict[str, Manifest]:
    """The checked-in CRDs, installed; kind -> manifest."""
    found = checked_in()
    install(control_plane.admin, *found.values())
    return found


@pytest.fixture(scope="session")
def tamper(control_plane: ControlPlane) -> Iterator[Callable[[str, Callable[[Manifest], None]], Manifest]]:
    """``tamper(kind, edit)`` installs a copy of the kind's CRD in another group after ``edit`` changed it."""
    installed: set[str] = set()

    def install_copy(kind: str, edit: Callable[[Manifest], None]) -> Manifest:
        crd = copy.deepcopy(checked_in()[kind])
        crd["spec"]["group"] = TAMPERED_GROUP
        crd["metadata"]["name"] = f"{crd['spec']['names']['plural']}.{TAMPERED_GROUP}"
        edit(crd)
        install(control_plane.admin, crd)
        installed.add(crd["metadata"]["name"])
        return crd

    yield install_copy
    for name in installed:
        control_plane.admin.delete(f"{CRDS}/{name}")
