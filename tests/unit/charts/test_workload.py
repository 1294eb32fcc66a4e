"""The operator's own pod: restricted, by digest, with probes; the same for the pod of ``helm test``."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jil.api.kinds import JIL_IMAGE_ALLOW_LIST
from jil.api.labels import APP_MANAGED_BY, IMAGE_TRUST, IMAGE_TRUST_REQUIRED, MANAGED_BY
from jil.api.operation import BREAK_GLASS_DAYS
from jil.engine import metrics
from jil.engine.settings import Settings
from tests.unit.charts.rendering import CHARTS, IMAGE, Manifest, jurisdiction, of_kind, only, operator


def pod_spec(manifests: list[Manifest]) -> dict[str, Any]:
    spec: dict[str, Any] = only(manifests, "Deployment", "jil-operator")["spec"]["template"]["spec"]
    return spec


def container(manifests: list[Manifest]) -> dict[str, Any]:
    (found,) = pod_spec(manifests)["containers"]
    return dict(found)


def environment(manifests: list[Manifest]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(manifests)["env"]}


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return operator()


@pytest.mark.parametrize("which", ["operator", "helm test"])
def test_every_pod_of_the_chart_is_restricted_with_a_read_only_root(manifests: list[Manifest], which: str) -> None:
    spec = pod_spec(manifests) if which == "operator" else only(manifests, "Pod", "jil-operator-test")["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    for part in spec["containers"]:
        assert part["image"] == IMAGE
        assert part["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(part["resources"])
        assert "cpu" not in part["resources"]["limits"]


def test_the_quickstarts_operator_asks_for_no_more_than_50m_of_cpu(manifests: list[Manifest]) -> None:
    assert container(manifests)["resources"]["requests"]["cpu"] == "50m"


def test_a_read_only_root_leaves_tmp_writable(manifests: list[Manifest]) -> None:
    assert {"name": "tmp", "mountPath": "/tmp"} in container(manifests)["volumeMounts"]
    assert [volume["name"] for volume in pod_spec(manifests)["volumes"] if "emptyDir" in volume] == ["tmp"]


def test_liveness_asks_livez_and_readiness_asks_readyz(manifests: list[Manifest]) -> None:
    probes = container(manifests)
    paths = {kind: probes[kind]["httpGet"]["path"] for kind in ("livenessProbe", "startupProbe", "readinessProbe")}
    assert paths == {"livenessProbe": "/livez", "startupProbe": "/livez", "readinessProbe": "/readyz"}


def test_only_the_operators_pod_gets_a_token(manifests: list[Manifest]) -> None:
    assert pod_spec(manifests)["automountServiceAccountToken"] is True
    assert only(manifests, "ServiceAccount", "jil-operator")["automountServiceAccountToken"] is False
    assert only(manifests, "Pod", "jil-operator-test")["spec"]["automountServiceAccountToken"] is False


def test_the_service_finds_the_operators_pods_and_not_the_test_pod(manifests: list[Manifest]) -> None:
    selector = only(manifests, "Service", "jil-operator")["spec"]["selector"].items()
    template = only(manifests, "Deployment", "jil-operator")["spec"]["template"]
    assert selector <= template["metadata"]["labels"].items()
    assert not selector <= only(manifests, "Pod", "jil-operator-test")["metadata"]["labels"].items()
    port = only(manifests, "Service", "jil-operator")["spec"]["ports"][0]["targetPort"]
    assert port in {entry["name"] for entry in container(manifests)["ports"]}


def test_nothing_of_the_chart_carries_the_label_of_what_the_operator_owns() -> None:
    # Objects with that label are swept by the operator and held by the deletion guard.
    for manifest in operator("--set", "replicas=2"):
        assert manifest["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") != "jil-operator"


def test_one_replica_has_no_budget_that_could_only_block_drains(manifests: list[Manifest]) -> None:
    assert list(of_kind(manifests, "PodDisruptionBudget")) == []
    assert "topologySpreadConstraints" not in pod_spec(manifests)


def test_two_replicas_are_spread_and_leave_one_at_a_time() -> None:
    two = operator("--set", "replicas=2")
    assert only(two, "PodDisruptionBudget", "jil-operator")["spec"]["maxUnavailable"] == 1
    (spread,) = pod_spec(two)["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")


def test_the_system_namespace_is_the_releases() -> None:
    assert environment(operator())["JIL_SYSTEM_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}


def test_every_setting_that_the_chart_passes_exists_and_has_the_operators_own_default(
    manifests: list[Manifest],
) -> None:
    prefix = "JIL_"
    given = {
        name.removeprefix(prefix).lower(): value for name, value in environment(manifests).items() if prefix in name
    }
    assert set(given) <= set(Settings.model_fields)
    plain = {name: value for name, value in given.items() if isinstance(value, str)}
    # The chart installs the classes that it tells the operator to set; an operator without the chart has none.
    assert plain.pop("priority_classes") == "true"
    defaults = Settings()
    assert {name: str(getattr(defaults, name)).removesuffix(".0") for name in plain} == plain


def test_the_pod_gets_longer_to_end_than_the_operator_needs(manifests: list[Manifest]) -> None:
    assert pod_spec(manifests)["terminationGracePeriodSeconds"] > Settings().shutdown


def test_the_lease_that_the_role_names_is_the_operators(manifests: list[Manifest]) -> None:
    role = only(manifests, "Role", "jil-operator")
    named = [rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule]
    assert named == [[Settings().lease_name]]


def test_the_alerts_are_about_metrics_that_the_operator_has() -> None:
    (group,) = only(operator("--set", "prometheusRule.enabled=true"), "PrometheusRule", "jil-operator")["spec"][
        "groups"
    ]
    source = Path(inspect.getfile(metrics)).read_text()
    for rule in group["rules"]:
        assert set(rule["annotations"]) == {"summary", "description"}
        assert "kubectl" in rule["annotations"]["description"]
        for name in re.findall(r"jil_[a-z_]+", rule["expr"]):
            assert f'"{name}"' in source, f"{rule['alert']} asks for {name}, which the operator does not have"


def test_a_proxy_never_stands_between_the_operator_and_its_api_server() -> None:
    bypass = environment(operator("--set", "proxy.https=http://proxy.example:3128"))["NO_PROXY"].split(",")
    assert {"$(KUBERNETES_SERVICE_HOST)", ".svc", ".cluster.local", "localhost"} <= set(bypass)


def test_without_a_proxy_no_proxy_variable_is_set(manifests: list[Manifest]) -> None:
    assert not {"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE"} & set(environment(manifests))


@pytest.mark.parametrize(("kind", "source"), [("configMap", {"name": "ca"}), ("secret", {"secretName": "ca"})])
def test_a_private_ca_is_mounted_and_named_to_openssl(kind: str, source: dict[str, str]) -> None:
    rendered = operator("--set", f"privateCA.{kind}=ca,privateCA.key=root.pem")
    (volume,) = [volume for volume in pod_spec(rendered)["volumes"] if volume["name"] == "private-ca"]
    assert volume[kind] == source | {"items": [{"key": "root.pem", "path": "ca.crt"}]}
    (mount,) = [mount for mount in container(rendered)["volumeMounts"] if mount["name"] == "private-ca"]
    assert environment(rendered)["SSL_CERT_FILE"] == mount["mountPath"] + "/ca.crt"


def test_the_login_of_registries_is_a_file_that_the_operator_is_told_of() -> None:
    rendered = operator("--set", "registries.credentials=login")
    (volume,) = [volume for volume in pod_spec(rendered)["volumes"] if volume["name"] == "registries"]
    assert volume["secret"] == {"secretName": "login", "items": [{"key": ".dockerconfigjson", "path": "config.json"}]}
    (mount,) = [mount for mount in container(rendered)["volumeMounts"] if mount["name"] == "registries"]
    assert mount["readOnly"] is True
    assert environment(rendered)["JIL_REGISTRY_CONFIG"] == mount["mountPath"] + "/config.json"


@pytest.mark.parametrize(("kind", "source"), [("configMap", {"name": "ca"}), ("secret", {"secretName": "ca"})])
def test_a_ca_of_registries_is_a_file_beside_the_images_own_bundle(kind: str, source: dict[str, str]) -> None:
    rendered = operator("--set", f"registries.ca.{kind}=ca,registries.ca.key=root.pem")
    (volume,) = [volume for volume in pod_spec(rendered)["volumes"] if volume["name"] == "registry-ca"]
    assert volume[kind] == source | {"items": [{"key": "root.pem", "path": "ca.crt"}]}
    (mount,) = [mount for mount in container(rendered)["volumeMounts"] if mount["name"] == "registry-ca"]
    assert environment(rendered)["JIL_REGISTRY_CA"] == mount["mountPath"] + "/ca.crt"
    assert "SSL_CERT_FILE" not in environment(rendered)


def test_every_registry_setting_of_the_chart_is_one_that_the_operator_has() -> None:
    endpoints = '{"registry.example:5000":"https://registry.internal:5000"}'
    values = "registries.credentials=login,registries.ca.secret=ca"
    rendered = operator("--set", values, "--set-json", f"registries.endpoints={endpoints}")
    given = {name: value for name, value in environment(rendered).items() if name.startswith("JIL_REGISTRY")}
    settings = {name for name in Settings.model_fields if name.startswith("registry_")}
    assert {name.removeprefix("JIL_").lower() for name in given} == settings
    assert given["JIL_REGISTRY_ENDPOINTS"] == endpoints


def test_the_guards_name_the_service_account_of_the_releases_namespace() -> None:
    rendered = operator(namespace="platform")
    for name in ("jil-start-permit", "jil-users-objects", "jil-allow-list"):
        policy = only(rendered, "ValidatingAdmissionPolicy", name)
        assert "system:serviceaccount:platform:jil-operator" in yaml.safe_dump(policy, width=1000)
    assert "'platform'" in yaml.safe_dump(only(rendered, "ValidatingAdmissionPolicy", "jil-deletion-guard"), width=1000)


@pytest.mark.parametrize(
    ("value", "policies"),
    [
        ("deletion", {"jil-deletion-guard", "jil-guard-labels"}),
        ("startPermit", {"jil-start-permit"}),
        ("usersObjects", {"jil-users-objects"}),
        ("images", {"jil-images", "jil-allow-list"}),
        ("operations", {"jil-operations"}),
    ],
)
def test_a_guard_that_is_off_takes_its_policy_and_binding_away(value: str, policies: set[str]) -> None:
    def names(manifests: list[Manifest], kind: str) -> set[str]:
        return {manifest["metadata"]["name"] for manifest in of_kind(manifests, kind)}

    on, off = operator(), operator("--set", f"guards.{value}=false")
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        assert names(on, kind) - names(off, kind) == policies
    assert f"not .Values.guards.{value}" in (CHARTS / "jil-operator/templates/NOTES.txt").read_text(), "no warning"


def test_every_guard_fails_closed_and_denies(manifests: list[Manifest]) -> None:
    for policy in of_kind(manifests, "ValidatingAdmissionPolicy"):
        assert policy["spec"]["failurePolicy"] == "Fail"
        binding = only(manifests, "ValidatingAdmissionPolicyBinding", policy["metadata"]["name"])
        assert binding["spec"]["validationActions"] == ["Deny", "Audit"]


def test_i6_a_namespace_that_requires_signatures_admits_nothing_without_its_list() -> None:
    assert list(of_kind(jurisdiction(), "ValidatingAdmissionPolicyBinding")) == []
    required = jurisdiction("--set", "imageTrust=required")
    (binding,) = of_kind(required, "ValidatingAdmissionPolicyBinding")
    (namespace,) = of_kind(required, "Namespace")
    name = namespace["metadata"]["name"]
    assert (
        binding["spec"]["policyName"] == only(operator(), "ValidatingAdmissionPolicy", "jil-images")["metadata"]["name"]
    )
    assert binding["spec"]["paramRef"] == {"name": name, "parameterNotFoundAction": "Deny"}
    assert binding["spec"]["validationActions"] == ["Deny", "Audit"]
    selector = binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
    assert selector == {"kubernetes.io/metadata.name": name}
    assert namespace["metadata"]["labels"][IMAGE_TRUST] == IMAGE_TRUST_REQUIRED


def test_the_policy_about_images_finds_the_lists_by_a_label_that_the_operator_gives_them(
    manifests: list[Manifest],
) -> None:
    paramref = only(manifests, "ValidatingAdmissionPolicyBinding", "jil-images")["spec"]["paramRef"]
    assert paramref["selector"]["matchLabels"] == {APP_MANAGED_BY: MANAGED_BY}
    param = only(manifests, "ValidatingAdmissionPolicy", "jil-images")["spec"]["paramKind"]
    assert param == {"apiVersion": JIL_IMAGE_ALLOW_LIST.api_version, "kind": JIL_IMAGE_ALLOW_LIST.kind}


def test_no_break_glass_lasts_longer_in_the_policy_than_in_the_words_of_the_api(manifests: list[Manifest]) -> None:
    policy = yaml.safe_dump(only(manifests, "ValidatingAdmissionPolicy", "jil-operations"), width=1000)
    assert f"duration('{BREAK_GLASS_DAYS * 24}h')" in policy.replace("''", "'")
    assert f"{BREAK_GLASS_DAYS} days from now" in policy
