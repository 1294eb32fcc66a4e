"""The thin Kubernetes client: reads, plain writes, and disruptive writes that need a Grant.

Plain writes cannot disrupt: an ``apply`` to a workload needs a ``Reviewed`` (from ``jil.cluster.review``, which
compares it with the live object), a JSON patch to a workload or pod may touch its annotations only, and nothing plain
takes a pod out of serving. The rest goes through ``delete``, ``scale``, ``disarm`` and ``stop_serving``, each for one
Grant.

All methods raise the classes of ``jil.cluster.errors``; writes raise NotLeader when the fence refuses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.cluster.connection import Connection, Fence
from jil.cluster.errors import Gone, GrantRequired, NotFound, ServerUnavailable
from jil.cluster.grant import Grant
from jil.cluster.review import GUARDED, Reviewed
from jil.plan.acts import Act

Manifest = dict[str, Any]
#: One operation of RFC 6902, e.g. {"op": "remove", "path": "/spec/paused"}.
PatchOperation = Mapping[str, Any]

PAGE = 500
_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_MERGE = "application/merge-patch+json"
#: What each act of deletion may delete. Pruning never reaches workloads, pods, volumes or keys.
_DELETES: Mapping[str, tuple[Kind, ...]] = {
    Act.DELETE_POD: (kinds.POD,),
    Act.DRAIN: (kinds.POD,),
    Act.DELETE_WORKLOAD: (kinds.STATEFUL_SET, kinds.DEPLOYMENT),
    Act.PRUNE: (kinds.SERVICE, kinds.CONFIG_MAP, kinds.POD_DISRUPTION_BUDGET, kinds.NETWORK_POLICY),
}
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


@dataclass(frozen=True)
class Listing:
    """All pages of one list; ``resource_version`` is that of the whole collection when it was read."""

    items: list[Manifest]
    resource_version: str


class KubeClient:
    """Requests to one API server. ``fence`` is asked before every write, see ``jil.cluster.connection``."""

    def __init__(self, connection: Connection, *, fence: Fence) -> None:
        self._connection = connection
        self._fence = fence

    # -- reads -------------------------------------------------------------------------------------------------------
    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Manifest:
        """The live object. Raises NotFound, which is proof that it is not there.

        A 404 that does not name it is none: so answer an API server that does not serve the kind (its CRD is missing, or
        being installed) and a proxy that has lost its way. Raises ServerUnavailable then.
        """
        path = kind.path(namespace=namespace, name=name)
        try:
            return await self._connection.read(path)
        except NotFound as error:
            if error.name == name:
                raise
            message = f"{error.message or 'no message'}: no proof that {kind.kind} {name} is gone; is its kind served?"
            raise ServerUnavailable("GET", path, status=error.status, reason=error.reason, message=message) from error

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
        limit: int = PAGE,
    ) -> Listing:
        """All objects, page by page; of ``metadata_only`` the items have apiVersion, kind and metadata.

        A continue token that expired meanwhile starts the list again, once, in one piece. Raises Gone after that.
        """
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        chosen = {name: value for name, value in query.items() if value}
        accept = _METADATA_ONLY if metadata_only else "application/json"
        path = kind.path(namespace=namespace)
        try:
            return await self._list(kind, path, {**chosen, "limit": str(limit)}, accept)
        except Gone:
            return await self._list(kind, path, chosen, accept)

    async def _list(self, kind: Kind, path: str, query: dict[str, str], accept: str) -> Listing:
        items: list[Manifest] = []
        while True:
            page = await self._connection.read(path, query=query, accept=accept)
            metadata = page.get("metadata") or {}
            for item in page.get("items") or []:
                # Items of a typed list come without their type; of a metadata list, with that of the metadata.
                item["apiVersion"], item["kind"] = kind.api_version, kind.kind
                items.append(item)
            token = metadata.get("continue")
            if not token:
                return Listing(items, str(metadata.get("resourceVersion", "")))
            query = {**query, "continue": token}

    # -- plain writes ------------------------------------------------------------------------------------------------
    async def create(self, kind: Kind, manifest: Manifest, *, manager: str = labels.FIELD_MANAGER) -> Manifest:
        """POST. Raises AlreadyExists; never touches an object that is there."""
        path = kind.path(namespace=_namespace(kind, manifest))
        return await self._write("POST", path, manifest, query=_strict(manager))

    async def replace(self, kind: Kind, manifest: Manifest, *, manager: str = labels.FIELD_MANAGER) -> Manifest:
        """PUT of the whole object as compare-and-swap: ``metadata.resourceVersion`` is required. Raises Conflict."""
        self._refuse_guarded(kind, manifest["metadata"]["name"], "replace it as a whole")
        if not manifest["metadata"].get("resourceVersion"):
            raise ValueError(f"replace of {kind.kind} {manifest['metadata']['name']} without resourceVersion")
        path = kind.path(namespace=_namespace(kind, manifest), name=manifest["metadata"]["name"])
        return await self._write("PUT", path, manifest, query=_strict(manager))

    async def apply(
        self,
        kind: Kind,
        manifest: Manifest,
        *,
        reviewed: Reviewed | None = None,
        manager: str = labels.FIELD_MANAGER,
        dry_run: bool = False,
    ) -> Manifest:
        """Server-side apply with force. For workloads ``jil.cluster.apply`` is the way, it brings ``reviewed``.

        Raises ValueError for a Secret: force would replace a key silently (I5).
        """
        if kind == kinds.SECRET:
            raise ValueError(f"Secret {manifest['metadata']['name']}: Secrets are created once, never applied (I5)")
        if kind in GUARDED and not dry_run and (reviewed is None or not reviewed.covers(kind, manifest)):
            raise GrantRequired(
                Act.STOP, f"{kind.kind} {manifest['metadata']['name']}", "apply without review of the live object"
            )
        path = kind.path(namespace=_namespace(kind, manifest), name=manifest["metadata"]["name"])
        query = {**_strict(manager), "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        return await self._write("PATCH", path, manifest, query=query, content_type=_APPLY)

    async def apply_status(
        self, kind: Kind, manifest: Manifest, *, manager: str = labels.STATUS_FIELD_MANAGER
    ) -> Manifest:
        """Server-side apply of ``/status``: ``manifest`` has apiVersion, kind, metadata.name/namespace and status."""
        path = kind.path(namespace=_namespace(kind, manifest), name=manifest["metadata"]["name"], subresource="status")
        return await self._write(
            "PATCH", path, manifest, query={**_strict(manager), "force": "true"}, content_type=_APPLY
        )

    async def json_patch(
        self,
        kind: Kind,
        name: str,
        namespace: str | None,
        operations: Sequence[PatchOperation],
        *,
        resource_version: str,
        reviewed: Reviewed | None = None,
        manager: str = labels.FIELD_MANAGER,
    ) -> Manifest:
        """RFC 6902 patch of exactly the version ``resource_version``. Raises Conflict when the object has moved on."""
        if kind in GUARDED and (reviewed is None or not reviewed.at(resource_version)):
            for operation in operations:
                if not str(operation["path"]).startswith("/metadata/annotations"):
                    self._refuse_guarded(kind, name, f"JSON patch of {operation['path']}")
        test = {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}
        path = kind.path(namespace=namespace, name=name)
        return await self._write("PATCH", path, [test, *operations], query=_strict(manager), content_type=_JSON_PATCH)

    async def annotate(
        self, kind: Kind, name: str, namespace: str | None, annotations: Mapping[str, str | None], *, uid: str
    ) -> Manifest:
        """Set (or with None remove) annotations of exactly the object ``uid``. Raises Conflict when it is another."""
        body = {"metadata": {"uid": uid, "annotations": dict(annotations)}}
        return await self._merge(kind, name, namespace, body)

    async def merge_patch(self, kind: Kind, name: str, namespace: str | None, body: Manifest) -> Manifest:
        """JSON merge patch, e.g. the series of an Event. Not for workloads and pods."""
        self._refuse_guarded(kind, name, "merge patch")
        return await self._merge(kind, name, namespace, body)

    async def serve(self, pod: str, namespace: str, *, uid: str) -> Manifest:
        """Put a pod into its Service again. The way back never needs a grant."""
        body = {"metadata": {"uid": uid, "labels": {labels.SERVING: "true"}}}
        return await self._merge(kinds.POD, pod, namespace, body)

    # -- disruptive writes -------------------------------------------------------------------------------------------
    async def delete(
        self, grant: Grant, *, propagation: str = "Background", grace_seconds: int | None = None
    ) -> Manifest:
        """DELETE with UID and resourceVersion as preconditions; gone already counts as Conflict or NotFound.

        ``grace_seconds`` None keeps the pod's own grace. Raises ValueError for 0: nothing is ever force-deleted (I1).
        """
        if grace_seconds is not None and grace_seconds < 1:
            raise ValueError(f"delete of {grant.target} with grace {grace_seconds}: force-deletion is never done (I1)")
        body: Manifest = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {"uid": grant.target.uid, "resourceVersion": grant.target.resource_version},
        }
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        self._of(grant, *_DELETES.get(grant.act, ()))
        return await self._granted(grant, tuple(Act(act) for act in _DELETES), "DELETE", body)

    async def scale(self, grant: Grant, replicas: int) -> Manifest:
        """Set ``spec.replicas`` of a StatefulSet or Deployment."""
        self._of(grant, kinds.STATEFUL_SET, kinds.DEPLOYMENT)
        if replicas < 0:
            raise ValueError(f"scale of {grant.target} to {replicas}: replicas are 0 or more")
        return await self._granted(grant, (Act.STOP,), "PATCH", {"spec": {"replicas": replicas}})

    async def disarm(self, grant: Grant) -> Manifest:
        """Set a StatefulSet's partition to 0: its controller may now replace the pod. Arming again is an apply."""
        self._of(grant, kinds.STATEFUL_SET)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
        return await self._granted(grant, (Act.DISARM,), "PATCH", {"spec": {"updateStrategy": strategy}})

    async def stop_serving(self, grant: Grant) -> Manifest:
        """Take a live pod out of its Service's selector; the pod itself goes on running."""
        self._of(grant, kinds.POD)
        return await self._granted(
            grant, (Act.SERVING_OFF,), "PATCH", {"metadata": {"labels": {labels.SERVING: "false"}}}
        )

    async def set_serving(self, grant: Grant, serving: bool) -> Manifest:
        """``stop_serving`` or, for the same target, ``serve``."""
        if not serving:
            return await self.stop_serving(grant)
        self._of(grant, kinds.POD)
        return await self.serve(grant.target.name, grant.target.namespace or "", uid=grant.target.uid)

    # -- inside ------------------------------------------------------------------------------------------------------
    async def _granted(self, grant: Grant, acts: tuple[Act, ...], method: str, body: Manifest) -> Manifest:
        if grant.act not in acts:
            raise GrantRequired(acts[0], str(grant.target), f"grant {grant.id} is for {grant.act}, not for this")
        target = grant.target
        query: dict[str, str] = {}
        if method == "PATCH":
            query = _strict(labels.FIELD_MANAGER)
            body.setdefault("metadata", {}).update(uid=target.uid, resourceVersion=target.resource_version)
        path = target.kind.path(namespace=target.namespace, name=target.name)
        content_type = _MERGE if method == "PATCH" else "application/json"
        return await self._write(method, path, body, query=query, content_type=content_type, grant=grant.id)

    async def _merge(self, kind: Kind, name: str, namespace: str | None, body: Manifest) -> Manifest:
        path = kind.path(namespace=namespace, name=name)
        return await self._write("PATCH", path, body, query=_strict(labels.FIELD_MANAGER), content_type=_MERGE)

    async def _write(
        self,
        method: str,
        path: str,
        body: object,
        *,
        query: Mapping[str, str],
        content_type: str = "application/json",
        grant: str | None = None,
    ) -> Manifest:
        return await self._connection.write(
            method, path, body, fence=self._fence, query=query, content_type=content_type, grant=grant
        )

    @staticmethod
    def _refuse_guarded(kind: Kind, name: str, why: str) -> None:
        if kind in GUARDED:
            raise GrantRequired(Act.STOP, f"{kind.kind} {name}", f"{why} would go round the review of disruption")

    @staticmethod
    def _of(grant: Grant, *allowed: Kind) -> None:
        if grant.target.kind not in allowed:
            names = " or ".join(kind.kind for kind in allowed) or "nothing that can be deleted"
            raise ValueError(f"grant {grant.id} ({grant.act}) is for {grant.target}: this act is for {names}")


def _strict(manager: str) -> dict[str, str]:
    return {"fieldManager": manager, "fieldValidation": "Strict"}


def _namespace(kind: Kind, manifest: Manifest) -> str | None:
    namespace = manifest["metadata"].get("namespace")
    return str(namespace) if kind.namespaced and namespace else None
