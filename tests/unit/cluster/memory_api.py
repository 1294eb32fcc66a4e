"""An API server in memory: objects with UIDs and resourceVersions, preconditions, and crashes on demand.

It has exactly the semantics that the gate builds on; that a real API server has them too is shown in tests/cluster/gate.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.cluster.errors import AlreadyExists, Conflict, NotFound
from jil.cluster.grant import Grant, TargetRef
from jil.cluster.ledger import KEY, Ledger
from jil.plan.acts import Act

SYSTEM = "jil-system"
NAMESPACE = "jil-ch-finma"
NETWORK = "jil-devnet"


class Crash(Exception):
    """The process died here."""


@dataclass
class Listing:
    items: list[dict[str, Any]]


class FakeClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.moment = datetime(2027, 1, 15, 8, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    @property
    def ms(self) -> int:
        return int(self.moment.timestamp() * 1000)


class MemoryApi:
    """``crash_at``: the number of the write (from 1) at which the process dies, before or after it is carried out."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._versions = itertools.count(100)
        self._uids = itertools.count(1)
        self.writes = 0
        self.crash_at: int | None = None
        self.crash_after_write = False
        #: Disruptive acts that were carried out, as (act, name, grant id).
        self.acts: list[tuple[Act, str, str]] = []

    # -- what the gate uses --------------------------------------------------------------------------------------------
    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> dict[str, Any]:
        return copy.deepcopy(self._find(kind, name, namespace))

    async def list(self, kind: Kind, namespace: str | None = None, *, label_selector: str | None = None) -> Listing:
        wanted = dict(part.split("=") for part in (label_selector or "").split(",") if part)
        return Listing(
            [
                copy.deepcopy(one)
                for (plural, where, _), one in self._objects.items()
                if plural == kind.plural
                and where == (namespace or "")
                and wanted.items() <= (one["metadata"].get("labels") or {}).items()
            ]
        )

    async def create(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        key = self._key(kind, manifest["metadata"]["name"], manifest["metadata"].get("namespace"))
        self._before()
        if key in self._objects:
            raise AlreadyExists("POST", "/".join(key))
        self._objects[key] = copy.deepcopy(manifest)
        self._objects[key]["metadata"]["uid"] = f"uid-{next(self._uids)}"
        return self._written(key)

    async def replace(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        metadata = manifest["metadata"]
        live = self._find(kind, metadata["name"], metadata.get("namespace"))
        self._before()
        self._precondition(live, resource_version=metadata["resourceVersion"])
        key = self._key(kind, metadata["name"], metadata.get("namespace"))
        self._objects[key] = copy.deepcopy(manifest)
        return self._written(key)

    async def json_patch(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        operations: Sequence[Mapping[str, Any]],
        *,
        resource_version: str,
    ) -> dict[str, Any]:
        live = self._find(kind, name, namespace)
        self._before()
        self._precondition(live, resource_version=resource_version)
        for operation in operations:
            *parents, leaf = [part.replace("~1", "/") for part in operation["path"].split("/")[1:]]
            at = live
            for part in parents:
                at = at[part]  # a missing parent is an error, as on the real one
            at[leaf] = operation["value"]
        return self._written(self._key(kind, name, namespace))

    async def annotate(
        self, kind: Kind, name: str, namespace: str | None, annotations: Mapping[str, str | None], *, uid: str
    ) -> dict[str, Any]:
        live = self._find(kind, name, namespace)
        self._before()
        self._precondition(live, uid=uid)
        merged = {**(live["metadata"].get("annotations") or {}), **annotations}
        kept = {key: value for key, value in merged.items() if value is not None}
        if kept == (live["metadata"].get("annotations") or {}):
            self._after()
            return copy.deepcopy(live)  # a write that changes nothing moves no version
        live["metadata"]["annotations"] = kept
        return self._written(self._key(kind, name, namespace))

    # -- what a Grant is for -------------------------------------------------------------------------------------------
    async def act(self, grant: Grant) -> None:
        """Carry out the act with the preconditions that the real client sends. Raises Conflict, NotFound."""
        target = grant.target
        live = self._find(target.kind, target.name, target.namespace)
        self._before()
        self._precondition(live, uid=target.uid, resource_version=target.resource_version)
        key = self._key(target.kind, target.name, target.namespace)
        self.acts.append((grant.act, target.name, grant.id))
        if grant.act is Act.STOP:
            live["spec"]["replicas"] = 0
            self.remove(kinds.POD, f"{target.name}-0")
            self._written(key)
        elif grant.act is Act.DISARM:
            live["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0
            self.remove(kinds.POD, f"{target.name}-0")
            self._written(key)
        else:
            del self._objects[key]
            self._after()

    # -- the world outside ---------------------------------------------------------------------------------------------
    def put(self, kind: Kind, name: str, **content: Any) -> TargetRef:
        """Somebody else writes an object; the reference is to its new version."""
        key = self._key(kind, name, NAMESPACE)
        old = self._objects.get(key, {"metadata": {"uid": f"uid-{next(self._uids)}"}})
        uid, annotations = old["metadata"]["uid"], old["metadata"].get("annotations")
        metadata = {"name": name, "namespace": NAMESPACE, "uid": uid, **content.pop("metadata", {})}
        if annotations:
            metadata["annotations"] = annotations
        self._objects[key] = {"metadata": metadata, **content}
        metadata["resourceVersion"] = str(next(self._versions))
        return self.ref(kind, name)

    def ref(self, kind: Kind, name: str) -> TargetRef:
        """The object as it is now."""
        metadata = self._find(kind, name, NAMESPACE)["metadata"]
        return TargetRef(kind, NAMESPACE, name, metadata["uid"], metadata["resourceVersion"])

    def remove(self, kind: Kind, name: str, namespace: str = NAMESPACE) -> None:
        """Somebody else deletes an object."""
        self._objects.pop(self._key(kind, name, namespace), None)

    def exists(self, kind: Kind, name: str) -> bool:
        return self._key(kind, name, NAMESPACE) in self._objects

    def live(self, kind: Kind, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        return self._find(kind, name, namespace)

    def ledger(self, network: str = NETWORK) -> Ledger:
        """The ledger as it is stored."""
        stored = self._find(kinds.CONFIG_MAP, labels.ledger_config_map(network), SYSTEM)
        return Ledger.model_validate_json(stored["data"][KEY])

    def start_validator(self, node: str) -> None:
        """The StatefulSet is there, armed and at one replica, and its pod runs (a new pod if there was none)."""
        name = labels.child_name(node, "validator")
        marks = {"labels": {labels.NETWORK: NETWORK, labels.APP_NAME: "validator"}}
        strategy = {"rollingUpdate": {"partition": 1}}
        self.put(kinds.STATEFUL_SET, name, metadata=dict(marks), spec={"replicas": 1, "updateStrategy": strategy})
        if not self.exists(kinds.POD, f"{name}-0"):
            self.put(kinds.POD, f"{name}-0", metadata=dict(marks), spec={})

    # -- inside --------------------------------------------------------------------------------------------------------
    @staticmethod
    def _key(kind: Kind, name: str, namespace: str | None) -> tuple[str, str, str]:
        return kind.plural, namespace or "", name

    def _find(self, kind: Kind, name: str, namespace: str | None) -> dict[str, Any]:
        key = self._key(kind, name, namespace)
        if key not in self._objects:
            raise NotFound("GET", "/".join(key))
        return self._objects[key]

    @staticmethod
    def _precondition(live: dict[str, Any], *, uid: str = "", resource_version: str = "") -> None:
        metadata = live["metadata"]
        if uid not in ("", metadata["uid"]) or resource_version not in ("", metadata["resourceVersion"]):
            raise Conflict("PATCH", metadata["name"], message="the object has been modified")

    def _before(self) -> None:
        self.writes += 1
        if self.crash_at == self.writes and not self.crash_after_write:
            raise Crash(f"before write {self.writes}")

    def _after(self) -> None:
        if self.crash_at == self.writes and self.crash_after_write:
            raise Crash(f"after write {self.writes}")

    def _written(self, key: tuple[str, str, str]) -> dict[str, Any]:
        self._objects[key]["metadata"]["resourceVersion"] = str(next(self._versions))
        answer = copy.deepcopy(self._objects[key])
        self._after()
        return answer
