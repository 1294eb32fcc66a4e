"""CRDs that are missing when the operator starts, older than it is, or that let in what it cannot read."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from testbed.apiclient import ApiError
from tests.cluster.badinput.conftest import Bad
from tests.sim.home import Home
from tests.sim.world import JIL, ROOT
from tests.waiting import until_served

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CORE = "/api/v1/namespaces"
#: No field of any version.
MARK = "markOfTheTest"


def _crd(plural: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "crds" / f"jil.io_{plural}.yaml").read_text())
    return document


def _install(bad: Bad, crd: dict[str, Any]) -> None:
    """Put the definition as it stands (no field of another version is kept) and wait until it is served."""
    api, path = bad.world.api, f"{CRDS}/{crd['metadata']['name']}"

    def put() -> bool:
        # The API server writes the status of a definition in its own time: a conflict is nothing to wonder at.
        if not api.exists(path):
            api.create(CRDS, crd)
        else:
            version = api.get(path)["metadata"]["resourceVersion"]
            api.request("PUT", path, {**crd, "metadata": {**crd["metadata"], "resourceVersion": version}})
        return True

    bad.world.until(put, f"{path} to be written")
    until_served(api, [crd])


@contextmanager
def _instead(bad: Bad, namespace: str, crd: dict[str, Any]) -> Iterator[None]:
    """JILNodes have this definition. What was served before is so for a moment longer: a field of its own tells."""
    marked = copy.deepcopy(crd)
    _spec(marked)["properties"][MARK] = {"type": "string"}
    try:
        _install(bad, marked)
        bad.world.until(lambda: _knows_the_mark(bad, namespace), "the other definition to be in force")
        yield
    finally:
        _install(bad, _crd("jilnodes"))
        bad.world.until(lambda: not _knows_the_mark(bad, namespace), "the definition to be in force again")


def _spec(crd: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def _knows_the_mark(bad: Bad, namespace: str) -> bool:
    spec = {"nodeId": "CH-ODD-99", "region": "ch-zug", "country": "CH", "datacenter": "zug-1", MARK: "x"}
    body = {"apiVersion": "jil.io/v1alpha1", "kind": "JILNode", "metadata": {"name": "marked"}, "spec": spec}
    try:
        bad.world.api.create(f"{JIL}/namespaces/{namespace}/jilnodes?dryRun=All&fieldValidation=Strict", body)
    except ApiError as refused:
        if "unknown field" not in str(refused):
            raise
        return False
    return True


def test_a_missing_crd_is_named_and_once_installed_its_kind_is_watched(bad: Bad, home: Home) -> None:
    """Helm may start the operator before somebody applies the CRDs; nobody has to restart it."""
    path = f"{CRDS}/jiljurisdictions.jil.io"
    bad.world.api.delete(path)
    bad.world.until(lambda: not bad.world.api.exists(path), "the CRD to be gone")
    try:
        operator = bad.world.operator()
        bad.says(operator, "reading every watched kind", "jiljurisdictions", "its CRD is not installed")
    finally:
        _install(bad, _crd("jiljurisdictions"))
    bad.world.jurisdiction(home.namespace, home.network)
    bad.world.node(home.namespace, home.name, home.node_id)
    bad.world.until_ready(home.namespace, home.name)
    assert operator.poll() is None
    # Sweeps are five minutes apart by now: only the watch can tell of this.
    bad.says(operator, "the store is full")
    bad.world.api.merge(
        f"{JIL}/namespaces/{home.namespace}/jiljurisdictions/main", {"spec": {"compliance": {"a": "b"}}}
    )
    config = f"{CORE}/{home.namespace}/configmaps/jil-compliance"
    bad.world.until(lambda: '"a"' in str(bad.world.api.get(config)["data"]), "the change to be heard")


def test_a_crd_older_than_the_operator_is_told_as_such_and_takes_nothing_from_the_node(bad: Bad, home: Home) -> None:
    older = copy.deepcopy(_crd("jilnodes"))
    schema = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    del schema["status"]["properties"]["components"]
    operator = bad.world.operator()
    bad.leads(operator)
    with _instead(bad, home.namespace, older):
        bad.world.node(home.namespace, home.name, home.node_id)
        bad.says(operator, "components", "field not declared in schema", "the CRDs are older than the operator")
        events = f"/apis/events.k8s.io/v1/namespaces/{home.namespace}/events"
        bad.world.until(
            lambda: any("older than the operator" in e.get("note", "") for e in bad.world.api.get(events)["items"]),
            "the Event",
        )
        bad.world.until(
            lambda: len(bad.world.api.get(f"/apis/apps/v1/namespaces/{home.namespace}/statefulsets")["items"]) == 4,
            "the node's workloads, status or not",
        )
    bad.world.until_ready(home.namespace, home.name)


def test_an_object_that_older_crds_let_in_is_refused_with_the_field_and_stops_no_other(bad: Bad, home: Home) -> None:
    loose = copy.deepcopy(_crd("jilnodes"))
    _spec(loose)["properties"]["country"] = {"type": "string"}
    with _instead(bad, home.namespace, loose):
        bad.world.node(home.namespace, "odd", "CH-ODD-01", country="Switzerland")
    bad.world.operator()
    bad.world.node(home.namespace, home.name, home.node_id)
    bad.world.until_ready(home.namespace, home.name)

    def refused() -> bool:
        condition = bad.world.condition(home.namespace, "odd", "SpecValid")
        return condition.get("reason") == "SpecUnreadable" and "country" in condition["message"]

    bad.world.until(refused, "the odd one to be refused, and the field to be named")
