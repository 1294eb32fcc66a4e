"""The typed resources: what they accept, refuse and derive."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from jil.api.definitions import DEFINITIONS, definition
from jil.api.fields import StatusModel
from jil.api.jurisdiction import JILJurisdiction
from jil.api.labels import Component
from jil.api.network import JILNetwork
from jil.api.node import JILNode, NodeState, NodeStatus, Profile
from jil.api.objects import InvalidObject
from jil.api.record import JILNodeRecord, RecordSpec
from jil.api.release import BrokerFlavour, JILRelease
from tests.cluster.api.rule_cases import BASES, CASES, ELSEWHERE, HERE, LATER, UNSET, Case, changed

FORMAT_CASES = [case for case in CASES if case.path and not case.is_transition and "must" in case.rule]


def _node(**changes: Any) -> JILNode:
    return JILNode.parse(changed(BASES["JILNode"], {k.replace("__", "/"): v for k, v in changes.items()}))


@pytest.mark.parametrize("kind", BASES)
def test_what_is_written_is_what_was_read(kind: str) -> None:
    model = definition(kind).model
    spec = model.parse(BASES[kind]).spec
    assert model.parse({**BASES[kind], "spec": spec.wire()}).spec == spec


def test_wire_names_are_those_of_the_interface() -> None:
    """camelCase has no rule for abbreviations: the unusual names are written out once and held here."""
    record = RecordSpec.model_validate(
        {
            **BASES["JILNodeRecord"]["spec"],
            "p2p": {"clusterIP": "10.96.0.9"},
            "volumes": [{"component": "cache", "pvcUID": "1", "pvName": "pv"}],
            "permit": {"podUID": "2", "podName": "p", "mode": "create", "issuedAt": "2026-01-01T00:00:00Z"},
        }
    )
    wire = record.wire()
    assert wire["clusterUID"] == "77aa"
    assert wire["p2p"] == {"clusterIP": "10.96.0.9"}
    assert wire["volumes"] == [{"component": "cache", "pvcUID": "1", "pvName": "pv"}]
    assert wire["permit"]["podUID"] == "2"
    assert wire["permit"]["issuedAt"] == "2026-01-01T00:00:00Z"
    status = NodeStatus(peer_id="a" * 40, observed_generation=3)
    assert status.wire() == {"peerId": "a" * 40, "observedGeneration": 3, "components": [], "conditions": []}


def test_every_wire_name_is_camel_case() -> None:
    def names(schema: dict[str, Any]) -> set[str]:
        found = set(schema.get("properties", {}))
        for sub in [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]:
            found |= names(sub) if sub else set()
        return found

    for entry in DEFINITIONS:
        for name in names(entry.schema()):
            assert re.fullmatch("[a-z][A-Za-z0-9]*", name)
            assert not re.search("[A-Z][0-9]|[0-9][A-Z]", name), name


def test_minimal_node_has_a_default_for_everything_else() -> None:
    spec = _node(spec__placement=UNSET, spec__services=UNSET).spec
    assert (spec.state, spec.profile, spec.validator.enabled) == (NodeState.RUNNING, Profile.SMALL, True)
    assert {c: spec.storage.size(c) for c in (Component.DATABASE, Component.CACHE)} == {
        Component.DATABASE: "10Gi",
        Component.CACHE: "1Gi",
    }
    assert spec.storage.storage_class_name is None
    assert spec.placement.node_selector == {}


def test_component_without_a_volume_has_no_size() -> None:
    with pytest.raises(KeyError, match="health has no volume"):
        _node().spec.storage.size(Component.HEALTH)


def test_node_without_validator_runs_everything_else_in_start_order() -> None:
    assert _node().spec.components == tuple(Component)
    without = _node(spec__validator={"enabled": False}).spec.components
    assert without == (Component.DATABASE, Component.CACHE, Component.BROKER, Component.HEALTH)


def test_node_knows_its_record_and_its_overrides() -> None:
    node = _node(spec__services=[{"name": "transfers", "replicas": 0}])
    assert node.spec.record_name == "ch-zug-01"
    override = node.spec.override("transfers")
    assert override is not None
    assert override.replicas == 0
    assert node.spec.override("other") is None


def test_network_derives_founders_and_members_independently_of_the_order_in_the_manifest() -> None:
    one = JILNetwork.parse(BASES["JILNetwork"]).spec
    other = JILNetwork.parse(changed(BASES["JILNetwork"], {"spec/members": [LATER, ELSEWHERE, HERE]})).spec
    assert one.founders == other.founders
    assert [m.node_id for m in one.founders] == ["CH-ZUG-01", "SG-MAS-01"]
    assert [m.node_id for m in one.members_here] == ["CH-ZUG-01", "CH-ZUG-02"]
    assert [m.node_id for m in one.members_elsewhere] == ["SG-MAS-01"]
    assert one.member("CH-ZUG-02") is not None
    assert one.member("DE-NUE-01") is None
    assert [m.power for m in one.members] == [10, 10, 10]
    assert one.genesis.time.isoformat() == "2026-01-01T00:00:00+00:00"


def test_genesis_time_needs_a_zone() -> None:
    with pytest.raises(InvalidObject, match=r"spec\.genesis\.time"):
        JILNetwork.parse(changed(BASES["JILNetwork"], {"spec/genesis/time": "2026-01-01T00:00:00"}))


def test_release_names_every_image_of_a_node() -> None:
    spec = JILRelease.parse(BASES["JILRelease"]).spec
    assert set(spec.all_images) == {"database", "cache", "broker", "validator", "health", "transfers"}
    assert spec.all_images["cache"] == spec.image(Component.CACHE)
    assert spec.broker.flavour is BrokerFlavour.KAFKA
    service = spec.service("transfers")
    assert service is not None
    assert (service.port, service.replicas, service.needs) == (8080, 1, ())
    assert spec.service("other") is None


def test_record_finds_the_volume_of_a_component() -> None:
    manifest = changed(BASES["JILNodeRecord"], {"spec/volumes": [{"component": "cache", "pvcUID": "1"}]})
    record = JILNodeRecord.parse(manifest).spec
    volume = record.volume("cache")
    assert volume is not None
    assert volume.pvc_uid == "1"
    assert record.volume("broker") is None


def test_compliance_is_a_map_of_texts() -> None:
    assert JILJurisdiction.parse(BASES["JILJurisdiction"]).spec.compliance == {"transfer.limit": "1000"}
    with pytest.raises(InvalidObject, match=r"spec\.compliance\.transfer\.limit"):
        JILJurisdiction.parse(changed(BASES["JILJurisdiction"], {"spec/compliance": {"transfer.limit": 1000}}))


def _case_id(case: Case) -> str:
    return f"{case.kind}:{case.path}:{next(iter(case.fault.values()))!s:.20}"


@pytest.mark.parametrize("case", FORMAT_CASES, ids=_case_id)
def test_models_refuse_the_formats_that_the_api_server_refuses(case: Case) -> None:
    """An object stored by an older CRD, or a manifest that never saw an API server, is not taken on trust."""
    with pytest.raises(InvalidObject):
        definition(case.kind).model.parse(case.new)
    definition(case.kind).model.parse(case.old)


def test_key_of_a_node_selector_must_be_one_of_a_label() -> None:
    _node(spec__placement={"nodeSelector": {"topology.kubernetes.io/zone": "a", "disk": ""}})
    with pytest.raises(InvalidObject, match=r"spec\.placement\.nodeSelector"):
        _node(spec__placement={"nodeSelector": {"no spaces": "a"}})


def test_unreadable_object_says_where_what_and_what_was_given() -> None:
    manifest = changed(BASES["JILNode"], {"spec/region": UNSET, "spec/storage": {"cache": "1GB"}, "spec/colour": "red"})
    with pytest.raises(InvalidObject) as error:
        JILNode.parse(manifest)
    assert (error.value.kind, error.value.name) == ("JILNode", "ch-zug-01")
    assert sorted(problem.partition(":")[0] for problem in error.value.problems) == [
        "spec.colour",
        "spec.region",
        "spec.storage.cache",
    ]
    assert "(got '1GB')" in str(error.value)


def test_unreadable_list_entry_is_named_by_its_place() -> None:
    with pytest.raises(InvalidObject, match=r"spec\.services\[1\]\.replicas"):
        _node(spec__services=[{"name": "a"}, {"name": "b", "replicas": 99}])


def test_object_without_metadata_is_unreadable_and_not_a_crash() -> None:
    with pytest.raises(InvalidObject, match=r"JILNode \?: metadata: Field required"):
        JILNode.parse({"spec": BASES["JILNode"]["spec"]})


def test_status_of_a_newer_operator_can_be_read() -> None:
    manifest = {**BASES["JILNode"], "status": {"phase": "Hibernating", "moon": "full", "conditions": []}}
    assert JILNode.parse(manifest).status.phase == "Hibernating"


def test_resources_are_frozen() -> None:
    node = _node()
    with pytest.raises(ValidationError, match="frozen"):
        node.spec.region = "elsewhere"  # type: ignore[misc]


def test_metadata_of_an_object_being_deleted() -> None:
    manifest = changed(BASES["JILNode"], {"metadata/deletionTimestamp": "2026-01-01T00:00:00Z", "metadata/uid": "u"})
    node = JILNode.parse(manifest)
    assert node.metadata.deleting
    assert (node.name, node.metadata.uid) == ("ch-zug-01", "u")
    assert not _node().metadata.deleting


def _models(model: type[BaseModel]) -> set[type[BaseModel]]:
    found = {model}
    for sub in model.__subclasses__():
        found |= _models(sub)
    return found


def test_only_a_status_may_ignore_what_it_does_not_know() -> None:
    for entry in DEFINITIONS:
        for name, field in entry.model.model_fields.items():
            if name == "metadata":
                continue
            assert isinstance(field.annotation, type)
            assert issubclass(field.annotation, StatusModel) == (name == "status")
    assert {model.model_config.get("extra") for model in _models(StatusModel)} == {"ignore"}
