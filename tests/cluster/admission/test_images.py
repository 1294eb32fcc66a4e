"""Pods of a jurisdiction run only what its allow-list holds: every way in, each beside the twin that is admitted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from testbed.apiclient import ApiError
from tests.cluster.admission.conftest import Guarded, allow
from tests.cluster.admission.objects import (
    ALLOWED,
    BROKEN,
    FOREIGN,
    LISTS,
    OPEN,
    PLACES,
    REQUIRED,
    SPACE,
    WORKLOADS,
    admitted,
    image,
    path,
    pod,
    pod_with,
    workload,
)
from tests.cluster.charts import rig
from tests.cluster.charts.rig import refusal
from tests.waiting import until_pods_may_be_made

_numbers = count(1)
PODS = path("Pod", SPACE)


def name() -> str:
    return f"one-{next(_numbers)}"


@pytest.fixture
def running(guarded: Guarded) -> Iterator[str]:
    """Name of an admitted pod."""
    made = name()
    guarded.admin.create(PODS, pod(made, image(ALLOWED)))
    yield made
    guarded.admin.delete(f"{PODS}/{made}?gracePeriodSeconds=0")


@pytest.mark.parametrize("place", PLACES)
def test_i6_a_foreign_image_is_refused_wherever_it_stands_in_a_pod(guarded: Guarded, place: str) -> None:
    dry = f"{PODS}?dryRun=All"
    guarded.admin.create(dry, pod_with(name(), place, image(ALLOWED)))
    message = refusal(lambda: guarded.admin.create(dry, pod_with(name(), place, image(FOREIGN))))
    assert f'image "{image(FOREIGN)}" may not run in namespace {SPACE}' in message
    assert "no release that is signed and approved for this namespace names its digest" in message
    assert f"kubectl get jilimageallowlist {SPACE} -o yaml" in message
    assert f"jilctl image inspect {image(FOREIGN)}" in message


@pytest.mark.parametrize(
    "reference",
    [
        "registry.example.com:5000/jil/node:1.0",
        "registry.example.com:5000/jil/node",
        f"registry.example.com:5000/jil/node:{'a' * 64}",
        f"registry.example.com:5000/jil/node@{ALLOWED.upper()}",
        f"registry.example.com:5000/jil/node@{ALLOWED}a",
        f"registry.example.com:5000/jil/node@{ALLOWED[:-1]}",
        f"@{ALLOWED}",
        ALLOWED,
        f"evil.example.com/x@{FOREIGN}@{ALLOWED}",
        f"registry.example.com/x@sha512:{'a' * 128}",
    ],
)
def test_ac_17_an_image_that_is_not_named_by_digest_is_refused(guarded: Guarded, reference: str) -> None:
    message = refusal(lambda: guarded.admin.create(f"{PODS}?dryRun=All", pod(name(), reference)))
    assert "it is not named by digest, as <repository>@sha256:<64 hex digits>" in message


@pytest.mark.parametrize(
    "reference", [f"mirror.example.com/jil/node@{ALLOWED}", f"registry.example.com:5000/jil/node:1.0@{ALLOWED}"]
)
def test_the_same_bytes_from_a_mirror_or_with_a_tag_beside_the_digest_are_admitted(
    guarded: Guarded, reference: str
) -> None:
    guarded.admin.create(f"{PODS}?dryRun=All", pod(name(), reference))


@pytest.mark.parametrize("kind", WORKLOADS)
def test_i6_a_workload_with_a_foreign_image_is_refused_as_early_as_its_pods_would_be(
    guarded: Guarded, kind: str
) -> None:
    where, made = path(kind, SPACE), name()
    message = refusal(lambda: guarded.admin.create(f"{where}?dryRun=All", workload(kind, made, image(FOREIGN))))
    assert f'image "{image(FOREIGN)}" may not run' in message
    guarded.admin.create(where, workload(kind, made, image(ALLOWED)))
    try:
        guarded.admin.merge(f"{where}/{made}?dryRun=All", {"metadata": {"labels": {"more": "x"}}})
    finally:
        guarded.admin.delete(f"{where}/{made}")


@pytest.mark.parametrize("kind", ["pod", "deployment", "statefulset", "cronjob"])
def test_ac_17_kubectl_set_image_is_refused_at_once(guarded: Guarded, running: str, kind: str) -> None:
    target = f"{kind}/{running}"
    if kind != "pod":
        proper = {"deployment": "Deployment", "statefulset": "StatefulSet", "cronjob": "CronJob"}[kind]
        guarded.admin.create(path(proper, SPACE), workload(proper, running, image(ALLOWED)))
    try:
        code, said = guarded.kubectl("set", "image", target, f"main={image(FOREIGN)}", "-n", SPACE)
        assert code != 0
        assert f'image "{image(FOREIGN)}" may not run in namespace {SPACE}' in said
        mirrored = f"mirror.example.com/jil/node@{ALLOWED}"
        code, said = guarded.kubectl("set", "image", target, f"main={mirrored}", "-n", SPACE)
        assert (code, "image updated" in said) == (0, True), said
    finally:
        if kind != "pod":
            guarded.admin.delete(f"{path(proper, SPACE)}/{running}")


def test_i6_an_ephemeral_debug_container_with_a_foreign_image_is_refused(guarded: Guarded, running: str) -> None:
    debug = ("debug", running, "-n", SPACE, "--profile=restricted", "--target=main", "--image")
    code, said = guarded.kubectl(*debug, image(FOREIGN))
    assert code != 0
    assert f'image "{image(FOREIGN)}" may not run in namespace {SPACE}' in said
    assert "ephemeralContainers" not in guarded.admin.get(f"{PODS}/{running}")["spec"]
    code, said = guarded.kubectl(*debug, image(ALLOWED))
    assert code == 0, said
    assert len(guarded.admin.get(f"{PODS}/{running}")["spec"]["ephemeralContainers"]) == 1


def test_i6_kubectl_create_by_hand_is_refused(guarded: Guarded) -> None:
    code, said = guarded.kubectl("create", "deployment", name(), "-n", SPACE, "--image=docker.io/library/busybox:1")
    assert code != 0
    assert 'image "docker.io/library/busybox:1" may not run' in said
    assert "it is not named by digest" in said


def test_a_pod_whose_digest_left_the_list_can_still_be_labelled_stopped_and_deleted_but_not_come_back(
    guarded: Guarded,
) -> None:
    old, deployments = f"sha256:{'c' * 64}", path("Deployment", SPACE)
    pods, made = PODS, name()
    allow(guarded, SPACE, ALLOWED, old)
    rig.eventually(lambda: _admitted(guarded, pod(name(), image(old))), "the longer list to be seen")
    guarded.admin.create(pods, pod(made, image(old)))
    guarded.admin.create(deployments, workload("Deployment", made, image(old)))
    allow(guarded, SPACE, ALLOWED)
    rig.eventually(lambda: not _admitted(guarded, pod(name(), image(old))), "the shorter list to be seen")
    guarded.admin.merge(f"{pods}/{made}", {"metadata": {"labels": {"jil.io/serving": "false"}}})
    guarded.admin.merge(f"{deployments}/{made}", {"spec": {"replicas": 0, "paused": True}})
    message = refusal(lambda: guarded.admin.merge(f"{pods}/{made}", _set_image(image(FOREIGN))))
    assert image(FOREIGN) in message
    guarded.admin.merge(f"{pods}/{made}", _set_image(image(ALLOWED)))
    message = refusal(lambda: guarded.admin.merge(f"{pods}/{made}", _set_image(image(old))))
    assert image(old) in message
    guarded.admin.delete(f"{pods}/{made}?gracePeriodSeconds=0")
    guarded.admin.delete(f"{deployments}/{made}")


def test_a_digest_of_a_broken_glass_is_admitted_as_long_as_it_stands_there(guarded: Guarded) -> None:
    entry = {"operation": "inc-1", "digest": BROKEN, "requestedBy": "ops-lead", "until": "2026-01-01T00:00:00Z"}
    assert not _admitted(guarded, pod(name(), image(BROKEN)))
    # The time in the entry is for the operator: CEL has no clock, and this one is long over.
    allow(guarded, SPACE, ALLOWED, break_glass=[entry])
    rig.eventually(lambda: _admitted(guarded, pod(name(), image(BROKEN))), "the broken glass to be seen")
    allow(guarded, SPACE, ALLOWED)
    rig.eventually(lambda: not _admitted(guarded, pod(name(), image(BROKEN))), "the glass to be whole")


def test_a_jil_namespace_without_a_list_is_not_held_to_one(guarded: Guarded) -> None:
    """A network without a trust policy (devnet) has no lists: its namespaces work as they did before there were any."""
    guarded.admin.create(f"{path('Pod', OPEN)}?dryRun=All", pod(name(), "docker.io/library/busybox:latest"))


def test_a_namespace_that_is_not_jils_is_nobodys_business(guarded: Guarded) -> None:
    guarded.admin.create(f"{path('Pod', rig.ELSEWHERE)}?dryRun=All", pod(name(), "docker.io/library/busybox:latest"))


def test_i6_where_the_list_is_required_nothing_runs_before_there_is_one(guarded: Guarded) -> None:
    where = f"{path('Pod', REQUIRED)}?dryRun=All"
    # The words are the API server's own: a policy without its parameter has nothing to make a message of.
    with pytest.raises(ApiError, match=f"binding 'jil-images-required.{REQUIRED}'.*no params found"):
        guarded.admin.create(where, pod(name(), image(ALLOWED)))
    allow(guarded, REQUIRED, ALLOWED)
    rig.eventually(lambda: _admitted(guarded, pod(name(), image(ALLOWED)), REQUIRED), "the new list to be seen")
    refusal(lambda: guarded.admin.create(where, pod(name(), image(FOREIGN))))
    labels = guarded.admin.get(f"/api/v1/namespaces/{REQUIRED}")["metadata"]["labels"]
    assert labels["jil.io/image-trust"] == "required"


def test_one_namespaces_list_says_nothing_about_anothers(guarded: Guarded) -> None:
    message = refusal(lambda: guarded.admin.create(f"{PODS}?dryRun=All", pod(name(), image(BROKEN))))
    assert SPACE in message
    assert _admitted(guarded, pod(name(), image(BROKEN)), OPEN)


def test_i6_a_list_of_another_network_than_the_namespaces_label_lets_nothing_in(guarded: Guarded) -> None:
    admin, space, made = guarded.admin, "jil-of-two-minds", name()
    admin.create("/api/v1/namespaces", rig.namespace(space, {"jil.io/network": "jil-mainnet"}))
    until_pods_may_be_made(admin, space)
    pods = path("Pod", space)
    admin.create(pods, pod(made, image(ALLOWED)))  # the namespace has no list yet, and no binding that asks for one
    allow(guarded, space, ALLOWED)
    rig.eventually(lambda: not _admitted(guarded, pod(name(), image(ALLOWED)), space), "the list to be seen")
    message = refusal(lambda: admin.create(f"{pods}?dryRun=All", pod(name(), image(ALLOWED))))
    assert (
        'its allow-list was made for network "jil-devnet", and its label jil.io/network says "jil-mainnet"' in message
    )
    assert "Correct spec.network of its JILJurisdiction" in message
    admin.merge(f"{pods}/{made}", {"metadata": {"labels": {"jil.io/serving": "false"}}})
    admin.delete(f"{pods}/{made}?gracePeriodSeconds=0")


# -- the list itself ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["create", "update", "patch", "apply", "delete", "deletecollection"])
def test_i6_nobody_but_the_operator_writes_a_list_not_even_a_cluster_admin(guarded: Guarded, verb: str) -> None:
    admin, path_ = guarded.admin, f"{LISTS}/{SPACE}"
    before = admin.get(path_)
    digests = {FOREIGN: {"image": image(FOREIGN), "releases": ["mine"]}}
    changed: dict[str, Any] = {**before, "spec": {**before["spec"], "digests": digests}}
    fresh = {"metadata": {"name": "another"}, "spec": before["spec"]}
    typed = {"apiVersion": before["apiVersion"], "kind": before["kind"]}
    calls = {
        "create": lambda: admin.create(LISTS, {**typed, **fresh}),
        "update": lambda: admin.request("PUT", path_, changed),
        "patch": lambda: admin.merge(path_, {"spec": {"digests": digests}}),
        "apply": lambda: admin.apply(path_, {**typed, "metadata": {"name": SPACE}, "spec": {"digests": digests}}),
        "delete": lambda: admin.delete(path_),
        "deletecollection": lambda: admin.delete(LISTS),
    }
    message = refusal(calls[verb])
    assert "only the operator (system:serviceaccount:jil-system:jil-operator) writes it" in message
    assert admin.get(path_) == before


def test_i6_the_label_by_which_the_policy_knows_a_namespace_stays(guarded: Guarded) -> None:
    where = f"/api/v1/namespaces/{SPACE}"
    assert "label jil.io/network" in refusal(
        lambda: guarded.admin.merge(where, {"metadata": {"labels": {"jil.io/network": None}}})
    )


def test_a_list_goes_with_its_namespace(guarded: Guarded) -> None:
    admin, space = guarded.admin, "jil-for-a-day"
    admin.create("/api/v1/namespaces", rig.namespace(space, {"jil.io/network": "jil-devnet"}))
    allow(guarded, space, ALLOWED)
    admin.merge(f"/api/v1/namespaces/{space}", {"metadata": {"annotations": {rig.CONFIRM: space}}})
    admin.delete(f"/api/v1/namespaces/{space}")
    # The garbage collector looks every half a minute which kinds there are.
    rig.eventually(lambda: not admin.exists(f"{LISTS}/{space}"), "the garbage collector to take the list", 240)


def test_the_owner_of_pods_that_are_refused_reads_why_in_an_event(guarded: Guarded) -> None:
    old, made = f"sha256:{'d' * 64}", name()
    where = path("ReplicaSet", SPACE)
    allow(guarded, SPACE, ALLOWED, old)
    rig.eventually(lambda: _admitted(guarded, pod(name(), image(old))), "the longer list to be seen")
    guarded.admin.create(where, workload("ReplicaSet", made, image(old)))
    allow(guarded, SPACE, ALLOWED)
    rig.eventually(lambda: not _admitted(guarded, pod(name(), image(old))), "the shorter list to be seen")
    guarded.admin.merge(f"{where}/{made}", {"spec": {"replicas": 1}})
    events = f"/api/v1/namespaces/{SPACE}/events?fieldSelector=involvedObject.name={made},reason=FailedCreate"

    def told() -> bool:
        return any(f'image "{image(old)}" may not run' in e["message"] for e in guarded.admin.get(events)["items"])

    rig.eventually(told, "the Event about the refused pod")
    guarded.admin.delete(f"{where}/{made}")


def _set_image(reference: str) -> dict[str, Any]:
    return {"spec": {"containers": [{**pod("x", reference)["spec"]["containers"][0]}]}}


def _admitted(guarded: Guarded, manifest: dict[str, Any], namespace: str = SPACE) -> bool:
    return admitted(guarded.admin, namespace, manifest)
