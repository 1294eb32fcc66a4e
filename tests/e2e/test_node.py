"""One whole node on kind: real kubelet, PostgreSQL, Redis, Kafka (the stand-in broker), CometBFT, real services."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from testbed import quickstart
from tests.e2e.demo import Demo


def test_ac_42_the_node_is_ready_and_works_from_a_pod_of_its_own(demo: Demo) -> None:
    """SQL, cache, a nonce through the broker, two rising heights and a POST, through Service DNS."""
    printed = quickstart.proof(demo.target, demo.node, demo.images)
    assert "all 6 checks passed" in printed, printed
    status = demo.status()
    assert status["phase"] == "Ready"
    versions = {c["name"]: c.get("version") for c in status["components"]}
    assert versions["database"].startswith("15.")
    assert versions["validator"].startswith("0.38.")


def test_ac_42_the_chain_advances_and_its_height_shows_in_status(demo: Demo) -> None:
    first = demo.chain_height()
    demo.until(lambda: demo.chain_height() > first + 1, "two more blocks", 90)
    assert demo.status()["height"] > 0


def test_ac_25_the_validators_permit_is_for_exactly_its_pod(demo: Demo) -> None:
    pod = demo.child("pod", "validator-0")
    permit = json.loads(pod["metadata"]["annotations"]["jil.io/start-permit"])
    assert permit["podUID"] == pod["metadata"]["uid"]
    record = demo.record()
    assert record["permit"]["podUID"] == pod["metadata"]["uid"]
    assert record["bootstrapped"] is True
    demo.until(
        lambda: demo.record()["permit"]["mode"] == "require",
        "the right to make a sign state to be taken back, once it was used",
    )
    assert demo.record()["permit"]["podUID"] == pod["metadata"]["uid"]


def test_nobody_but_the_operator_hands_out_permits(demo: Demo) -> None:
    words = demo.refused(
        "annotate", "pod", f"{demo.node.name}-validator-0", "-n", demo.node.namespace,
        "jil.io/start-permit={}", "--overwrite",
    )  # fmt: skip
    assert "start-permit" in words


def test_ac_25_a_second_process_on_the_same_volume_is_refused_by_the_lock(demo: Demo) -> None:
    words = demo.refused(
        "exec", "-n", demo.node.namespace, f"{demo.node.name}-validator-0", "-c", "validator", "--",
        "/usr/local/bin/jil-validator", "start", "--home", "/var/lib/jil", "--config", "/etc/jil/config/config.toml",
    )  # fmt: skip
    assert "lock" in words.lower(), words


def _within_five_seconds(attempt: Callable[[], float]) -> None:
    """One of three attempts: a machine that stands still is too late once or twice, a slow operator every time."""
    took = [attempt()]
    while took[-1] >= 5:
        assert len(took) < 3, f"{took} seconds"
        took.append(attempt())


def test_ac_41_a_deleted_deployment_comes_back_within_five_seconds(demo: Demo) -> None:
    def attempt() -> float:
        before = demo.child("deployment", "rates")["metadata"]["uid"]
        demo.kubectl("delete", "deployment", f"{demo.node.name}-rates", "-n", demo.node.namespace, "--wait=false")
        return demo.until(lambda: demo.child("deployment", "rates")["metadata"]["uid"] != before, "the Deployment", 90)

    _within_five_seconds(attempt)
    demo.until_phase("Ready")


def test_ac_41_a_foreign_variable_is_removed_and_the_database_pod_is_not_restarted(demo: Demo) -> None:
    name, namespace = f"{demo.node.name}-database", demo.node.namespace
    pod = demo.child("pod", "database-0")["metadata"]["uid"]
    template = demo.child("statefulset", "database")["spec"]["template"]

    def attempt() -> float:
        demo.kubectl("set", "env", f"statefulset/{name}", "-n", namespace, "FOREIGN=1")
        return demo.until(
            lambda: demo.child("statefulset", "database")["spec"]["template"] == template, "the template", 90
        )

    _within_five_seconds(attempt)
    assert demo.child("pod", "database-0")["metadata"]["uid"] == pod


def test_ac_26_a_pushed_limit_acts_in_the_same_pod(demo: Demo) -> None:
    def pod() -> str:
        where = ("-n", demo.node.namespace, "-l", "app.kubernetes.io/name=transfers")
        return str(demo.get("pods", *where)["items"][0]["metadata"]["uid"])

    def limit() -> str:
        path = f"/api/v1/namespaces/{demo.node.namespace}/services/{demo.node.name}-transfers:80/proxy/healthz"
        return demo.kubectl("get", "--raw", path)

    before = pod()
    patch = json.dumps({"spec": {"compliance": {"transferLimit": "4242"}}})
    demo.kubectl("patch", "jj", demo.node.jurisdiction, "-n", demo.node.namespace, "--type=merge", "-p", patch)
    # The kubelet refreshes mounted ConfigMaps about once a minute.
    demo.until(lambda: "4242" in limit(), "the pushed limit to be in force", 240)
    assert pod() == before


def test_i8_the_operator_is_killed_and_what_went_wrong_meanwhile_is_mended(demo: Demo) -> None:
    namespace = demo.node.namespace
    service = demo.child("service", "cache")["metadata"]["uid"]
    operator = "app.kubernetes.io/name=jil-operator"
    demo.kubectl(
        "delete", "pod", "-n", quickstart.SYSTEM, "-l", operator, "--grace-period=0", "--force", "--wait=false"
    )
    demo.kubectl("delete", "service", f"{demo.node.name}-cache", "-n", namespace)
    demo.until(lambda: demo.child("service", "cache")["metadata"]["uid"] != service, "the Service to come back", 150)
    demo.until_phase("Ready")


def test_stopped_and_started_again_the_chain_goes_on_where_it_was(demo: Demo) -> None:
    demo.sql("CREATE TABLE IF NOT EXISTS kept (word text)")
    demo.sql("INSERT INTO kept VALUES ('before the stop')")
    height = demo.chain_height()
    claims = {c["metadata"]["uid"] for c in demo.get("pvc", "-n", demo.node.namespace)["items"]}
    demo.patch_state("Stopped")
    demo.until_phase("Stopped", 180)
    labels = f"app.kubernetes.io/instance={demo.node.name},app.kubernetes.io/managed-by=jil-operator"
    assert demo.get("pods", "-n", demo.node.namespace, "-l", labels)["items"] == []
    demo.patch_state("Running")
    demo.until_phase("Ready", 240)
    demo.until(lambda: demo.chain_height() > height, "the chain to go on", 120)
    assert demo.sql("SELECT word FROM kept LIMIT 1") == "before the stop"
    assert {c["metadata"]["uid"] for c in demo.get("pvc", "-n", demo.node.namespace)["items"]} == claims


def test_i4_deleted_and_applied_again_it_has_the_same_keys_data_and_no_older_sign_state(demo: Demo) -> None:
    node = demo.node
    demo.sql("CREATE TABLE IF NOT EXISTS kept2 (word text)")
    demo.sql("INSERT INTO kept2 VALUES ('before the deletion')")
    signed, record, peer = int(demo.sign_state()["height"]), demo.record(), demo.status()["peerId"]
    keys = demo.secret(f"{node.name}-validator-key", node.namespace)
    words = demo.refused("delete", "jilnode", node.name, "-n", node.namespace, "--wait=false")
    assert "jil.io/confirm-delete" in words, "the refusal says how to confirm"
    demo.confirm_and_delete("jilnode", node.name, "-n", node.namespace)
    pods = demo.get("pods", "-n", node.namespace, "-l", f"app.kubernetes.io/instance={node.name}")["items"]
    assert pods == []
    demo.kubectl("apply", "-f", "-", stdin=quickstart.manifests(demo.target, node, demo.images))
    demo.until_phase("Ready", 240)
    after = demo.record()
    assert after["keys"] == record["keys"]
    assert after["volumes"] == record["volumes"]
    assert demo.status()["peerId"] == peer
    assert demo.secret(f"{node.name}-validator-key", node.namespace) == keys
    assert int(demo.sign_state()["height"]) >= signed
    assert demo.sql("SELECT word FROM kept2 LIMIT 1") == "before the deletion"


def test_i8_applied_a_second_time_nothing_is_written(demo: Demo) -> None:
    demo.until_phase("Ready")

    def versions() -> dict[str, str]:
        found = {}
        for kind in ("statefulset", "deployment", "service", "configmap", "networkpolicy", "pdb", "pvc", "secret"):
            for item in demo.get(kind, "-n", demo.node.namespace)["items"]:
                meta, has_status = item["metadata"], kind in ("statefulset", "deployment", "pdb")
                if meta["name"] != f"{demo.node.name}-pull":  # the login, renewed when it is time to
                    found[f"{kind}/{meta['name']}"] = str(meta["generation" if has_status else "resourceVersion"])
        return found

    def at_rest() -> bool:
        """What the tests before have set going is over."""
        seen = versions()
        time.sleep(6)
        return versions() == seen

    demo.until(at_rest, "the node to be at rest", 120)
    before = versions()
    demo.kubectl("apply", "-f", "-", stdin=quickstart.manifests(demo.target, demo.node, demo.images))
    time.sleep(5)
    assert versions() == before
