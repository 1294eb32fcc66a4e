"""The chart's rights, less one: the node says which right is missing, nothing that runs is touched, and it goes on."""

from __future__ import annotations

from tests.cluster.badinput.conftest import Bad
from tests.sim.home import Home
from tests.sim.world import SYSTEM
from tests.unit.charts import rendering

CORE = "/api/v1/namespaces"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
_PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}


def _install(bad: Bad, home: Home) -> list[str]:
    """Account and rights as the charts have them; returns the paths of the bindings in the jurisdiction's namespace."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "jil-operator"}}
    bad.world.api.apply(f"{CORE}/{SYSTEM}/serviceaccounts/jil-operator", account)
    mine = []
    for manifest in [*rendering.operator(), *rendering.jurisdiction(namespace=home.namespace)]:
        if plural := _PLURALS.get(manifest["kind"]):
            meta = manifest["metadata"]
            namespaced = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
            path = f"{RBAC}{namespaced}/{plural}/{meta['name']}"
            bad.world.api.apply(path, manifest)
            if manifest["kind"] == "RoleBinding" and meta.get("namespace") == home.namespace:
                mine.append(path)
    return mine


def test_a_node_whose_namespace_lost_its_rolebinding_says_so_and_goes_on_when_it_is_back(bad: Bad, home: Home) -> None:
    bindings = _install(bad, home)
    assert len(bindings) == 1
    kept = bad.world.api.get(bindings[0])
    bad.world.operator(kubeconfig=bad.world.plane.kubeconfig_for_service_account(SYSTEM, "jil-operator"))
    bad.world.node(home.namespace, home.name, home.node_id)
    bad.world.until_ready(home.namespace, home.name)
    pods = {p["metadata"]["uid"] for p in bad.world.api.get(f"{CORE}/{home.namespace}/pods")["items"]}
    bad.world.api.delete(bindings[0])
    service = f"{CORE}/{home.namespace}/services/{home.name}-cache"
    bad.world.api.delete(service)

    def told() -> bool:
        # The right that a look misses first may be another one as long as the API server still knows of some.
        condition = bad.world.condition(home.namespace, home.name, "Ready")
        words = ("services", "RoleBindings (chart jil-jurisdiction makes them)")
        return condition.get("reason") == "Forbidden" and all(word in condition["message"] for word in words)

    bad.world.until(told, "the missing right to be told, and what gives it")
    assert {p["metadata"]["uid"] for p in bad.world.api.get(f"{CORE}/{home.namespace}/pods")["items"]} == pods
    body = {k: kept[k] for k in ("apiVersion", "kind", "roleRef", "subjects")}
    bad.world.api.apply(bindings[0], {**body, "metadata": {"name": kept["metadata"]["name"]}})
    bad.world.until(lambda: bad.world.api.exists(service), "the Service to be made again")
    bad.world.until_ready(home.namespace, home.name)
