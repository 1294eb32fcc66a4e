"""What the gate writes onto the objects that it grants acts against: stamps, and moves of the resourceVersion.

A *stamp* is a copy of an open grant on the validator's StatefulSet. The ledger is rebuilt from stamps when it is lost.
A *move* changes nothing but the object's resourceVersion: every disruptive request names the version that was granted,
so after a move a request that is still under way from an older leader is refused by the API server.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from pydantic import ValidationError

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.cluster.errors import Conflict, NotFound
from jil.cluster.grant import TargetRef
from jil.cluster.ledger import GrantEntry, LedgerClient
from jil.plan.acts import Act

#: On a StatefulSet: the open grant for its validator, as it stands in the ledger.
STAMP: Final = "jil.io/disruption"

#: On any target: a value that is new every time, written for nothing but the new resourceVersion.
MOVED: Final = "jil.io/disruption-moved"

_BY_KIND: Final = {
    kind.kind: kind
    for kind in (
        kinds.POD,
        kinds.STATEFUL_SET,
        kinds.DEPLOYMENT,
        kinds.SERVICE,
        kinds.CONFIG_MAP,
        kinds.POD_DISRUPTION_BUDGET,
        kinds.NETWORK_POLICY,
    )
}


class Objects(Protocol):
    """A list answer."""

    @property
    def items(self) -> list[dict[str, Any]]:
        """The objects."""


class StampClient(LedgerClient, Protocol):
    """The part of the client that the gate uses; ``jil.cluster.client.KubeClient`` is one."""

    async def list(self, kind: Kind, namespace: str | None = None, *, label_selector: str | None = None) -> Objects:
        """GET of a collection."""

    async def json_patch(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        operations: Sequence[Mapping[str, Any]],
        *,
        resource_version: str,
    ) -> dict[str, Any]:
        """PATCH of exactly one version. Raises Conflict, NotFound."""

    async def annotate(
        self, kind: Kind, name: str, namespace: str | None, annotations: Mapping[str, str | None], *, uid: str
    ) -> dict[str, Any]:
        """Set or remove annotations of exactly one object. Raises Conflict when it is another, NotFound."""


class Stamps:
    """Reads and writes stamps, and moves resourceVersions."""

    def __init__(self, client: StampClient) -> None:
        self._client = client

    async def live(self, kind: Kind, name: str, namespace: str | None) -> dict[str, Any] | None:
        """The object as it is now, or None."""
        try:
            return await self._client.get(kind, name, namespace)
        except NotFound:
            return None

    async def put(self, entry: GrantEntry, target: TargetRef) -> TargetRef:
        """Stamp the validator's StatefulSet; the target at its version after that.

        Raises Conflict when the target itself is the StatefulSet and is no longer at the version that was granted.
        """
        text = entry.model_dump_json(by_alias=True, exclude_none=True)
        if target.kind == kinds.STATEFUL_SET:
            live = await self._client.get(target.kind, target.name, target.namespace)
            stamped = read_stamp(live)
            if stamped is not None and stamped.id == entry.id:
                return target
            pointer = "/metadata/annotations"
            add: Mapping[str, Any] = {"op": "add", "path": f"{pointer}/{STAMP.replace('/', '~1')}", "value": text}
            if not live["metadata"].get("annotations"):
                add = {"op": "add", "path": pointer, "value": {STAMP: text}}
            written = await self._client.json_patch(
                target.kind, target.name, target.namespace, [add], resource_version=target.resource_version
            )
            return TargetRef(
                target.kind, target.namespace, target.name, target.uid, written["metadata"]["resourceVersion"]
            )
        owner = await self._stateful_set(entry)
        stamped = read_stamp(owner) if owner is not None else None
        if owner is not None and (stamped is None or stamped.id != entry.id):
            await self._annotate(kinds.STATEFUL_SET, owner, {STAMP: text})
        return target

    async def remove(self, entry: GrantEntry) -> None:
        """Take the stamp of this grant off again; another grant's stamp stays."""
        owner = await self._stateful_set(entry)
        if owner is None:
            return
        stamped = read_stamp(owner)
        if stamped is not None and stamped.id == entry.id:
            await self._annotate(kinds.STATEFUL_SET, owner, {STAMP: None})

    async def move(self, kind: Kind, live: Mapping[str, Any]) -> dict[str, Any]:
        """The object at a new resourceVersion. Raises NotFound, Conflict when it is gone or another."""
        return await self._annotate(kind, live, {MOVED: uuid.uuid4().hex})

    async def void(self, entry: GrantEntry) -> bool:
        """Make sure that a granted act can no longer happen. False when it has happened (or its target is gone)."""
        kind = _BY_KIND[entry.target.kind]
        live = await self.live(kind, entry.target.name, entry.target.namespace)
        if live is None or has_happened(entry, live):
            return False
        # What happened between the look and the move shows in the moved object; what comes after it is refused.
        try:
            return not has_happened(entry, await self.move(kind, live))
        except (NotFound, Conflict):  # gone, or another object under its name
            return False

    async def collect(self, network: str, namespaces: Sequence[str]) -> tuple[GrantEntry, ...]:
        """Move every validator workload and pod of the network, so that no act that was granted before can still
        happen, and read the stamps that are left."""
        selector = f"{labels.NETWORK}={network},{labels.APP_NAME}={labels.Component.VALIDATOR}"
        found: list[GrantEntry] = []
        for namespace in namespaces:
            for kind in (kinds.POD, kinds.STATEFUL_SET):
                for one in (await self._client.list(kind, namespace, label_selector=selector)).items:
                    stamped = read_stamp(await self.move(kind, one))
                    if stamped is not None and kind == kinds.STATEFUL_SET:
                        found.append(stamped)
        return tuple(found)

    async def _stateful_set(self, entry: GrantEntry) -> dict[str, Any] | None:
        name = entry.target.name
        if entry.target.kind == kinds.POD.kind:
            name = name.rsplit("-", 1)[0]
        return await self.live(kinds.STATEFUL_SET, name, entry.target.namespace)

    async def _annotate(
        self, kind: Kind, live: Mapping[str, Any], annotations: Mapping[str, str | None]
    ) -> dict[str, Any]:
        metadata = live["metadata"]
        return await self._client.annotate(
            kind, metadata["name"], metadata.get("namespace"), annotations, uid=metadata["uid"]
        )


def read_stamp(live: Mapping[str, Any]) -> GrantEntry | None:
    """The grant that is stamped on an object; one that cannot be read any more is none."""
    text = (live["metadata"].get("annotations") or {}).get(STAMP)
    if text is None:
        return None
    try:
        return GrantEntry.model_validate_json(text)
    except ValidationError:
        return None


def has_happened(entry: GrantEntry, live: Mapping[str, Any]) -> bool:
    """Whether the granted act was carried out, by what the target looks like now."""
    if live["metadata"]["uid"] != entry.target.uid or live["metadata"].get("deletionTimestamp"):
        return True
    spec = live.get("spec") or {}
    if entry.act is Act.STOP:
        return spec.get("replicas") == 0
    if entry.act is Act.DISARM:
        rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
        return int(rolling.get("partition") or 0) == 0
    if entry.act is Act.SERVING_OFF:
        return (live["metadata"].get("labels") or {}).get(labels.SERVING) != "true"
    return False
