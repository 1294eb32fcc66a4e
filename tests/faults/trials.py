"""What others do to a node while it is at rest, or lies in its way: things gone, things foreign, memory lost.

Each trial is a scenario with its own expectation; it raises FaultFound when that does not hold.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from testbed.apiclient import ApiError
from tests import audit, history
from tests.faults.old_lists import OldLists
from tests.faults.rig import FaultFound, Rig
from tests.faults.scene import BRING_UP, CORE, MERGE, Place, Scene
from tests.sim.world import JIL, SYSTEM

APPS = "/apis/apps/v1/namespaces"
Trial = Callable[[Rig], None]


def _wrong(sentences: list[str], rig: Rig) -> None:
    if sentences:
        raise FaultFound("\n".join([*sentences[:20], rig.words()]))


def _lawful(rig: Rig, scene: Scene) -> list[str]:
    return [*history.prove(rig.audit(scene.since), users=rig.users).wrong, *rig.chain_complains()]


def key_is_lost(rig: Rig) -> None:
    """I5: every copy of the validator's key is gone. It is told as lost, and no other one is made."""
    scene = rig.scene_at(Place.READY)
    rig.a.kill()
    for namespace in (SYSTEM, scene.namespace):
        rig.world.api.delete(f"{CORE}/{namespace}/secrets/{scene.name}-validator-key")
    rig.ensure()
    rig.until(
        lambda: rig.world.condition(scene.namespace, scene.name, "IdentityReady").get("reason") == "KeyLost",
        "the loss to be told",
    )
    rig.calm("with a lost key")
    made = [key for key in scene.facts() if key.startswith("secret ") and key.endswith("validator-key")]
    rig.fresh()
    _wrong([f"{key} was made anew though the record names another" for key in made], rig)


def name_is_taken(rig: Rig) -> None:
    """I10: a Service and a Deployment of somebody else have names that the node's children would have."""
    scene = rig.fresh()
    rig.ensure()
    scene.prepare()
    pod = {
        "metadata": {"labels": {"app": "other"}},
        "spec": {"containers": [{"name": "c", "image": "example.org/c:1"}]},
    }
    foreign: dict[str, dict[str, Any]] = {
        f"{CORE}/{scene.namespace}/services": {
            "metadata": {"name": f"{scene.name}-cache"},
            "spec": {"ports": [{"port": 80}], "selector": {"app": "other"}},
        },
        f"{APPS}/{scene.namespace}/deployments": {
            "metadata": {"name": f"{scene.name}-health"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "other"}}, "template": pod},
        },
    }
    before = {path: rig.world.api.create(path, body) for path, body in foreign.items()}
    scene.apply()
    rig.until(
        lambda: (
            rig.world.condition(scene.namespace, scene.name, "SpecValid").get("reason") == "NameTaken"
            or rig.world.condition(scene.namespace, scene.name, "Ready").get("reason") == "NameTaken"
        ),
        "the taken name to be told",
    )
    wrong = []
    for path, made in before.items():
        live = rig.world.api.get(f"{path}/{made['metadata']['name']}")
        if (live["spec"], live["metadata"].get("labels")) != (made["spec"], made["metadata"].get("labels")):
            wrong.append(f"{path}/{made['metadata']['name']} is no longer what its maker made")
    wrong += _lawful(rig, scene)
    rig.fresh()
    _wrong(wrong, rig)


def pod_vanishes(rig: Rig) -> None:
    """I1: a validator's pod is force-deleted behind everybody's back, and the record says that it ran elsewhere."""
    scene = rig.scene_at(Place.READY)
    rig.a.kill()
    record = f"{JIL}/namespaces/{SYSTEM}/jilnoderecords/{scene.name}"
    permit = dict(rig.world.api.get(record)["spec"]["permit"], kubeNode="another-machine")
    patch = [{"op": "add", "path": "/spec/permit", "value": permit}]
    rig.world.api.request("PATCH", record, patch, content_type="application/json-patch+json")
    pod = f"{CORE}/{scene.namespace}/pods/{scene.name}-validator-0"
    uid = rig.world.api.get(pod)["metadata"]["uid"]
    rig.world.kubelet.lose()
    try:
        rig.world.api.request("DELETE", pod, {"gracePeriodSeconds": 0})
        rig.until(lambda: _uid(rig, pod) not in ("", uid), "the StatefulSet to make another pod")
    finally:
        rig.world.kubelet.find()
    rig.ensure()
    rig.until(
        lambda: (
            rig.world.condition(scene.namespace, scene.name, "ValidatorReady").get("reason") == "FencingUnconfirmed"
            or _permit(rig, pod)
        ),
        "the next pod to be held back",
    )
    wrong = [f"pod {pod} was let start: {_permit(rig, pod)}"] if _permit(rig, pod) else []
    wrong += _lawful(rig, scene)
    rig.fresh()
    _wrong(wrong, rig)


def children_vanish(rig: Rig) -> None:
    """Everything that is no data is deleted by hand from a node at rest: it comes back, the same."""
    scene = rig.scene_at(Place.READY)
    facts = scene.facts()
    for plural, base in (("services", CORE), ("networkpolicies", "/apis/networking.k8s.io/v1/namespaces")):
        for item in rig.world.api.get(f"{base}/{scene.namespace}/{plural}")["items"]:
            rig.world.api.delete(f"{base}/{scene.namespace}/{plural}/{item['metadata']['name']}")
    rig.world.api.delete(f"{APPS}/{scene.namespace}/deployments/{scene.name}-health")
    rig.until(lambda: not rig.differences(Place.READY), "what was deleted to come back")
    rig.until(lambda: scene.at(Place.READY), "the node to be ready again")
    rig.calm("after its children came back")
    now = scene.facts()
    _wrong([f"{what} changed" for what, value in facts.items() if now.get(what) != value], rig)
    _wrong(_lawful(rig, scene), rig)


def status_is_wiped(rig: Rig) -> None:
    """I4: a backup tool brings the JILNode back without its status, under a new UID: memory is the record's."""
    scene = rig.scene_at(Place.READY)
    facts = scene.facts()
    rig.a.kill()
    _strip(rig, scene)
    scene.apply()
    rig.ensure()
    rig.until(
        lambda: scene.at(Place.READY) and not rig.differences(Place.READY), "the node to be ready, and as it was, again"
    )
    rig.calm("after its status was wiped")
    now = scene.facts()
    wrong = [f"{what} was {value}, is {now.get(what)}" for what, value in facts.items() if now.get(what) != value]
    wrong += [*rig.differences(Place.READY), *_lawful(rig, scene)]
    _wrong(wrong, rig)


def status_lies(rig: Rig) -> None:
    """A status that somebody restored says Stopped and Ready of a node that is not there: it is brought up all the same."""
    scene = rig.fresh()
    rig.a.kill()
    BRING_UP.begin(scene)
    for phase in ("Ready",):
        status = {"status": {"phase": phase, "observedGeneration": 1, "state": "Running"}}
        rig.world.api.request("PATCH", f"{scene.path}/status", status, content_type=MERGE)
    rig.ensure()
    rig.until(
        lambda: not rig.differences(Place.READY) and scene.at(Place.READY),
        "the node to be brought up whatever its status says",
    )
    scene.place = Place.READY
    rig.calm("after a status that lied")
    _wrong(_lawful(rig, scene), rig)


def old_deletion_is_seen_again(rig: Rig) -> None:
    """Stale view: a node was deleted and applied again; a restarted operator is shown the lists from the deletion.

    What it sees is a node on its way out, under a UID that is gone. The new one must not be taken down for it.
    """
    scene = rig.scene_at(Place.READY)
    scene.delete()
    rig.until(lambda: _replicas(rig, scene, "validator") == 0, "the deletion to reach the validator")
    rig.a.kill()  # the deletion goes no further than this
    old = OldLists(rig)
    rig.ensure()
    rig.until(lambda: scene.at(Place.DELETED), "the deletion to end")
    scene.place = Place.DELETED
    rig.scene_at(Place.READY)
    _nothing_is_taken_down(rig, scene, old)


def old_stop_is_seen_again(rig: Rig) -> None:
    """Stale view: a node was stopped and started; a restarted operator is shown the lists from the stop."""
    scene = rig.scene_at(Place.READY)
    scene.state("Stopped")
    rig.until(lambda: _stopping(rig, scene), "the stop to begin")
    rig.a.kill()  # the stop goes no further than this
    old = OldLists(rig)
    scene.state("Running")
    rig.ensure()
    rig.until(lambda: scene.at(Place.READY), "the node to be ready again")
    scene.place = Place.READY
    rig.calm("after the start")
    _nothing_is_taken_down(rig, scene, old)


def _nothing_is_taken_down(rig: Rig, scene: Scene, old: OldLists) -> None:
    begun = rig.plane.audit_position()
    old.begin(rig)
    rig.until(lambda: rig.a.life is not None and "the store is full" in rig.a.life.log_from(), "the operator to start")
    time.sleep(4)
    old.thaw(rig)
    time.sleep(2)  # what an old view made it say of the node is put right first
    rig.until(lambda: scene.at(Place.READY), "the node to be ready as it was")
    rig.calm("after the thaw")
    taken = audit.disruptions([one for one in rig.audit(begun) if audit.carried_out(one)])
    wrong = [f"taken down by an old view: {one}" for one in taken if one.user in rig.users]
    _wrong(wrong + _lawful(rig, scene), rig)


def _replicas(rig: Rig, scene: Scene, component: str) -> int | None:
    path = f"{APPS}/{scene.namespace}/statefulsets/{scene.name}-{component}"
    try:
        return int(rig.world.api.get(path)["spec"]["replicas"])
    except ApiError as error:
        if error.code != 404:
            raise
        return None


def _stopping(rig: Rig, scene: Scene) -> bool:
    """Whether the first service was scaled down."""
    found = rig.world.api.get(f"{APPS}/{scene.namespace}/deployments")["items"]
    return any(one["spec"]["replicas"] == 0 for one in found)


def _strip(rig: Rig, scene: Scene) -> None:
    rig.world.api.delete(scene.path)
    rig.world.api.request("PATCH", scene.path, {"metadata": {"finalizers": []}}, content_type=MERGE)
    rig.until(lambda: scene.node() is None, "the JILNode to be gone")


def _uid(rig: Rig, path: str) -> str:
    try:
        return str(rig.world.api.get(path)["metadata"]["uid"])
    except ApiError as error:
        if error.code != 404:
            raise
        return ""


def _permit(rig: Rig, pod: str) -> str:
    annotations = rig.world.api.get(pod)["metadata"].get("annotations") or {}
    text = annotations.get("jil.io/start-permit")
    return str(json.loads(text)["mode"]) if text else ""


TRIALS: dict[str, Trial] = {
    "key-is-lost": key_is_lost,
    "name-is-taken": name_is_taken,
    "pod-vanishes": pod_vanishes,
    "children-vanish": children_vanish,
    "status-is-wiped": status_is_wiped,
    "status-lies": status_lies,
    "old-deletion-is-seen-again": old_deletion_is_seen_again,
    "old-stop-is-seen-again": old_stop_is_seen_again,
}
