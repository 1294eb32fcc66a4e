"""I6 on kind: a registry with TLS and a login, real pods, kubectl as people use it. Every refusal in its own words."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from testbed import cluster, demo_refusal, paths, quickstart
from testbed.errors import BedError
from testbed.quickstart import SECOND, SYSTEM, keys_of
from tests.e2e.demo import Demo

ALTERED_RELEASE = "quickstart-altered-e2e"


@pytest.fixture(scope="module")
def altered(demo: Demo) -> str:
    """A copy of the cache with one label more, in the registry; nobody signed it."""
    return keys_of(demo.target).altered(demo.images["cache"])


def condition(demo: Demo, node: quickstart.DemoNode | None = None) -> dict[str, Any]:
    """The node's condition ImageTrust."""
    found = demo.status(node).get("conditions", [])
    return next((c for c in found if c["type"] == "ImageTrust"), {})


def allow_list(demo: Demo) -> dict[str, Any]:
    found: dict[str, Any] = demo.get("jilimageallowlist", demo.node.namespace)["spec"]
    return found


def pods(demo: Demo) -> set[str]:
    """UIDs of the node's pods."""
    where = ("-n", demo.node.namespace, "-l", f"app.kubernetes.io/instance={demo.node.name}")
    return {pod["metadata"]["uid"] for pod in demo.get("pods", *where)["items"]}


PROBE = ("create", "-f", "-", "--dry-run=server")
"""All of admission, and nothing is made."""


def by_hand(demo: Demo, image: str) -> str:
    """A pod that somebody makes beside the operator."""
    safe = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    security = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [{"name": "c", "image": image, "securityContext": safe}], "securityContext": security}
    where = {"name": "by-hand", "namespace": demo.node.namespace}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": where, "spec": spec})


def want(demo: Demo, release: str) -> None:
    """The first jurisdiction asks for another release."""
    patch = json.dumps({"spec": {"release": release}})
    demo.kubectl("patch", "jj", demo.node.jurisdiction, "-n", demo.node.namespace, "--type=merge", "-p", patch)


def wanted(demo: Demo) -> str:
    return f"{quickstart.NETWORK}-{quickstart.release_suffix(demo.images)}"


def test_i6_the_node_runs_by_signatures_and_every_pod_of_it_is_in_the_allow_list(demo: Demo) -> None:
    demo.until(lambda: condition(demo).get("status") == "True", "the images to be verified", 120)
    assert condition(demo)["reason"] == "Verified"
    rows = demo.get("jilrelease", wanted(demo))["status"]["images"]
    assert {row["verdict"] for row in rows} == {"Verified"}
    assert {key for row in rows for key in row["keys"]} == {"quickstart-ci"}
    listed = allow_list(demo)["digests"]
    assert not [digest for digest, entry in listed.items() if "keptSince" in entry]
    for pod in demo.get("pods", "-n", demo.node.namespace)["items"]:
        for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])):
            assert container["image"].partition("@")[2] in listed, container["image"]


def test_i6_an_image_that_nobody_signed_is_refused_whichever_way_it_comes(demo: Demo, altered: str) -> None:
    namespace, before = ("-n", demo.node.namespace), demo.child("deployment", "rates")["spec"]["template"]
    workload = f"deployment/{demo.node.name}-rates"
    pod = f"{demo.node.name}-database-0"
    for words in (
        ("set", "image", workload, f"*={altered}", *namespace),
        ("debug", pod, *namespace, f"--image={altered}", "--profile=restricted", "--", "true"),
        ("create", "-f", "-"),
    ):
        said = demo.refused(*words, stdin=by_hand(demo, altered))
        assert "may not run in namespace" in said, said
        assert f"jilctl image inspect {altered}" in said
    assert demo.child("deployment", "rates")["spec"]["template"] == before
    assert "ephemeralContainers" not in demo.child("pod", "database-0")["spec"]
    # Its signed twin goes the same way and is let in.
    demo.kubectl(*PROBE, stdin=by_hand(demo, demo.images["cache"]))


def test_the_command_that_a_refusal_names_works_in_a_shell_with_make_env(demo: Demo, altered: str) -> None:
    name = demo.target.kubeconfig.stem if demo.target.kubeconfig else ""
    script = f'eval "$(python3 -m testbed env --cluster {name})" && jilctl image inspect {altered}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=paths.CHECKOUT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Unsigned" in done.stdout
    assert "tracks[devnet].signatures" in done.stdout


def test_ac_17_a_node_whose_release_names_it_is_refused_with_an_event_and_nothing_is_made(
    demo: Demo, altered: str
) -> None:
    demo_refusal.wait_gone(demo.target)
    quickstart.install_jurisdiction(
        demo.target, SECOND, quickstart.NETWORK, "--set", f"namespace.labels.{demo_refusal.MARK}=refusal"
    )
    try:
        images = {**demo.images, "cache": altered}
        manifests = demo_refusal.manifests(demo.target, images, ALTERED_RELEASE)
        demo.kubectl("apply", "-f", "-", stdin=manifests)
        demo.until(lambda: condition(demo, SECOND).get("reason") == "ImageRefused", "the refusal", 120)
        said = condition(demo, SECOND)
        assert said["status"] == "False"
        for text in (altered, "tracks[devnet].signatures", f"jilctl image inspect {altered}"):
            assert text in said["message"]

        def told() -> list[str]:
            events = demo.get("events.events.k8s.io", "-n", SECOND.namespace)["items"]
            return [
                e["note"] for e in events if e["reason"] == "ImageRefused" and e["regarding"]["name"] == SECOND.name
            ]

        demo.until(lambda: any(altered in note for note in told()), "an Event at the node", 120)

        def refused() -> dict[str, str]:
            rows = demo.get("jilrelease", ALTERED_RELEASE)["status"]["images"]
            return {row["name"]: row["reason"] for row in rows if row["verdict"] == "Refused"}

        # Each status is written apart.
        demo.until(lambda: refused() == {"cache": "Unsigned"}, "the release to say the same", 120)
        made = demo.kubectl("get", "statefulsets,deployments,pods,pvc", "-n", SECOND.namespace, "-o", "name")
        assert made.split() == []
        assert demo.status()["phase"] == "Ready"
    finally:
        demo_refusal.clear(demo.target)
    demo_refusal.wait_gone(demo.target)


def test_a_break_glass_lets_an_image_in_for_a_time_and_its_end_takes_it_out_again(demo: Demo, altered: str) -> None:
    namespace, name = ("-n", demo.node.namespace), f"inc-{int(time.time())}"  # a request is run once, ever
    operation = {
        "apiVersion": "jil.io/v1alpha1",
        "kind": "JILOperation",
        "metadata": {"name": name, "namespace": demo.node.namespace},
        "spec": {
            "type": "BreakGlass",
            "requestId": name.upper(),
            "requestedBy": demo.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}").strip(),
            "reason": "a test of the emergency exit",
            "breakGlass": {
                "digest": altered.partition("@")[2],
                "until": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        },
    }
    probe = by_hand(demo, altered)
    demo.kubectl("apply", "-f", "-", stdin=json.dumps(operation))
    phase = lambda: demo.get("jiloperation", name, *namespace)["status"]["phase"]  # noqa: E731
    demo.until(lambda: phase() == "Active", "the operation to be in force", 120)
    demo.until(lambda: demo.kubectl(*PROBE, stdin=probe), "the image to be let in", 90)
    demo.kubectl("delete", "jiloperation", name, *namespace)
    demo.until(lambda: not allow_list(demo).get("breakGlass"), "the list to forget it", 90)

    def out() -> bool:
        return "may not run in namespace" in demo.refused(*PROBE, stdin=probe)

    demo.until(lambda: _holds(out), "the image to be refused again", 90)


def _holds(check: Any) -> bool:
    try:
        return bool(check())
    except AssertionError:
        return False


@pytest.fixture
def silence(demo: Demo) -> Iterator[None]:
    """The registry takes connections and says nothing; it speaks again when the test ends."""
    host = cluster.running_engine()
    host.docker("pause", "jil-registry")
    try:
        yield
    finally:
        if host.docker("inspect", "--format", "{{.State.Paused}}", "jil-registry").strip() == "true":
            host.docker("unpause", "jil-registry")


@pytest.mark.usefixtures("silence")
def test_i6_a_registry_that_is_silent_stops_nothing_and_a_restarted_operator_needs_none(demo: Demo) -> None:
    before, height, copy = pods(demo), demo.chain_height(), f"{quickstart.NETWORK}-copy"
    pod = demo.get("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=jil-operator")["items"][0]["metadata"]["name"]

    def restarts() -> int:
        status = demo.get("pod", pod, "-n", SYSTEM)["status"]["containerStatuses"][0]
        return int(status["restartCount"]) if status["ready"] else -1

    # The container alone: another pod could come to a machine that would have to pull the image first.
    demo.until(lambda: restarts() >= 0, "the operator to be ready")
    count = restarts()
    with contextlib.suppress(BedError):  # the container may end before kubectl has heard of the end of the command
        demo.kubectl("exec", "-n", SYSTEM, pod, "--", "python", "-c", "import os; os.kill(1, 15)")
    demo.until(lambda: restarts() > count >= 0, "the operator to be there again", 180)
    service = demo.child("service", "cache")["metadata"]["uid"]
    demo.kubectl("delete", "service", f"{demo.node.name}-cache", "-n", demo.node.namespace)
    demo.until(lambda: demo.child("service", "cache")["metadata"]["uid"] != service, "the operator to work", 120)
    assert condition(demo)["status"] == "True", "the verdicts stand in the allow-list: nobody was asked"

    # Another release with the same images: by that name nobody looked at them yet.
    body = a_copy(demo, copy)
    demo.kubectl("apply", "-f", "-", stdin=body)
    try:
        want(demo, copy)
        demo.until(lambda: "cannot be checked" in condition(demo).get("message", ""), "the silence to be told", 180)
        said = condition(demo)
        assert (said["status"], said["reason"]) == ("Unknown", "TrustUnknown")
        assert "What runs keeps running, nothing new starts" in said["message"]
        assert demo.status()["phase"] == "Ready"
        assert pods(demo) == before
        demo.until(lambda: demo.chain_height() > height, "the chain to go on", 90)
        cluster.running_engine().docker("unpause", "jil-registry")
        demo.until(lambda: condition(demo).get("status") == "True", "the registry to be asked again", 200)
        assert pods(demo) == before, "the same images under another name: nothing is rolled"
    finally:
        want(demo, wanted(demo))
        demo.until(lambda: demo.status().get("release") == wanted(demo), "the first release again", 120)
        demo.kubectl("delete", "jilrelease", copy)
    demo.until_phase("Ready")


def a_copy(demo: Demo, name: str) -> str:
    """The quickstart's release under another name, signed."""
    values = {**quickstart.marks(demo.target, demo.images), "RELEASE": name.removeprefix(f"{quickstart.NETWORK}-")}
    draft = quickstart.rendered(quickstart.MANIFESTS / "quickstart" / "20-release.yaml.in", values)
    return keys_of(demo.target).sealed_release(draft)
