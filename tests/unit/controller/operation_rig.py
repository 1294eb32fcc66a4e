"""JILOperations on an API server in memory, and the reconciler that carries them out."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from jil.api import kinds
from jil.api.allowlist import AllowedImage, AllowListSpec, JILImageAllowList
from jil.api.conditions import ConditionType, Reason
from jil.api.kinds import Kind
from jil.api.operation import JILOperation, OperationPhase, OperationStatus, OperationType
from jil.cluster.allowlist import AllowLists, ReleasePart, allowed
from jil.cluster.claim import Claims
from jil.cluster.status import StatusWriter
from jil.controller.deps import Deps
from jil.controller.operation import OperationReconciler, Step
from jil.controller.operation_break_glass import BreakGlassHandler
from jil.engine.queue import Key
from jil.engine.store import Store
from tests.cluster.api.case import BASES, TRUST, changed
from tests.unit.cluster.memory_api import SYSTEM, FakeClock, MemoryApi

SPACE = "jil-ch-finma"


FENCING = {"node": "ch-zug-01", "podUID": "00000000-0000-4000-8000-000000000001"}


A, B = (f"sha256:{letter * 64}" for letter in "ab")


class Told:
    """Events as they were recorded."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def normal(self, regarding: Mapping[str, Any], reason: Reason, note: str, *, action: str) -> None:
        self.events.append(("Normal", reason.value, note))

    def warning(self, regarding: Mapping[str, Any], reason: Reason, note: str, *, action: str) -> None:
        self.events.append(("Warning", reason.value, note))


class Api(MemoryApi):
    """Can say all that it has of a kind."""

    def all(self, kind: Kind) -> list[dict[str, Any]]:
        return [copy.deepcopy(one) for (plural, *_), one in self._objects.items() if plural == kind.plural]


class Waits:
    """Another type of operation, for which it is always too early."""

    async def hindrance(self, operation: JILOperation) -> Step | None:
        return Step(OperationPhase.PENDING, Reason.PROGRESSING, "too early", operation.name)

    async def run(self, operation: JILOperation) -> Step:
        raise AssertionError("it was never taken up")

    async def gone(self, namespace: str, name: str) -> None:
        """Nothing of it is ever in force."""


class Rig:
    """A namespace of a network, with an allow-list if ``trust``; operations are applied and deleted by people."""

    def __init__(self, *, trust: bool = True, has_list: bool = True) -> None:
        self.api, self.clock, self.store, self.told = Api(), FakeClock(), Store(), Told()
        self._versions, self._uids = itertools.count(1), itertools.count(1)
        self.put(kinds.NAMESPACE, {"metadata": {"name": SPACE, "uid": "space"}})
        policy = {"spec/trust": TRUST} if trust else {}
        self.put(kinds.JIL_NETWORK, changed(BASES["JILNetwork"], {"metadata/name": "jil-devnet", **policy}))
        self.put(kinds.JIL_JURISDICTION, changed(BASES["JILJurisdiction"], {"metadata/namespace": SPACE}))
        self._has_list = has_list
        self.restart()

    async def begin(self) -> None:
        if self._has_list:
            images = {A: AllowedImage(image=f"r.example/x@{A}", releases=("r1",))}
            part = ReleasePart(network="jil-devnet", policy_hash="h", digests=images)
            await self.lists.publish_releases(SPACE, namespace_uid="space", part=part)

    def restart(self) -> None:
        """A new process: it knows what is stored, and nothing else."""
        api, remember = self.api, self.store.put
        for kind in (kinds.CONFIG_MAP, kinds.JIL_IMAGE_ALLOW_LIST):
            for live in api.all(kind):
                self.store.put(kind, live)
        self.lists = AllowLists(
            api, seen=lambda space: self.store.get(kinds.JIL_IMAGE_ALLOW_LIST, None, space), remember=remember
        )
        self.glass = BreakGlassHandler(self.store, self.lists, self.clock)
        claims = Claims(
            api, SYSTEM, seen=lambda name: self.store.get(kinds.CONFIG_MAP, SYSTEM, name), remember=remember
        )
        deps = SimpleNamespace(
            store=self.store, clock=self.clock, events=self.told, statuses=StatusWriter(self, clock=self.clock)
        )
        handlers = {OperationType.CONFIRM_FENCING: Waits(), OperationType.BREAK_GLASS: self.glass}
        self.reconcile = OperationReconciler(cast(Deps, deps), claims, handlers)

    def put(self, kind: Kind, obj: dict[str, Any]) -> None:
        obj = copy.deepcopy(obj)
        obj["metadata"]["resourceVersion"] = str(next(self._versions) + 10_000)
        self.store.put(kind, obj)

    async def apply_status(self, kind: Kind, manifest: dict[str, Any], *, manager: str) -> dict[str, Any]:
        meta = manifest["metadata"]
        live = self.store.get(kind, meta["namespace"], meta["name"])
        assert live is not None
        self.put(kind, {**live, "status": manifest["status"]})
        return manifest

    def apply(self, name: str = "inc-1", hours: float = 4, **spec: Any) -> Key:
        until = (self.clock.now() + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
        wanted = {
            **BASES["JILOperation"]["spec"],
            "requestId": "INC-1",
            "breakGlass": {"digest": B, "until": until},
            **spec,
        }
        metadata = {"name": name, "namespace": SPACE, "uid": f"op-{next(self._uids)}", "generation": 1}
        self.put(kinds.JIL_OPERATION, {"metadata": metadata, "spec": wanted})
        return Key(kinds.JIL_OPERATION.kind, SPACE, name)

    def delete(self, name: str = "inc-1") -> None:
        live = self.store.get(kinds.JIL_OPERATION, SPACE, name)
        assert live is not None
        self.store.remove(kinds.JIL_OPERATION, live)

    def status(self, name: str = "inc-1") -> OperationStatus:
        live = self.store.get(kinds.JIL_OPERATION, SPACE, name)
        assert live is not None
        return OperationStatus.model_validate(live["status"])

    def says(self, name: str = "inc-1") -> tuple[str | None, str, str]:
        """(phase, status of Ready, reason of Ready)."""
        status = self.status(name)
        (ready,) = [condition for condition in status.conditions if condition.type == ConditionType.READY]
        return status.phase, ready.status.value, ready.reason

    @property
    def list(self) -> AllowListSpec:
        return JILImageAllowList.parse(self.api.live(kinds.JIL_IMAGE_ALLOW_LIST, SPACE, "")).spec

    @property
    def open(self) -> bool:
        return allowed(self.list, B)
