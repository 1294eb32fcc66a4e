"""BreakGlass: a digest is let into the namespace's allow-list, and taken out when its time is over.

The time is kept here, because admission has no clock: while no operator runs, the digest stays in.
"""

from __future__ import annotations

import logging

from jil.api import kinds
from jil.api.allowlist import BREAK_GLASS_MAX, BrokenGlass
from jil.api.conditions import Reason
from jil.api.operation import BreakGlass, JILOperation, OperationPhase, OperationType
from jil.cluster.allowlist import AllowLists
from jil.cluster.clock import Clock
from jil.cluster.errors import ApiError
from jil.controller.operation import Step
from jil.engine.store import Store

log = logging.getLogger(__name__)

#: Seconds until a list that is not there yet is looked for again.
_LIST_PAUSE = 10.0


class BreakGlassHandler:
    """Keeps the entries of a namespace's operations in its allow-list equal to what is in force."""

    def __init__(self, store: Store, lists: AllowLists, clock: Clock) -> None:
        self._store = store
        self._lists = lists
        self._clock = clock

    async def lead(self) -> None:
        """What was deleted while no operator ran is nobody's event: its entries are taken out before work begins.

        A list that cannot be read or written is told of; it does not keep the operator from its work.
        """
        for raw in self._store.list(kinds.JIL_IMAGE_ALLOW_LIST):
            namespace = raw["metadata"]["name"]
            try:
                await self.gone(namespace, "")
            except (ApiError, ValueError) as error:
                log.warning("what is over in the allow-list of namespace %s may still be in: %s", namespace, error)

    async def hindrance(self, operation: JILOperation) -> Step | None:
        """Its time is over, nothing holds images back, or there is no list yet."""
        namespace, glass = operation.metadata.namespace or "", _glass(operation)
        if self._clock.now() >= glass.until:
            message = (
                f"its time was over at {glass.until.isoformat()}, before the operator took it up: nothing was let in"
            )
            return Step(OperationPhase.REFUSED, Reason.EXPIRED, message, glass.digest)
        spec = self._lists.read(namespace)
        if spec is None:
            if self._has_policy(namespace):
                message = f"namespace {namespace} has no JILImageAllowList yet: it comes with the first verdicts"
                return Step(OperationPhase.PENDING, Reason.PROGRESSING, message, glass.digest, _LIST_PAUSE)
            message = f"nothing holds images back in namespace {namespace}: its network has no trust policy"
            return Step(OperationPhase.REFUSED, Reason.NO_POLICY, message, glass.digest)
        if len(spec.break_glass) >= BREAK_GLASS_MAX:
            message = (
                f"{len(spec.break_glass)} operations are in force in namespace {namespace}: delete those not needed"
            )
            return Step(OperationPhase.PENDING, Reason.PROGRESSING, message, glass.digest, _LIST_PAUSE)
        return None

    async def run(self, operation: JILOperation) -> Step:
        """In until the time is over, then out."""
        namespace, glass = operation.metadata.namespace or "", _glass(operation)
        left = (glass.until - self._clock.now()).total_seconds()
        until = glass.until.isoformat().replace("+00:00", "Z")
        if left <= 0:
            await self.gone(namespace, operation.name)
            message = f"{glass.digest} was let in for {operation.spec.requested_by} until {until} and is out again"
            return Step(OperationPhase.SUCCEEDED, Reason.EXPIRED, message, glass.digest)
        entry = BrokenGlass(
            operation=operation.name,
            operation_uid=operation.metadata.uid,
            digest=glass.digest,
            requested_by=operation.spec.requested_by,
            until=glass.until,
        )
        written = await self._lists.publish_break_glass(
            namespace,
            namespace_uid=self._uid(namespace),
            operation=operation.name,
            entry=entry,
            in_force=lambda other: self._in_force(namespace, other),
        )
        if written is None:
            message = f"the JILImageAllowList of namespace {namespace} is gone: it is waited for"
            return Step(OperationPhase.PENDING, Reason.PROGRESSING, message, glass.digest, _LIST_PAUSE)
        message = (
            f"{glass.digest} may run in namespace {namespace} until {until}, without signatures, because "
            f"{operation.spec.requested_by} said: {operation.spec.reason}"
        )
        return Step(OperationPhase.ACTIVE, Reason.BREAK_GLASS_OPEN, message, glass.digest, left)

    async def gone(self, namespace: str, name: str) -> None:
        """Take out what the operation let in, and what else is over; nothing is asked of the API server for nothing."""
        spec = self._lists.read(namespace)
        if spec is None or all(
            glass.operation != name and self._in_force(namespace, glass) for glass in spec.break_glass
        ):
            return
        await self._lists.publish_break_glass(
            namespace,
            namespace_uid=self._uid(namespace),
            operation=name,
            entry=None,
            in_force=lambda other: self._in_force(namespace, other),
        )

    def _in_force(self, namespace: str, glass: BrokenGlass) -> bool:
        """Whether the very BreakGlass that let the digest in is there, and its time is not over."""
        raw = self._store.get(kinds.JIL_OPERATION, namespace, glass.operation)
        if raw is None or raw["metadata"].get("deletionTimestamp") or self._clock.now() >= glass.until:
            return False
        # Entries of an operator that wrote no UID get theirs with the next look at the operation.
        same = glass.operation_uid in (None, raw["metadata"].get("uid"))
        return same and raw["spec"].get("type") == OperationType.BREAK_GLASS

    def _has_policy(self, namespace: str) -> bool:
        """Whether the network of the namespace asks for signatures."""
        for jurisdiction in self._store.list(kinds.JIL_JURISDICTION, namespace):
            network = self._store.get(kinds.JIL_NETWORK, None, jurisdiction["spec"].get("network", ""))
            if network is not None and network["spec"].get("trust") is not None:
                return True
        return False

    def _uid(self, namespace: str) -> str:
        space = self._store.get(kinds.NAMESPACE, None, namespace)
        return str(space["metadata"]["uid"]) if space is not None else ""


def _glass(operation: JILOperation) -> BreakGlass:
    if operation.spec.break_glass is None:
        raise ValueError(f"JILOperation {operation.name} of type BreakGlass has no breakGlass: the CRD refuses that")
    return operation.spec.break_glass
