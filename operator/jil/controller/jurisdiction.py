"""JILJurisdiction: the namespace's isolation, and the compliance configuration that its nodes reload."""

from __future__ import annotations

import json
from collections.abc import Mapping

from jil.api import kinds, labels
from jil.api.conditions import (
    JURISDICTION_CONDITIONS,
    ConditionType,
    Finding,
    Reason,
    false,
    is_true,
    merge,
    true,
)
from jil.api.jurisdiction import JILJurisdiction
from jil.api.network import JILNetwork
from jil.api.node import JILNode
from jil.api.objects import InvalidObject
from jil.cluster.client import Manifest
from jil.controller.deps import Deps
from jil.engine.queue import Key
from jil.engine.runtime import Result
from jil.plan.spec_check import SpecProblem, namespace_problem, trust_problem
from jil.render import policies


def compliance_config_map(jurisdiction: JILJurisdiction) -> Manifest:
    """The pushed configuration, as every service of the namespace mounts it."""
    values = dict(sorted(jurisdiction.spec.compliance.items()))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": labels.COMPLIANCE_CONFIG_MAP,
            "namespace": jurisdiction.metadata.namespace,
            "labels": {
                labels.APP_NAME: "compliance",
                labels.APP_MANAGED_BY: labels.MANAGED_BY,
                labels.APP_PART_OF: labels.PART_OF,
                labels.NETWORK: jurisdiction.spec.network,
                labels.JURISDICTION: jurisdiction.name,
            },
        },
        "data": {labels.COMPLIANCE_KEY: json.dumps(values, indent=1, sort_keys=True) + "\n"},
    }


def _not_enforced(namespace: str, marks: Mapping[str, str], network: Manifest) -> SpecProblem | None:
    try:
        return trust_problem(namespace, marks, JILNetwork.parse(network))
    except InvalidObject:
        return None  # the network's own status says so


class JurisdictionReconciler:
    """observe -> decide -> write, for one JILJurisdiction."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def __call__(self, key: Key) -> Result:
        namespace = key.namespace or ""
        raw = self._deps.store.get(kinds.JIL_JURISDICTION, namespace, key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return Result()
        try:
            jurisdiction = JILJurisdiction.parse(raw)
        except InvalidObject as error:
            await self._write(raw, [false(ConditionType.SPEC_VALID, Reason.SPEC_UNREADABLE, str(error))])
            return Result()
        finding = self._check(jurisdiction, namespace)
        if finding.status == "True":
            wanted = [
                *policies.namespace_objects(namespace, jurisdiction.name, jurisdiction.spec.network),
                compliance_config_map(jurisdiction),
            ]
            for intent in wanted:
                kind = kinds.kind_of(intent)
                live = self._deps.store.get(kind, namespace, intent["metadata"]["name"])
                await self._deps.applier.ensure(intent, live)
        await self._write(raw, [finding])
        return Result()

    def _check(self, jurisdiction: JILJurisdiction, namespace: str) -> Finding:
        type_ = ConditionType.SPEC_VALID
        space = self._deps.store.get(kinds.NAMESPACE, None, namespace)
        found = [JILJurisdiction.parse(o) for o in self._deps.store.list(kinds.JIL_JURISDICTION, namespace)]
        marks = (space or {}).get("metadata", {}).get("labels", {})
        problem = namespace_problem(namespace, marks, found)
        if problem:
            return false(type_, problem.reason, problem.message)
        network = self._deps.store.get(kinds.JIL_NETWORK, None, jurisdiction.spec.network)
        if network is None:
            return false(
                type_,
                Reason.NETWORK_NOT_FOUND,
                f"JILNetwork {jurisdiction.spec.network} does not exist; create it (kubectl get jnet lists those that do)",
            )
        problem = _not_enforced(namespace, marks, network)
        if problem:
            return false(type_, problem.reason, problem.message)
        if self._deps.store.get(kinds.JIL_RELEASE, None, jurisdiction.spec.release) is None:
            return false(
                type_,
                Reason.RELEASE_NOT_FOUND,
                f"JILRelease {jurisdiction.spec.release} does not exist; apply it (kubectl get jrel lists those that do)",
            )
        return true(type_, Reason.VALID)

    async def _write(self, raw: Manifest, findings: list[Finding]) -> None:
        namespace = raw["metadata"]["namespace"]
        nodes = []
        for item in self._deps.store.list(kinds.JIL_NODE, namespace):
            try:
                nodes.append(JILNode.parse(item))
            except InvalidObject:
                continue  # its own status says so
        ready_nodes = [n for n in nodes if is_true(n.status.conditions, ConditionType.READY)]
        bad = next((f for f in findings if f.status != "True"), None)
        if bad:
            ready = false(ConditionType.READY, bad.reason, bad.message)
        elif len(ready_nodes) < len(nodes):
            late = ", ".join(sorted({n.name for n in nodes} - {n.name for n in ready_nodes})[:5])
            ready = false(
                ConditionType.READY,
                Reason.PROGRESSING,
                f"{len(ready_nodes)} of {len(nodes)} nodes are ready; not: {late}",
            )
        else:
            ready = true(ConditionType.READY, Reason.READY, f"{len(nodes)} nodes are ready")
        try:
            stored = JILJurisdiction.parse(raw).status.conditions
        except InvalidObject:
            stored = ()
        releases = {n.status.release for n in ready_nodes}
        generation = raw["metadata"].get("generation", 0)
        status: Manifest = {
            "observedGeneration": generation,
            "nodes": len(nodes),
            "readyNodes": len(ready_nodes),
            "conditions": [
                c.wire()
                for c in merge(
                    stored,
                    [*findings, ready],
                    full_set=JURISDICTION_CONDITIONS,
                    generation=generation,
                    now=self._deps.clock.now(),
                )
            ],
        }
        if len(releases) == 1 and None not in releases:
            status["release"] = releases.pop()
        await self._deps.statuses.write(kinds.JIL_JURISDICTION, raw, status)
