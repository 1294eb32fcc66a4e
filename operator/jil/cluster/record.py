"""JILNodeRecord: claimed by POST, changed by compare-and-swap, never rebuilt from status."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.api.node import JILNode
from jil.api.record import JILNodeRecord, RecordSpec
from jil.cluster.client import KubeClient, Manifest
from jil.cluster.errors import AlreadyExists, NotFound


class RecordStore:
    """Reads and writes the records of one system namespace. ``remember`` is told what a write made of a record."""

    def __init__(
        self,
        client: KubeClient,
        system_namespace: str,
        *,
        remember: Callable[[Kind, Manifest], object] = lambda kind, record: None,
    ) -> None:
        self._client = client
        self._namespace = system_namespace
        self._remember = remember

    async def read(self, node_id: str) -> JILNodeRecord | None:
        """The record as it is now, read live: a cache may be behind."""
        try:
            return JILNodeRecord.parse(
                await self._client.get(kinds.JIL_NODE_RECORD, labels.record_name(node_id), self._namespace)
            )
        except NotFound:
            return None

    async def claim(
        self, node: JILNode, *, network: str, cluster_uid: str, template_version: int, bootstrapped: bool
    ) -> JILNodeRecord:
        """The record of the node's id: a new one, or the one that is there (whoever owns it: the caller checks).

        ``bootstrapped``: a key of this id exists already, so the record was lost and not just never made; its validator
        must find its sign state.
        """
        spec: dict[str, Any] = {
            "nodeId": node.spec.node_id,
            "network": network,
            "owner": {"namespace": node.metadata.namespace, "name": node.name, "uid": node.metadata.uid},
            "clusterUID": cluster_uid,
            "templateVersion": template_version,
            "bootstrapped": bootstrapped,
        }
        name = labels.record_name(node.spec.node_id)
        body: Manifest = {
            "apiVersion": labels.API_VERSION,
            "kind": "JILNodeRecord",
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": {labels.APP_MANAGED_BY: labels.MANAGED_BY, labels.NETWORK: network},
            },
            "spec": spec,
        }
        try:
            return JILNodeRecord.parse(await self._client.create(kinds.JIL_NODE_RECORD, body))
        except AlreadyExists:
            return JILNodeRecord.parse(await self._client.get(kinds.JIL_NODE_RECORD, name, self._namespace))

    async def change(self, record: JILNodeRecord, **fields: Any) -> JILNodeRecord:
        """Writes the given spec fields (Python names) if they differ. Raises Conflict when the record changed since it
        was read: the caller reads again and decides anew."""
        updated = RecordSpec.model_validate(record.spec.model_copy(update=fields).model_dump(by_alias=True))
        if updated == record.spec:
            return record
        before, after = record.spec.wire(), updated.wire()
        ops: list[dict[str, Any]] = []
        for key in sorted(before.keys() | after.keys()):
            if key not in after:
                ops.append({"op": "remove", "path": f"/spec/{key}"})
            elif before.get(key) != after[key]:
                ops.append({"op": "add", "path": f"/spec/{key}", "value": after[key]})
        written = await self._client.json_patch(
            kinds.JIL_NODE_RECORD,
            record.name,
            self._namespace,
            ops,
            resource_version=record.metadata.resource_version,
        )
        self._remember(kinds.JIL_NODE_RECORD, written)
        return JILNodeRecord.parse(written)


def whole_seconds(moment: datetime) -> datetime:
    """Kubernetes times have whole seconds; anything finer never compares equal to what was stored."""
    return moment.replace(microsecond=0)
