"""What the API server makes of the CRDs: strictness, defaults, status, names, help, limits, older versions."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from jil.api.definitions import DEFINITIONS, Definition, definition
from jil.api.node import JILNode
from jil.api.versions import SUPPORTED_MINORS, TESTED_MINOR, is_supported
from testbed.apiclient import ApiClient, ApiError
from testbed.controlplane import ControlPlane
from tests.cluster.api.conftest import Manifest, checked_in, collection, install
from tests.cluster.api.rule_cases import BASES, ELSEWHERE, HERE, LATER, UNSET, changed, image
from tests.waiting import eventually

STRICT = "?fieldValidation=Strict"
kinds = pytest.mark.parametrize("kind", BASES)


def _body(kind: str, manifest: Manifest) -> Manifest:
    return {"apiVersion": "jil.io/v1alpha1", "kind": kind, **manifest}


def _create(admin: ApiClient, crds: dict[str, Manifest], namespace: str, kind: str, **changes: Any) -> Manifest:
    manifest = changed(BASES[kind], {path.replace("__", "/"): value for path, value in changes.items()})
    return admin.create(collection(crds[kind], namespace) + STRICT, _body(kind, manifest))


def _kubectl(control_plane: ControlPlane, *arguments: str) -> str:
    command = [str(control_plane.kubectl), "--kubeconfig", str(control_plane.kubeconfig), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@kinds
@pytest.mark.parametrize("place", ["spec", ""])
def test_unknown_field_is_refused(
    kind: str, place: str, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    path = f"{place}/replicaz".lstrip("/")
    body = _body(kind, changed(BASES[kind], {path: 3}))
    with pytest.raises(ApiError, match="unknown field") as refusal:
        control_plane.admin.create(collection(crds[kind], namespace) + STRICT, body)
    assert path.replace("/", ".") in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("JILNetwork", "spec/members/0/votes"),
        ("JILNetwork", "spec/consensus/timeoutPrevoteMs"),
        ("JILRelease", "spec/services/0/env"),
        ("JILRelease", "spec/images/agent"),
        ("JILNode", "spec/services/0/image"),
        ("JILNode", "spec/storage/retention"),
        ("JILNodeRecord", "spec/owner/kind"),
    ],
)
def test_unknown_nested_field_is_refused(
    kind: str, path: str, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    body = _body(kind, changed(BASES[kind], {path: "x"}))
    with pytest.raises(ApiError, match="unknown field"):
        control_plane.admin.create(collection(crds[kind], namespace) + STRICT, body)


def test_minimal_node_gets_the_defaults_that_the_models_have(
    control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    minimal = {"nodeId": "CH-ZUG-01", "region": "ch-zug", "country": "CH", "datacenter": "zug-1"}
    body = _body("JILNode", {"metadata": {"name": "ch-zug-01"}, "spec": minimal})
    stored = control_plane.admin.create(collection(crds["JILNode"], namespace) + STRICT, body)
    assert stored["spec"] == minimal | {
        "state": "Running",
        "profile": "small",
        "storage": {"database": "10Gi", "cache": "1Gi", "broker": "10Gi", "validator": "10Gi"},
        "validator": {"enabled": True},
        "placement": {},
    }


@kinds
def test_server_and_models_agree_on_defaults(
    kind: str, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    """Reading the object before and after the server filled it in gives the same spec."""
    model = definition(kind).model
    path = collection(crds[kind], namespace)
    stored = control_plane.admin.create(f"{path}?dryRun=All", _body(kind, BASES[kind]))
    assert model.parse(stored).spec == model.parse(BASES[kind]).spec


def test_default_survives_an_explicit_null(
    control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    stored = _create(control_plane.admin, crds, namespace, "JILNode", spec__storage=None, spec__validator=None)
    assert JILNode.parse(stored).spec.storage.database == "10Gi"
    assert JILNode.parse(stored).spec.validator.enabled


@pytest.mark.parametrize("kind", [d.kind.kind for d in DEFINITIONS if d.has_status])
def test_status_is_a_subresource_of_its_own(
    kind: str, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    admin = control_plane.admin
    stored = _create(admin, crds, namespace, kind, metadata__name="status-apart", status={"observedGeneration": 7})
    assert "status" not in stored
    path = f"{collection(crds[kind], namespace)}/status-apart"
    other = {"observedGeneration": 1, "conditions": [_condition("Ready")]}
    written = admin.merge(f"{path}/status", {"status": other, "metadata": {"labels": {"a": "b"}}, "spec": None})
    assert written["status"] == other
    assert written["spec"] == stored["spec"]
    assert "labels" not in written["metadata"]
    assert written["metadata"]["generation"] == 1
    admin.delete(path)


@pytest.mark.parametrize("kind", [d.kind.kind for d in DEFINITIONS if not d.has_status])
def test_kind_without_status_has_no_status_subresource(
    kind: str, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    with pytest.raises(ApiError) as answer:
        control_plane.admin.merge(f"{collection(crds[kind], namespace)}/any/status", {"status": {}})
    assert answer.value.code == 404


def _condition(type_: str) -> Manifest:
    return {
        "type": type_,
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "Ready",
        "message": "",
    }


def test_conditions_are_a_map_so_that_two_writers_do_not_erase_each_other(
    control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    admin = control_plane.admin
    _create(admin, crds, namespace, "JILNode")
    path = f"{collection(crds['JILNode'], namespace)}/ch-zug-01/status"
    for manager, type_ in (("one", "Ready"), ("two", "Serving")):
        body = _body("JILNode", {"metadata": {"name": "ch-zug-01"}, "status": {"conditions": [_condition(type_)]}})
        stored = admin.apply(path, body, manager=manager)
    assert [condition["type"] for condition in stored["status"]["conditions"]] == ["Ready", "Serving"]


@pytest.mark.parametrize(
    ("kind", "path", "entry"),
    [
        ("JILNetwork", "spec/members", [HERE, {**LATER, "nodeId": "CH-ZUG-01"}]),
        ("JILRelease", "spec/services", [{"name": "a", "image": image("a")}, {"name": "a", "image": image("b")}]),
        ("JILRelease", "spec/services/0/needs", ["chain", "chain"]),
        ("JILNode", "spec/services", [{"name": "a"}, {"name": "a"}]),
        (
            "JILNodeRecord",
            "spec/volumes",
            [{"component": "cache", "pvcUID": "1"}, {"component": "cache", "pvcUID": "2"}],
        ),
    ],
)
def test_duplicate_list_entries_are_refused(
    kind: str, path: str, entry: list[Any], control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    with pytest.raises(ApiError, match="Duplicate value"):
        control_plane.admin.create(
            collection(crds[kind], namespace) + STRICT, _body(kind, changed(BASES[kind], {path: entry}))
        )


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("JILNetwork", "spec/consensus/timeoutProposeMs", 99),
        ("JILNetwork", "spec/consensus/timeoutCommitMs", 60_001),
        ("JILNetwork", "spec/members/0/power", 0),
        ("JILNetwork", "spec/members/0/power", 1_000_000_001),
        ("JILNetwork", "spec/members", []),
        ("JILNetwork", "spec/track", "prod"),
        ("JILNetwork", "spec/genesis/time", "yesterday"),
        ("JILRelease", "spec/services/0/replicas", 0),
        ("JILRelease", "spec/services/0/port", 65_536),
        ("JILRelease", "spec/services/0/needs", ["disk"]),
        ("JILRelease", "spec/services/0/name", "a" * 21),
        ("JILRelease", "spec/services/0/command", ["x" * 513]),
        ("JILRelease", "spec/services/0/args", ["x"] * 33),
        ("JILRelease", "spec/broker/flavour", "nats"),
        ("JILRelease", "spec/images/health", UNSET),
        ("JILJurisdiction", "spec/compliance", {"k": "v" * 1025}),
        ("JILJurisdiction", "spec/compliance", {str(number): "v" for number in range(65)}),
        ("JILNode", "spec/state", "Paused"),
        ("JILNode", "spec/services/0/replicas", 11),
        ("JILNode", "spec/country", UNSET),
        ("JILNode", "spec/placement/nodeSelector", {str(number): "v" for number in range(17)}),
        ("JILNodeRecord", "spec/releases", [{"release": "r", "since": "2026-01-01T00:00:00Z"}] * 6),
        ("JILNodeRecord", "spec/keys/node", {"peerId": "A" * 40, "fingerprint": "a" * 64}),
    ],
)
def test_value_out_of_bounds_is_refused_where_it_stands(
    kind: str, path: str, value: Any, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    with pytest.raises(ApiError) as refusal:
        control_plane.admin.create(
            collection(crds[kind], namespace) + STRICT, _body(kind, changed(BASES[kind], {path: value}))
        )
    assert refusal.value.code == 422
    named = path.replace("/0", "[0]").replace("/", ".")
    assert any(cause["field"].startswith(named) for cause in refusal.value.body["details"]["causes"])


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("JILNetwork", {"spec/consensus/timeoutCommitMs": 500}),
        ("JILNetwork", {"spec/members/2/power": 50}),
        ("JILNetwork", {"spec/members/2": UNSET}),
        ("JILNetwork", {"spec/members": [LATER, {**ELSEWHERE, "address": "moved.example.com:1"}, HERE]}),
        ("JILNetwork", {"spec/disruption": {"allowHalt": True}}),
        ("JILRelease", {"metadata/labels": {"a": "b"}}),
        ("JILJurisdiction", {"spec/release": "jil-1-0-1", "spec/compliance": {}}),
        ("JILNode", {"spec/state": "Stopped", "spec/profile": "prod", "spec/services": []}),
        ("JILNode", {"spec/storage": {"database": "10240Mi", "broker": "1Ti"}}),
        ("JILNode", {"spec/region": "ch-other", "spec/datacenter": "other"}),
        ("JILNodeRecord", {"spec/owner/uid": "another", "spec/bootstrapped": True, "spec/highestSignedHeight": 9}),
    ],
)
def test_what_may_change_can_change(
    kind: str, changes: dict[str, Any], control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    stored = _create(control_plane.admin, crds, namespace, kind)
    path = f"{collection(crds[kind], namespace)}/{stored['metadata']['name']}"
    try:
        control_plane.admin.request("PUT", path + STRICT, changed(stored, changes))
    finally:
        control_plane.admin.delete(path)


def test_network_and_node_of_full_size_are_admitted_and_can_be_updated(
    control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    """The rules' run-time cost is bounded too: the API server stops a rule that takes too long."""
    admin = control_plane.admin
    members = [
        {
            **ELSEWHERE,
            "nodeId": f"SG-MAS-{number:02}",
            "publicKey": f"{number:043}=",
            "peerId": f"{number:040}",
            "address": f"{'a' * 249}.com:26656",
        }
        for number in range(100)
    ]
    stored = _create(admin, crds, namespace, "JILNetwork", metadata__name="full", spec__members=members)
    path = f"{collection(crds['JILNetwork'], namespace)}/full"
    try:
        moved = changed(stored, {"spec/members/99/address": "moved.example.com:26656"})
        stored = admin.request("PUT", path, moved)
        with pytest.raises(ApiError, match="founders are part of the genesis"):
            admin.request("PUT", path, changed(stored, {"spec/members/99/power": 11}))
    finally:
        admin.delete(path)

    services = [
        {
            "name": f"service-{number:03}",
            "image": image("node"),
            "needs": ["database", "cache", "broker", "chain"],
            "args": ["--flag=" + "x" * 100] * 8,
            "resources": {"cpu": "50m", "memory": "64Mi"},
        }
        for number in range(250)
    ]
    release = _create(admin, crds, namespace, "JILRelease", metadata__name="full", spec__services=services)
    path = f"{collection(crds['JILRelease'], namespace)}/full"
    try:
        with pytest.raises(ApiError, match="a JILRelease cannot be changed"):
            admin.request("PUT", path, changed(release, {"spec/services/249/replicas": 2}))
    finally:
        admin.delete(path)
    overrides = [{"name": service["name"], "replicas": 2, "resources": service["resources"]} for service in services]
    _create(admin, crds, namespace, "JILNode", spec__services=overrides)


@pytest.mark.parametrize("entry", DEFINITIONS, ids=lambda entry: entry.kind.kind)
def test_discovery_names_the_kind_and_keeps_it_out_of_all(
    entry: Definition, control_plane: ControlPlane, crds: dict[str, Manifest]
) -> None:
    resources = control_plane.admin.get("/apis/jil.io/v1alpha1")["resources"]
    (found,) = [resource for resource in resources if resource["name"] == entry.kind.plural]
    assert found["shortNames"] == [entry.short_name]
    assert found["categories"] == ["jil"]
    assert found["namespaced"] is entry.kind.namespaced


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("jilnode.spec.storage", "Volume of the database, in bytes. Default: 10Gi."),
        ("jnet.spec.consensus.timeoutCommitMs", "in milliseconds; it sets the block time. Default: 1150."),
    ],
)
def test_kubectl_explain_shows_meaning_unit_and_default(
    path: str, words: str, control_plane: ControlPlane, crds: dict[str, Manifest]
) -> None:
    def shown() -> bool:
        # The API server publishes the schema for kubectl in its own time.
        try:
            return words in " ".join(_kubectl(control_plane, "explain", path).split())
        except subprocess.CalledProcessError:
            return False

    eventually(shown, f"kubectl explain {path} to say: {words}")


@pytest.mark.parametrize(
    ("short", "columns", "wide"),
    [
        ("jn", "NAME STATE PHASE RELEASE HEIGHT LAG AGE", "NAME STATE PHASE RELEASE HEIGHT LAG PEER ID MESSAGE AGE"),
        ("jj", "NAME ZONE NETWORK RELEASE NODES READY AGE", "NAME ZONE NETWORK RELEASE NODES READY MESSAGE AGE"),
        ("jrec", "NAME NODE ID NETWORK NAMESPACE NODE SIGNED AGE", "NAME NODE ID NETWORK NAMESPACE NODE SIGNED AGE"),
    ],
)
def test_kubectl_get_shows_the_columns(
    short: str, columns: str, wide: str, control_plane: ControlPlane, crds: dict[str, Manifest], namespace: str
) -> None:
    for kind in ("JILNode", "JILJurisdiction", "JILNodeRecord"):
        _create(control_plane.admin, crds, namespace, kind)
    narrow_head = _kubectl(control_plane, "get", short, "-n", namespace).splitlines()[0]
    wide_head = _kubectl(control_plane, "get", short, "-n", namespace, "-o", "wide").splitlines()[0]
    assert " ".join(narrow_head.split()) == columns
    assert " ".join(wide_head.split()) == wide


def test_oldest_supported_minor_takes_the_crds_and_their_rules() -> None:
    """An older API server, as far as this one can play it; the newest is what every other test runs on."""
    major, minor = SUPPORTED_MINORS[0]
    with ControlPlane(apiserver_flags=[f"--emulated-version={major}.{minor}"]) as old:
        version = old.admin.get("/version")
        assert (version["emulationMajor"], version["emulationMinor"]) == (str(major), str(minor))
        install(old.admin, *checked_in().values())
        for kind, crd in checked_in().items():
            path = collection(crd, "default")
            old.admin.create(path + STRICT, _body(kind, BASES[kind]))
        node = "/apis/jil.io/v1alpha1/namespaces/default/jilnodes/ch-zug-01"
        with pytest.raises(ApiError, match="storage cannot shrink from 10Gi to 1Gi"):
            old.admin.merge(node, {"spec": {"storage": {"database": "1Gi"}}})


def test_api_server_of_the_rig_is_the_newest_supported_minor(control_plane: ControlPlane) -> None:
    version = control_plane.admin.get("/version")
    assert (int(version["major"]), int(version["minor"].rstrip("+"))) == TESTED_MINOR == SUPPORTED_MINORS[-1]
    assert is_supported(version["major"], version["minor"])
