"""Run once: a request id is claimed before its operation is carried out, and the claim outlives the operation.

A claim is one ConfigMap in the system namespace whose name is made from namespace and request id: the POST that makes it
succeeds once, whoever deletes and applies the JILOperation how often. It holds what was asked for, by whom, and, when
there is one, the result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.fields import SpecModel
from jil.api.kinds import Kind
from jil.api.operation import JILOperation, OperationPhase, OperationSpec, OperationType
from jil.cluster.client import Manifest
from jil.cluster.errors import AlreadyExists, NotFound

#: Key of the ConfigMap under which the claim stands.
KEY = "claim"


class ClaimUnreadableError(Exception):
    """The ConfigMap of a claim is no claim: somebody edited it, or a newer operator wrote it. Nothing is run."""


class Result(SpecModel):
    """How an operation ended."""

    phase: OperationPhase
    reason: Reason
    message: str
    at: datetime


class Claim(SpecModel):
    """Who may run a request id: the object with ``uid``, and nobody else ever."""

    version: Literal[1] = 1
    namespace: str
    request_id: str
    type: OperationType
    spec_hash: str
    name: str
    uid: str
    requested_by: str
    why: str
    claimed_at: datetime
    result: Result | None = None


@dataclass(frozen=True)
class Stored:
    """A claim as it was read, with the version that a write must replace."""

    claim: Claim
    manifest: Manifest


class ClaimClient(Protocol):
    """The part of the client that claims need."""

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Manifest:
        """GET. Raises NotFound."""

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """POST. Raises AlreadyExists."""

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """PUT with the resourceVersion as precondition. Raises Conflict, NotFound."""


def spec_hash(spec: OperationSpec) -> str:
    """SHA-256 of the whole command, 64 hex digits."""
    return hashlib.sha256(json.dumps(spec.wire(), sort_keys=True).encode()).hexdigest()


def claim_name(namespace: str, request_id: str) -> str:
    """Name of the ConfigMap; that it is unique is what makes a request run once."""
    return f"operation-{hashlib.sha256(f'{namespace}/{request_id}'.encode()).hexdigest()[:40]}"


class Claims:
    """``seen`` is a ConfigMap of the system namespace as the watch last saw it, or None: it saves the read."""

    def __init__(
        self,
        client: ClaimClient,
        system_namespace: str,
        *,
        seen: Callable[[str], Manifest | None] = lambda name: None,
        remember: Callable[[Kind, Manifest], object] = lambda kind, obj: None,
    ) -> None:
        self._client = client
        self._system = system_namespace
        self._seen = seen
        self._remember = remember

    async def read(self, namespace: str, request_id: str) -> Stored | None:
        """The claim of a request id, or None when nobody has it. Raises ClaimUnreadableError."""
        name = claim_name(namespace, request_id)
        manifest = self._seen(name)
        if manifest is None:
            try:
                manifest = await self._client.get(kinds.CONFIG_MAP, name, self._system)
            except NotFound:
                return None
        return _parse(manifest, namespace, request_id)

    async def take(
        self, operation: JILOperation, *, now: datetime, result: Result | None = None
    ) -> tuple[Stored, bool]:
        """Claim the operation's request id, or find out who has it. The second value says whether it was taken now.

        With ``result`` it has ended with the write that takes it: a crash leaves nothing that could be carried on.
        """
        spec, metadata = operation.spec, operation.metadata
        claim = Claim(
            namespace=metadata.namespace or "",
            request_id=spec.request_id,
            type=spec.type,
            spec_hash=spec_hash(spec),
            name=operation.name,
            uid=metadata.uid,
            requested_by=spec.requested_by,
            why=spec.reason,
            claimed_at=now.replace(microsecond=0),
            result=result,
        )
        name = claim_name(claim.namespace, claim.request_id)
        marks = {
            labels.APP_NAME: "operation",
            labels.APP_MANAGED_BY: labels.MANAGED_BY,
            labels.APP_PART_OF: labels.PART_OF,
        }
        manifest: Manifest = {
            **kinds.CONFIG_MAP.head(name, self._system),
            "metadata": {"name": name, "namespace": self._system, "labels": marks},
            "data": {KEY: _text(claim)},
        }
        try:
            written = await self._client.create(kinds.CONFIG_MAP, manifest)
        except AlreadyExists:
            live = await self._client.get(kinds.CONFIG_MAP, name, self._system)
            return _parse(live, claim.namespace, claim.request_id), False
        self._remember(kinds.CONFIG_MAP, written)
        return Stored(claim, written), True

    async def finish(self, stored: Stored, result: Result) -> Stored:
        """Write the result; the first one stays. Raises Conflict when the claim was changed since it was read."""
        if stored.claim.result is not None:
            return stored
        claim = stored.claim.model_copy(update={"result": result})
        written = await self._client.replace(kinds.CONFIG_MAP, {**stored.manifest, "data": {KEY: _text(claim)}})
        self._remember(kinds.CONFIG_MAP, written)
        return Stored(claim, written)


def _parse(manifest: Manifest, namespace: str, request_id: str) -> Stored:
    where = f"ConfigMap {manifest['metadata'].get('namespace')}/{manifest['metadata']['name']}"
    data: dict[str, Any] = manifest.get("data") or {}
    try:
        claim = Claim.model_validate_json(data.get(KEY, ""))
    except ValidationError as error:
        first = error.errors()[0]
        raise ClaimUnreadableError(
            f"{where} is not the claim of a request: {first['loc']}: {first['msg']}. Restore it from a backup; while it is "
            "unreadable the request is not run"
        ) from error
    if (claim.namespace, claim.request_id) != (namespace, request_id):
        raise ClaimUnreadableError(f"{where} is the claim of request {claim.request_id} in {claim.namespace}")
    return Stored(claim, manifest)


def _text(claim: Claim) -> str:
    return json.dumps(claim.wire(), separators=(",", ":"), ensure_ascii=False)
