"""What the allow-list at admission adds to the creation of a pod, by the API server's own answer times.

The policies come from the charts, the lists are as large as releases make them; pods are created as dry runs, which pass
through the whole of admission and leave nothing behind. The two sides take turns, one request at a time.
"""

from __future__ import annotations

import http.client
import json
import ssl
import statistics
import time
from typing import Any

from bench.cluster import ROOT, until
from bench.report import Reporter
from jil.api.allowlist import AllowedImage, AllowListSpec
from testbed.controlplane import ControlPlane
from tests.cluster.admission import objects
from tests.cluster.admission.objects import ALLOWED, LISTS, SPACE
from tests.cluster.charts import rig as charts

DIGESTS = (1, 200, 500)
ROUNDS = 500
_WARM = 50


def run(report: Reporter) -> None:
    """One namespace whose list grows, beside a namespace that is none of JIL's."""
    with ControlPlane() as plane:
        helm = charts.Helm(plane)
        helm.upgrade_operator()
        values = f"namespace.name={SPACE},network=jil-devnet,jurisdiction.name={SPACE}"
        chart = str(ROOT / "charts" / "jil-jurisdiction")
        helm("upgrade", "--install", SPACE, chart, "-n", charts.SYSTEM, "--set", values)
        plain = charts.namespace("plain", {"pod-security.kubernetes.io/enforce": "restricted"})
        plane.admin.create("/api/v1/namespaces", plain)
        operator = charts.as_service_account(plane, charts.SYSTEM, "jil-operator")
        uid = plane.admin.get(f"/api/v1/namespaces/{SPACE}")["metadata"]["uid"]
        operator.create(LISTS, objects.allow_list(SPACE, uid, _list(1)))
        until(objects.probe(plane.admin, SPACE), "the policy to be in force", 60)
        for count in DIGESTS:
            live = operator.get(f"{LISTS}/{SPACE}")
            operator.request("PUT", f"{LISTS}/{SPACE}", {**live, "spec": _list(count)})
            time.sleep(2)  # the API server reads parameters by watch
            without, with_ = _measure(plane)
            for name, values_ in (("without", without), ("with", with_)):
                note = f"list of {count} digests" if name == "with" else "a namespace that is none of JIL's"
                report.tell(f"pod create, {name} the policy: least", values_[0] * 1000, "ms", note)
                report.tell(f"pod create, {name} the policy: median", statistics.median(values_) * 1000, "ms", note)
                report.tell(f"pod create, {name} the policy: p99", values_[int(ROUNDS * 0.99) - 1] * 1000, "ms", note)
            added = (statistics.median(with_) - statistics.median(without)) * 1000
            least = (with_[0] - without[0]) * 1000
            report.tell(
                "the policy adds, by the medians", added, "ms", f"list of {count} digests; by the least {least:.2f}"
            )


def _list(count: int) -> dict[str, Any]:
    digests = [ALLOWED, *(f"sha256:{number:064x}" for number in range(count - 1))]
    allowed = {d: AllowedImage(image=objects.image(d), releases=("jil-1-0-0",)) for d in digests}
    return AllowListSpec(network="jil-devnet", digests=allowed).wire()


def _measure(plane: ControlPlane) -> tuple[list[float], list[float]]:
    """Seconds per request, sorted: (without, with). Over one connection that stays open."""
    context = ssl.create_default_context(cafile=str(plane.ca_file))
    host = plane.url.removeprefix("https://")
    token = _token(plane)
    connection = http.client.HTTPSConnection(host, context=context, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps(objects.pod("measured", objects.image(ALLOWED)))

    def once(namespace: str) -> float:
        path = f"{objects.path('Pod', namespace)}?dryRun=All"
        began = time.perf_counter()
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        took = time.perf_counter() - began
        if answer.status != 201:
            raise RuntimeError(f"the pod that is measured is not admitted in {namespace}: {text[:500]!r}")
        return took

    times: dict[str, list[float]] = {"plain": [], SPACE: []}
    try:
        for number in range(_WARM + ROUNDS):
            for namespace, found in times.items():
                took = once(namespace)
                if number >= _WARM:
                    found.append(took)
    finally:
        connection.close()
    return sorted(times["plain"]), sorted(times[SPACE])


def _token(plane: ControlPlane) -> str:
    """Of an account that may create pods in both namespaces."""
    account = {"metadata": {"name": "measurer", "namespace": "plain"}}
    if not plane.admin.exists("/api/v1/namespaces/plain/serviceaccounts/measurer"):
        plane.admin.create("/api/v1/namespaces/plain/serviceaccounts", account)
        subject = {"kind": "ServiceAccount", "name": "measurer", "namespace": "plain"}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
        binding = {"metadata": {"name": "measurer"}, "roleRef": role, "subjects": [subject]}
        plane.admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    path = "/api/v1/namespaces/plain/serviceaccounts/measurer/token"
    token: str = plane.admin.create(path, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    return token
