"""A simulated kubelet and volume provisioner: pods of JIL nodes get a node, volumes, and the statuses of a good life."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from testbed.apiclient import ApiClient, ApiError

NODE = "sim-node-1"
SELECTOR = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Djil-operator"
MERGE = "application/merge-patch+json"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class SimKubelet:
    """Runs in a thread until it is stopped. ``broken``: (namespace, pod name) -> waiting reason to show instead of Ready.

    A validator's pod passes its (simulated) start guard only when it bears a permit for its own UID, as the real one.
    """

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._stop = threading.Event()
        self._paused = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sim-kubelet", daemon=True)
        self.broken: dict[tuple[str, str], str] = {}
        self.errors: list[str] = []

    def start(self) -> None:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}},
        }
        try:
            self._api.create("/api/v1/nodes", node)
        except ApiError as error:
            if error.code != 409:
                raise
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def __enter__(self) -> SimKubelet:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def pause(self) -> None:
        """Nothing is reported any more, as of a host that lost its network."""
        self._paused.set()

    def resume(self) -> None:
        self._paused.clear()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            if self._paused.is_set():
                continue
            for step in (self._volumes, self._pods):
                self._guarded(step)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (ApiError, OSError) as error:
            # An API server that is down or busy, an object that changed: the next round sees it again.
            self.errors.append(str(error)[:200])

    # -- volumes -----------------------------------------------------------------------------------------------------
    def _volumes(self) -> None:
        for claim in self._api.get(f"/api/v1/persistentvolumeclaims?{SELECTOR}")["items"]:
            if claim["spec"].get("volumeName"):
                continue
            meta = claim["metadata"]
            volume = {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"sim-{meta['uid']}"},
                "spec": {
                    "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
                    "accessModes": claim["spec"]["accessModes"],
                    "persistentVolumeReclaimPolicy": "Delete",
                    "storageClassName": claim["spec"].get("storageClassName", ""),
                    "claimRef": {
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "namespace": meta["namespace"],
                        "name": meta["name"],
                        "uid": meta["uid"],
                    },
                    "local": {"path": "/sim"},
                    "nodeAffinity": {
                        "required": {
                            "nodeSelectorTerms": [
                                {
                                    "matchExpressions": [
                                        {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
                                    ]
                                }
                            ]
                        }
                    },
                },
            }
            try:
                self._api.create("/api/v1/persistentvolumes", volume)
            except ApiError as error:
                if error.code != 409:
                    raise

    # -- pods --------------------------------------------------------------------------------------------------------
    def _pods(self) -> None:
        for pod in self._api.get(f"/api/v1/pods?{SELECTOR}")["items"]:
            try:
                self._one(pod)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    def _one(self, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if meta.get("deletionTimestamp"):
            self._end(pod, path)
        elif not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
            self._api.create(f"{path}/binding", binding)
        else:
            wanted = self._status(pod)
            if _essence(wanted) != _essence(pod.get("status", {})):
                self._api.request("PATCH", f"{path}/status", {"status": wanted}, content_type=MERGE)

    def _status(self, pod: dict[str, Any]) -> dict[str, Any]:
        trouble = self.broken.get((pod["metadata"]["namespace"], pod["metadata"]["name"]))
        inits = pod["spec"].get("initContainers", [])
        passed = all(c["name"] != "guard" or _permitted(pod) for c in inits)
        ready = passed and trouble is None
        began = pod.get("status", {}).get("startTime") or _now()
        if trouble is not None:
            state: dict[str, Any] = {"waiting": {"reason": trouble, "message": f"simulated {trouble}"}}
        elif passed:
            state = {"running": {"startedAt": began}}
        else:
            state = {"waiting": {"reason": "PodInitializing"}}
        done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": began, "finishedAt": began}}
        init_state = done if passed else {"running": {"startedAt": began}}
        return {
            "phase": "Running" if ready else "Pending",
            "startTime": began,
            "conditions": [
                {"type": kind, "status": "True" if value else "False", "lastTransitionTime": began}
                for kind, value in (
                    ("PodScheduled", True),
                    ("Initialized", passed),
                    ("ContainersReady", ready),
                    ("Ready", ready),
                )
            ],
            "initContainerStatuses": [_container(c, init_state, ready=passed) for c in inits],
            "containerStatuses": [_container(c, state, ready=ready) for c in pod["spec"]["containers"]],
        }

    def _end(self, pod: dict[str, Any], path: str) -> None:
        """Containers end, their end is reported, then the object goes: the order of a real kubelet."""
        now = _now()
        ended = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
        status = {
            "phase": "Succeeded",
            "containerStatuses": [_container(c, ended, ready=False) for c in pod["spec"]["containers"]],
        }
        self._api.request("PATCH", f"{path}/status", {"status": status}, content_type=MERGE)
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        self._api.request("DELETE", path, body)


def _container(container: dict[str, Any], state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": container["image"],
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
    }


def _permitted(pod: dict[str, Any]) -> bool:
    raw = (pod["metadata"].get("annotations") or {}).get("jil.io/start-permit")
    return raw is not None and json.loads(raw).get("podUID") == pod["metadata"]["uid"]


def _essence(status: dict[str, Any]) -> object:
    return (
        status.get("phase"),
        sorted((c["type"], c["status"]) for c in status.get("conditions", [])),
        [(c["name"], sorted(c.get("state", {}))) for c in status.get("containerStatuses", [])],
    )
