"""JILOperation: carried out once per request id, whoever applies its object how often; the result outlives the object.

What is common to all types is here: the claim, the status, the Event, the audit lines. What a type does is its handler's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from jil.api import kinds
from jil.api.conditions import OPERATION_CONDITIONS, ConditionType, Finding, Reason, false, merge, true
from jil.api.objects import InvalidObject
from jil.api.operation import JILOperation, OperationPhase, OperationStatus, OperationType
from jil.cluster.claim import Claim, Claims, Result, Stored, spec_hash
from jil.cluster.client import Manifest
from jil.cluster.errors import ApiError, NotFound
from jil.controller.deps import Deps
from jil.controller.node_audit import audit
from jil.engine.outcome import Result as Outcome
from jil.engine.queue import Key

log = logging.getLogger(__name__)

#: From these an operation does not come back.
ENDED = (OperationPhase.SUCCEEDED, OperationPhase.REFUSED)


@dataclass(frozen=True)
class Step:
    """Where an operation stands: ``reason`` and ``message`` go into status and Event, ``target`` is what it is about.

    ``requeue_after``: seconds until the handler wants to be asked again; None waits for an event or the resync.
    """

    phase: OperationPhase
    reason: Reason
    message: str
    target: str
    requeue_after: float | None = None


class Handler(Protocol):
    """What one type of operation does. Both are asked again after a crash: what they do must bear repeating."""

    async def hindrance(self, operation: JILOperation) -> Step | None:
        """Why it is not taken up; None when it may be. Changes nothing.

        Pending: it is asked again. Refused is for good and uses the request id up: what stood in its way may be gone
        weeks later, when nobody means the command any more.
        """

    async def run(self, operation: JILOperation) -> Step:
        """Carry it out, or carry it on. Only asked for the one object that holds the claim; not after its end."""

    async def gone(self, namespace: str, name: str) -> None:
        """The object does not exist (any more), or does not hold the claim: nothing of it may be in force."""


class OperationReconciler:
    """observe -> claim -> run -> status, for one JILOperation."""

    def __init__(self, deps: Deps, claims: Claims, handlers: Mapping[OperationType, Handler]) -> None:
        self._deps = deps
        self._claims = claims
        self._handlers = handlers

    async def __call__(self, key: Key) -> Outcome:
        namespace = key.namespace or ""
        raw = self._deps.store.get(kinds.JIL_OPERATION, namespace, key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            await self._nothing_in_force(namespace, key.name)
            return Outcome()
        try:
            operation = JILOperation.parse(raw)
        except InvalidObject as error:
            await self._nothing_in_force(namespace, key.name)
            step = Step(OperationPhase.REFUSED, Reason.SPEC_UNREADABLE, str(error), key.name)
            await self._write(raw, step, None)
            return Outcome()
        # The name may have been that of an operation of another type a moment ago.
        late = await self._others_gone(operation)
        outcome = await self._look_at(operation, raw)
        if late is not None:
            raise late
        return outcome

    async def _look_at(self, operation: JILOperation, raw: Manifest) -> Outcome:
        namespace, handler = operation.metadata.namespace or "", self._handlers[operation.spec.type]
        stored = await self._claims.read(namespace, operation.spec.request_id)
        if stored is None:
            hindrance = await handler.hindrance(operation)
            if hindrance is None:
                stored = await self._take(operation)
            elif hindrance.phase in ENDED:
                stored = await self._take_ended(operation, hindrance)
            else:
                await handler.gone(namespace, operation.name)
                await self._write(raw, hindrance, None)
                return Outcome(hindrance.requeue_after)
        if stored.claim.uid != operation.metadata.uid:
            await handler.gone(namespace, operation.name)
            await self._write(raw, _ran_before(operation, stored.claim), stored.claim)
            return Outcome()
        if stored.claim.result is not None:
            await handler.gone(namespace, operation.name)
            await self._write(raw, _as_it_ended(operation, stored.claim.result), stored.claim)
            return Outcome()
        step = await handler.run(operation)
        if step.phase in ENDED:
            stored = await self._finish(operation, stored, step)
        await self._write(raw, step, stored.claim)
        return Outcome(step.requeue_after)

    async def _nothing_in_force(self, namespace: str, name: str) -> None:
        for handler in self._handlers.values():
            await handler.gone(namespace, name)

    async def _others_gone(self, operation: JILOperation) -> ApiError | None:
        """Nothing that another type did under this name may be in force. What went wrong is for after the own work."""
        late: ApiError | None = None
        for type_, handler in self._handlers.items():
            if type_ is not operation.spec.type:
                try:
                    await handler.gone(operation.metadata.namespace or "", operation.name)
                except ApiError as error:
                    late = error
                except InvalidObject as error:
                    log.warning("what the name %s let in before may still be in: %s", operation.name, error)
        return late

    async def _take(self, operation: JILOperation) -> Stored:
        stored, now_ours = await self._claims.take(operation, now=self._deps.clock.now())
        if now_ours:
            audit("operation.start", **_facts(operation), spec=operation.spec.wire())
        return stored

    async def _take_ended(self, operation: JILOperation, step: Step) -> Stored:
        result = self._result(step)
        stored, now_ours = await self._claims.take(operation, now=self._deps.clock.now(), result=result)
        if now_ours:
            self._audit_end(operation, step)
        return stored

    async def _finish(self, operation: JILOperation, stored: Stored, step: Step) -> Stored:
        finished = await self._claims.finish(stored, self._result(step))
        self._audit_end(operation, step)
        return finished

    def _result(self, step: Step) -> Result:
        return Result(phase=step.phase, reason=step.reason, message=step.message, at=_whole(self._deps.clock.now()))

    @staticmethod
    def _audit_end(operation: JILOperation, step: Step) -> None:
        audit("operation.end", **_facts(operation), phase=step.phase, reason=step.reason, message=step.message)

    async def _write(self, raw: Manifest, step: Step, claim: Claim | None) -> None:
        before = OperationStatus.model_validate(raw.get("status") or {})
        now, generation = self._deps.clock.now(), raw["metadata"].get("generation", 0)
        same = before.targets[0] if before.targets and before.targets[0].phase == step.phase else None
        target: dict[str, Any] = {"name": step.target, "phase": step.phase.value, "message": step.message[:1024]}
        target["since"] = _time(same.since if same is not None and same.since is not None else now)
        conditions = merge(
            before.conditions, _findings(step), full_set=OPERATION_CONDITIONS, generation=generation, now=now
        )
        status: dict[str, Any] = {
            "observedGeneration": generation,
            "phase": step.phase.value,
            "targets": [target],
            "conditions": [condition.wire() for condition in conditions],
        }
        if claim is not None and claim.uid == raw["metadata"].get("uid"):
            status["startedAt"] = _time(claim.claimed_at)
            if claim.result is not None:
                status["completedAt"] = _time(claim.result.at)
        try:
            written = await self._deps.statuses.write(kinds.JIL_OPERATION, raw, status)
        except NotFound:
            return  # deleted meanwhile: its deletion is looked at next
        if written and _told(before) != (step.phase.value, step.reason.value):
            quiet = step.phase in (OperationPhase.SUCCEEDED, OperationPhase.PENDING)
            tell = self._deps.events.normal if quiet else self._deps.events.warning
            tell(raw, step.reason, step.message, action=step.phase.value)


def _findings(step: Step) -> tuple[Finding, Finding]:
    if step.phase is OperationPhase.REFUSED:
        no = false(ConditionType.SPEC_VALID, step.reason, step.message)
        return no, false(ConditionType.READY, step.reason, step.message)
    valid = true(ConditionType.SPEC_VALID, Reason.VALID)
    if step.phase is OperationPhase.PENDING:
        return valid, false(ConditionType.READY, step.reason, step.message)
    return valid, true(ConditionType.READY, step.reason, step.message)


def _ran_before(operation: JILOperation, claim: Claim) -> Step:
    """Another object holds the claim. The same command ended as it ended; another one under a used id is a mistake."""
    first = f"requestId {claim.request_id} was taken up at {_time(claim.claimed_at)} by {claim.requested_by}"
    target = _target(operation)
    if claim.spec_hash == spec_hash(operation.spec):
        how = f", and ended: {claim.result.message}" if claim.result is not None else ""
        message = (
            f"{first}{how}. It is not run again, however often it is applied; for another run use another requestId"
        )
        refused = claim.result is not None and claim.result.phase is OperationPhase.REFUSED
        phase = OperationPhase.REFUSED if refused else OperationPhase.SUCCEEDED
        return Step(phase, Reason.ALREADY_RAN, message, target)
    message = f"{first} for another command (JILOperation {claim.name}): an id runs once. Use another requestId"
    return Step(OperationPhase.REFUSED, Reason.ALREADY_RAN, message, target)


def _as_it_ended(operation: JILOperation, result: Result) -> Step:
    return Step(result.phase, result.reason, result.message, _target(operation))


def _target(operation: JILOperation) -> str:
    glass = operation.spec.break_glass
    return glass.digest if glass is not None else operation.name


def _facts(operation: JILOperation) -> dict[str, Any]:
    spec = operation.spec
    return {
        "namespace": operation.metadata.namespace,
        "operation": operation.name,
        "uid": operation.metadata.uid,
        "type": spec.type.value,
        "requestId": spec.request_id,
        "requestedBy": spec.requested_by,
        "why": spec.reason,
    }


def _told(status: OperationStatus) -> tuple[str | None, str | None]:
    ready = next((condition for condition in status.conditions if condition.type == ConditionType.READY), None)
    return status.phase, ready.reason if ready is not None else None


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _time(moment: datetime) -> str:
    return _whole(moment).isoformat().replace("+00:00", "Z")
