"""One JIL node in a network and a namespace of its own, and the five turns of its life that faults are put into."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from testbed.apiclient import ApiError
from tests.sim.world import JIL, SYSTEM, World

CORE = "/api/v1/namespaces"
SCENE_KINDS = {
    "services": CORE,
    "configmaps": CORE,
    "secrets": CORE,
    "persistentvolumeclaims": CORE,
    "statefulsets": "/apis/apps/v1/namespaces",
    "deployments": "/apis/apps/v1/namespaces",
    "networkpolicies": "/apis/networking.k8s.io/v1/namespaces",
    "poddisruptionbudgets": "/apis/policy/v1/namespaces",
}
KEYS = ("validator-key", "node-key", "credentials")
MERGE = "application/merge-patch+json"

#: Fields that differ from node to node, or that the cluster fills in, and say nothing about the operator.
_VOLATILE = re.compile(
    r"metadata\.(uid|resourceVersion|generation|creationTimestamp|managedFields|annotations)\b"
    r"|clusterIP|volumeName|nodePort|healthCheckNodePort|ipFamil|^status\.|genesis_time|pv_name"
    r"|spec\.template\.metadata\.annotations|^data\.(genesis|config|cluster-id|peers)"
)


class Place(StrEnum):
    """Where a scene rests between two turns."""

    NOTHING = "nothing"
    READY = "ready"
    STOPPED = "stopped"
    DELETED = "deleted"


@dataclass(frozen=True)
class Turn:
    """A change that a user asks for: from one place to another."""

    name: str
    start: Place
    end: Place
    begin: Callable[[Scene], None]


@dataclass
class Scene:
    """``number`` names everything in it, so that scenes share a world without meeting."""

    world: World
    number: int
    place: Place = Place.NOTHING
    since: int = 0
    """Where the audit log stood when the scene began."""
    _uid: str = "no-uid"

    @property
    def network(self) -> str:
        return f"fault-{self.number}"

    @property
    def namespace(self) -> str:
        return f"jil-fault-{self.number}"

    @property
    def node_id(self) -> str:
        # Two digits are the form; the letters count on.
        place = "".join(chr(ord("A") + self.number // 90 // 26**power % 26) for power in (2, 1, 0))
        return f"CH-{place}-{10 + self.number % 90}"

    @property
    def name(self) -> str:
        return self.node_id.lower()

    @property
    def path(self) -> str:
        """The JILNode."""
        return f"{JIL}/namespaces/{self.namespace}/jilnodes/{self.name}"

    # -- what a user does --------------------------------------------------------------------------------------------
    def prepare(self) -> None:
        """Network, namespace and jurisdiction."""
        member = {"nodeId": self.node_id, "zone": "CH/FINMA", "founder": True, "namespace": self.namespace}
        self.world.network(self.network, [member])
        self.world.jurisdiction(self.namespace, self.network)

    def apply(self) -> None:
        """The JILNode."""
        made = self.world.node(self.namespace, self.name, self.node_id)
        assert made["metadata"]["name"] == self.name

    def state(self, state: str) -> None:
        self.world.patch_node(self.namespace, self.name, {"state": state})

    def delete(self) -> None:
        self.world.api.delete(self.path)

    # -- what is there -----------------------------------------------------------------------------------------------
    def node(self) -> dict[str, Any] | None:
        """The JILNode, None when there is none."""
        found = _get(self.world, self.path)
        if found is not None:
            self._uid = str(found["metadata"]["uid"])
        return found

    def at(self, place: Place) -> bool:
        """Whether the node says, for its newest generation, that it is there."""
        node = self.node()
        if place is Place.DELETED:
            return node is None
        if node is None:
            return False
        status = node.get("status", {})
        if status.get("observedGeneration") != node["metadata"]["generation"]:
            return False
        return bool(status.get("phase") == {Place.READY: "Ready", Place.STOPPED: "Stopped"}.get(place))

    def shape(self) -> dict[str, str]:
        """Everything in the namespace and of the node in the system's, field by field, with names put to one form."""
        found: dict[str, str] = {}
        self.node()  # its UID, or that of the last one, stands in labels
        for plural, base in SCENE_KINDS.items():
            for item in self.world.api.get(f"{base}/{self.namespace}/{plural}")["items"]:
                if item["metadata"]["name"] != "kube-root-ca.crt":
                    self._flatten(plural, item, found)
        for plural in ("secrets", "configmaps"):
            for item in self.world.api.get(f"{CORE}/{SYSTEM}/{plural}")["items"]:
                name = item["metadata"]["name"]
                if name.startswith(f"{self.name}-") or name == f"genesis-{self.network}":
                    self._flatten(f"system/{plural}", item, found)
        return found

    def _flatten(self, plural: str, item: dict[str, Any], found: dict[str, str]) -> None:
        item = dict(item)
        if plural.endswith("secrets"):
            item["data"] = dict.fromkeys(item.get("data") or {}, "…")
            # A copy outlives its JILNode with the label of the first one that it was made for.
            item["metadata"]["labels"].pop("jil.io/node-uid", None)
        if plural == "configmaps" and item.get("immutable"):
            # Named by its content, which has addresses and peers in it.
            item["metadata"] = {**item["metadata"], "name": item["metadata"]["name"].rpartition("-")[0]}
        name = self._neutral(f"{plural}/{item['metadata']['name']}")
        for path, value in _leaves(item):
            if not _VOLATILE.search(path):
                found[self._neutral(f"{name}: {path}")] = self._neutral(json.dumps(value))

    def _neutral(self, text: str) -> str:
        for word, form in ((self.namespace, "NAMESPACE"), (self.network, "NETWORK"), (self.name, "NODE")):
            text = text.replace(word, form)
        text = text.replace(self.node_id, "NODE-ID").replace(self._uid, "UID")
        return re.sub(r"-[0-9a-f]{8,16}\b", "-HASH", text)

    def facts(self) -> dict[str, str]:
        """What must never change once it is there."""
        return kept(lambda path: _get(self.world, path), self.namespace, self.name)

    def remove(self) -> None:
        """Take everything away, not waiting for its end: the world gets fuller with every scene otherwise."""
        api = self.world.api
        node = self.node()
        if node is not None:
            # In this order: a finalizer that is taken from a node which nobody deletes is put back.
            _try(lambda: api.delete(self.path))
            _try(lambda: api.request("PATCH", self.path, {"metadata": {"finalizers": []}}, content_type=MERGE))
        for path in (
            f"{JIL}/jilnetworks/{self.network}",
            f"{JIL}/namespaces/{SYSTEM}/jilnoderecords/{self.name}",
            f"{CORE}/{SYSTEM}/configmaps/ledger-{self.network}",
            f"{CORE}/{SYSTEM}/configmaps/genesis-{self.network}",
            *(f"{CORE}/{SYSTEM}/secrets/{self.name}-{kind}" for kind in KEYS),
            f"{CORE}/{self.namespace}",
        ):
            _try(lambda path=path: api.delete(path))  # type: ignore[misc]


def kept(get: Callable[[str], dict[str, Any] | None], namespace: str, name: str) -> dict[str, str]:
    """What of a node must never change once it is there: key material (hashed), the record's keys, the volumes' UIDs.

    ``get`` reads a path of the API server and answers None where nothing is.
    """
    found: dict[str, str] = {}
    for kind in KEYS:
        for place in (SYSTEM, namespace):
            secret = get(f"{CORE}/{place}/secrets/{name}-{kind}")
            if secret is not None:
                found[f"secret {place}/{name}-{kind}"] = _digest(secret["data"])
    claims = get(f"{CORE}/{namespace}/persistentvolumeclaims") or {}
    for claim in claims.get("items", ()):
        found[f"claim {claim['metadata']['name']}"] = claim["metadata"]["uid"]
    record = get(f"{JIL}/namespaces/{SYSTEM}/jilnoderecords/{name}")
    if record is not None:
        spec = record["spec"]
        for kind, key in (spec.get("keys") or {}).items():
            found[f"recorded key {kind}"] = _digest(key)
        for volume in spec.get("volumes") or ():
            found[f"recorded volume {volume['component']}"] = volume["pvcUID"]
        if spec.get("bootstrapped"):
            found["bootstrapped"] = "true"
        if spec.get("genesisHash"):
            found["genesis"] = spec["genesisHash"]
    return found


def _bring_up(scene: Scene) -> None:
    scene.prepare()
    scene.apply()


BRING_UP = Turn("bring-up", Place.NOTHING, Place.READY, _bring_up)
STOP = Turn("stop", Place.READY, Place.STOPPED, lambda scene: scene.state("Stopped"))
START = Turn("start", Place.STOPPED, Place.READY, lambda scene: scene.state("Running"))
DELETE = Turn("delete", Place.READY, Place.DELETED, lambda scene: scene.delete())
RE_APPLY = Turn("re-apply", Place.DELETED, Place.READY, lambda scene: scene.apply())
TURNS = {turn.name: turn for turn in (BRING_UP, STOP, START, DELETE, RE_APPLY)}
#: How a scene gets from one place to the next when no fault is wanted on the way.
WAY: dict[tuple[Place, Place], tuple[Turn, ...]] = {
    (Place.NOTHING, Place.READY): (BRING_UP,),
    (Place.NOTHING, Place.STOPPED): (BRING_UP, STOP),
    (Place.NOTHING, Place.DELETED): (BRING_UP, DELETE),
    (Place.READY, Place.STOPPED): (STOP,),
    (Place.READY, Place.DELETED): (DELETE,),
    (Place.STOPPED, Place.READY): (START,),
    (Place.STOPPED, Place.DELETED): (START, DELETE),
    (Place.DELETED, Place.READY): (RE_APPLY,),
    (Place.DELETED, Place.STOPPED): (RE_APPLY, STOP),
}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from _leaves(child, f"{path}[{index}]")
    else:
        yield path, value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _get(world: World, path: str) -> dict[str, Any] | None:
    try:
        return world.api.get(path)
    except ApiError as error:
        if error.code != 404:
            raise
        return None


def _try(request: Callable[[], object]) -> None:
    try:
        request()
    except ApiError as error:
        if error.code not in (404, 409):
            raise
