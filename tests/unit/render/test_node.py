"""The rendered node: byte-stable, restricted, by digest, armed, and different from another only where AC-04 allows."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from jil.render import node, pods, validator
from jil.render.context import NodeContext, Object, UnsupportedTemplateVersionError
from tests.unit.render import golden, samples

CONTEXTS = {
    "kafka": samples.zurich(),
    "redpanda": samples.zurich(release=samples.release("redpanda")),
    "without validator": samples.zurich(spec={"validator": {"enabled": False}}),
    "singapore": samples.singapore(),
}


def _pod_specs(objects: list[Object]) -> Iterator[tuple[str, dict[str, Any]]]:
    for item in node.workloads(objects):
        yield item["metadata"]["name"], item["spec"]["template"]["spec"]


def _containers(objects: list[Object]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, spec in _pod_specs(objects):
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            yield f"{name}/{container['name']}", container


@pytest.mark.parametrize("name", sorted(golden.cases()))
def test_the_rendered_objects_are_the_golden_ones(name: str) -> None:
    stored = (golden.FOLDER / f"{name}.yaml").read_text()
    assert golden.text(golden.cases()[name]) == stored, f"run `make golden` and read the diff of {name}.yaml"


def test_the_same_input_gives_the_same_bytes() -> None:
    once, again = (json.dumps(node.objects(samples.zurich())) for _ in range(2))
    assert once == again


def _normalised(ctx: NodeContext) -> list[Object]:
    """A node's objects with everything that may differ (AC-04) put to one value."""
    replacements = {
        ctx.node.node_id: "NODE-ID",
        ctx.node.region: "REGION",
        ctx.jurisdiction.zone: "ZONE",
        ctx.jurisdiction_name: "JURISDICTION",
        ctx.namespace: "NAMESPACE",
        ctx.name: "NAME",
        ctx.uid: "UID",
        ctx.p2p_cluster_ip or "": "IP",
    }
    objects = copy.deepcopy(node.objects(ctx))
    config_names = {}
    for item in objects:
        if item["kind"] == "ConfigMap" and item.get("immutable"):
            # The name follows from the content; the content itself is compared below.
            config_names[item["metadata"]["name"]] = item["metadata"]["name"][:-9]
        if item["kind"] == "ConfigMap" and "config.toml" in item["data"]:
            config = tomllib.loads(item["data"]["config.toml"])
            config["p2p"]["persistent_peers"] = "PEERS"
            item["data"] = config
        if item["kind"] == "ConfigMap" and "cluster-id" in item["data"]:
            item["data"]["cluster-id"] = "CLUSTER"
    text = json.dumps(objects)
    # Longest first: the region is a prefix of the name.
    for old, new in sorted({**config_names, **replacements}.items(), key=lambda pair: -len(pair[0])):
        if old:
            text = text.replace(old, new)
    return json.loads(text)


def test_ac_04_two_nodes_differ_only_in_identity_names_secrets_storage_and_peers() -> None:
    assert _normalised(samples.zurich()) == _normalised(samples.singapore())


def test_ac_04_every_container_has_exactly_the_three_unique_values() -> None:
    for name, container in _containers(node.objects(samples.zurich())):
        env = {e["name"]: e.get("value") for e in container["env"]}
        assert env["JIL_NODE_ID"] == "CH-ZUG-01", name
        assert env["JIL_REGION"] == "ch-zug", name
        assert env["JIL_JURISDICTION"] == "CH/FINMA", name


@pytest.mark.parametrize("ctx", CONTEXTS.values(), ids=CONTEXTS)
def test_images_are_named_by_digest_only(ctx: NodeContext) -> None:
    for name, container in _containers(node.objects(ctx)):
        assert "@sha256:" in container["image"], name


@pytest.mark.parametrize("ctx", CONTEXTS.values(), ids=CONTEXTS)
def test_every_pod_satisfies_the_restricted_pod_security_standard(ctx: NodeContext) -> None:
    objects = node.objects(ctx)
    for name, spec in _pod_specs(objects):
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "downwardAPI"}
        for volume in spec["volumes"]:
            assert set(volume) - {"name"} <= allowed, f"{name}: {volume}"
    for name, container in _containers(objects):
        assert container["securityContext"] == pods.container_security_context(), name


@pytest.mark.parametrize("ctx", CONTEXTS.values(), ids=CONTEXTS)
def test_memory_limits_equal_requests_and_cpu_has_no_limit(ctx: NodeContext) -> None:
    for name, container in _containers(node.objects(ctx)):
        resources = container["resources"]
        assert resources["limits"] == {"memory": resources["requests"]["memory"]}, name
        assert resources["requests"]["cpu"], name


def _millicores(quantity: str) -> int:
    return int(quantity[:-1]) if quantity.endswith("m") else int(quantity) * 1000


def test_profile_dev_keeps_operator_and_node_within_800m_of_cpu_requests() -> None:
    objects = node.objects(samples.zurich(spec={"profile": "dev"}))
    node_total = sum(
        _millicores(container["resources"]["requests"]["cpu"])
        for item in node.workloads(objects)
        for container in item["spec"]["template"]["spec"]["containers"]
    )
    operator = 100
    assert node_total + operator <= 800


def test_stateful_sets_are_armed_single_and_parallel() -> None:
    for item in node.objects(samples.zurich()):
        if item["kind"] != "StatefulSet":
            continue
        spec = item["spec"]
        assert spec["replicas"] == 1
        assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        assert spec["podManagementPolicy"] == "Parallel"
        assert "volumeClaimTemplates" not in spec


def test_i4_no_child_has_an_owner_reference_that_a_foreground_deletion_would_follow() -> None:
    for item in node.objects(samples.zurich()):
        assert "ownerReferences" not in item["metadata"], item["metadata"]["name"]
        assert item["metadata"]["labels"]["jil.io/node-uid"] == samples.zurich().uid


def test_node_uid_is_in_no_selector_and_no_pod_template() -> None:
    for item in node.objects(samples.zurich()):
        assert samples.zurich().uid not in json.dumps(item.get("spec", {})), item["metadata"]["name"]


def test_liveness_never_depends_on_peers_or_progress() -> None:
    for name, container in _containers(node.objects(samples.zurich())):
        if "livenessProbe" not in container:
            continue
        probe = container["livenessProbe"]
        assert "exec" not in probe, name
        assert probe["periodSeconds"] >= 10, name
        if "httpGet" in probe:
            assert probe["httpGet"]["path"] in ("/livez", "/health"), name


def test_validator_pod_waits_for_its_permit_before_anything_else_runs() -> None:
    item = next(
        o
        for o in node.objects(samples.zurich())
        if o["metadata"]["name"] == "ch-zug-01-validator" and o["kind"] == "StatefulSet"
    )
    guard = item["spec"]["template"]["spec"]["initContainers"][0]
    assert guard["command"][1] == "guard"
    assert {"name": "podinfo", "mountPath": "/etc/jil/podinfo", "readOnly": True} in guard["volumeMounts"]
    assert {m["mountPath"] for m in guard["volumeMounts"]} & {"/etc/jil/node-key"} == set()


def test_p2p_service_keeps_its_address_and_publishes_pods_that_are_not_ready() -> None:
    service = validator.p2p_service(samples.zurich())
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["clusterIP"] == "10.96.0.11"


def test_joining_members_change_only_the_peers_file_and_restart_nobody() -> None:
    before = node.objects(samples.zurich())
    after = node.objects(samples.zurich(allowed_peer_ids=("a" * 40, "b" * 40, "c" * 40)))
    changed = [b["metadata"]["name"] for a, b in zip(before, after, strict=True) if a != b]
    assert changed == ["ch-zug-01-peers"]


def test_a_changed_configuration_is_a_new_config_map_and_the_old_name_keeps_the_old_content() -> None:
    one = validator.config(samples.zurich())
    other = validator.config(samples.zurich(dialled_peers=()))
    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert one["immutable"]


def test_comet_config_filters_peers_by_the_application_and_has_no_address_gossip() -> None:
    config = tomllib.loads(validator.comet_config(samples.zurich()))
    assert config["filter_peers"] is True
    assert config["p2p"]["pex"] is False
    assert config["p2p"]["persistent_peers"] == str(samples.PEER_SINGAPORE)
    assert config["consensus"]["timeout_commit"] == "1150ms"


def test_service_overrides_change_replicas_and_resources_and_never_the_image() -> None:
    ctx = samples.zurich(spec={"services": [{"name": "rates", "replicas": 3, "resources": {"memory": "1Gi"}}]})
    plain = {o["metadata"]["name"]: o for o in node.objects(samples.zurich()) if o["kind"] == "Deployment"}
    changed = {o["metadata"]["name"]: o for o in node.objects(ctx) if o["kind"] == "Deployment"}
    before, after = plain["ch-zug-01-rates"], changed["ch-zug-01-rates"]
    assert (before["spec"]["replicas"], after["spec"]["replicas"]) == (1, 3)
    container = after["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["requests"]["memory"] == "1Gi"
    assert container["image"] == before["spec"]["template"]["spec"]["containers"][0]["image"]


def test_services_leave_the_load_balancer_by_label() -> None:
    objects = node.objects(samples.zurich())
    service = next(o for o in objects if o["kind"] == "Service" and o["metadata"]["name"] == "ch-zug-01-transfers")
    deployment = next(
        o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "ch-zug-01-transfers"
    )
    assert service["spec"]["selector"]["jil.io/serving"] == "true"
    assert deployment["spec"]["template"]["metadata"]["labels"]["jil.io/serving"] == "true"
    assert "jil.io/serving" not in deployment["spec"]["selector"]["matchLabels"]


def test_redpanda_gets_a_writable_copy_of_its_configuration() -> None:
    objects = node.objects(samples.zurich(release=samples.release("redpanda")))
    config = next(o for o in objects if o["kind"] == "ConfigMap" and "redpanda.yaml" in o["data"])
    parsed = yaml.safe_load(config["data"]["redpanda.yaml"])["redpanda"]
    assert parsed["kafka_api"][0]["port"] == 9092
    assert parsed["advertised_kafka_api"][0]["address"] == "ch-zug-01-broker"
    bootstrap = yaml.safe_load(config["data"][".bootstrap.yaml"])
    assert bootstrap["default_topic_replications"] == 1


def test_an_unknown_template_version_is_refused_with_the_remedy() -> None:
    with pytest.raises(UnsupportedTemplateVersionError, match="move the node to a newer templateVersion"):
        samples.zurich(template_version=99)


def test_every_child_name_is_a_valid_dns_label_for_the_longest_node_name() -> None:
    ctx = samples.zurich(name="n" * 30)
    for item in node.objects(ctx):
        assert len(item["metadata"]["name"]) <= 63, item["metadata"]["name"]
        if item["kind"] == "StatefulSet":
            assert len(item["metadata"]["name"]) <= 52, "controller-revision-hash must fit into a label value"


def test_replica_counts_change_nothing_but_themselves() -> None:
    rendered = node.objects(samples.zurich())
    changed = node.with_replicas(rendered, {"ch-zug-01-database": 0, "ch-zug-01-rates": 4})
    for before, after in zip(rendered, changed, strict=True):
        name, kind = before["metadata"]["name"], before["kind"]
        if kind in node.WORKLOAD_KINDS and name in ("ch-zug-01-database", "ch-zug-01-rates"):
            assert after == {**before, "spec": {**before["spec"], "replicas": 0 if "database" in name else 4}}
        else:
            assert after is before
