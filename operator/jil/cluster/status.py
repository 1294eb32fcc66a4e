"""Status writes: by server-side apply with a field manager of their own, and only when something differs.

Two managers share one status. ``jil-operator-status`` owns what a reconcile found out; ``jil-operator-samples`` owns
heights and lag, which change all the time and are written when the caller's interval is over, or at once when a threshold
is crossed. Each applies its full set, so a field that it leaves out disappears.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from jil.api import labels
from jil.api.kinds import Kind
from jil.cluster.client import Manifest
from jil.cluster.clock import Clock

_REMEMBERED = 20_000


class StatusClient(Protocol):
    """The part of the client that status needs."""

    async def apply_status(self, kind: Kind, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply of ``/status``."""


class StatusWriter:
    """``remember`` is called with every object that a write returned (the store's way in)."""

    def __init__(
        self,
        client: StatusClient,
        *,
        clock: Clock,
        remember: Callable[[Kind, Manifest], None] | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._remember = remember or (lambda kind, obj: None)
        # uid -> (when, the samples written).
        self._sampled: OrderedDict[str, tuple[float, Mapping[str, Any]]] = OrderedDict()

    async def write(self, kind: Kind, live: Manifest, status: Mapping[str, Any]) -> bool:
        """Make ``status`` the operator's part of the object's status; False when it is so already.

        ``live`` is the object with its status, as last seen. Lists and maps in ``status`` are compared as a whole.
        Raises NotFound when the object is gone, and what the client raises.
        """
        return await self._apply(kind, live, status, labels.STATUS_FIELD_MANAGER)

    async def sample(
        self, kind: Kind, live: Manifest, samples: Mapping[str, Any], *, interval: float, crossed: bool = False
    ) -> bool:
        """Write ``samples`` if they are due: the first, those after ``interval`` seconds, or now when a threshold was
        ``crossed``. What the object says already is not written."""
        uid, now = str(live["metadata"]["uid"]), self._clock.monotonic()
        last = self._sampled.get(uid)
        due = crossed or last is None or now - last[0] >= interval
        if not due:
            return False
        written = await self._apply(kind, live, samples, labels.SAMPLES_FIELD_MANAGER)
        self._sampled[uid] = (now, dict(samples))
        self._sampled.move_to_end(uid)
        while len(self._sampled) > _REMEMBERED:
            self._sampled.popitem(last=False)
        return written

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._sampled.pop(uid, None)

    async def _apply(self, kind: Kind, live: Manifest, status: Mapping[str, Any], manager: str) -> bool:
        if not differs(status, live, manager):
            return False
        metadata = {key: live["metadata"][key] for key in ("name", "namespace", "uid") if key in live["metadata"]}
        manifest = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "status": dict(status)}
        self._remember(kind, await self._client.apply_status(kind, manifest, manager=manager))
        return True


def differs(status: Mapping[str, Any], live: Mapping[str, Any], manager: str) -> bool:
    """Whether the live status lacks something of ``status``, or ``manager`` still owns what ``status`` leaves out."""
    stored = live.get("status") or {}
    if any(stored.get(name) != value for name, value in status.items()):
        return True
    return bool(_owned(live, manager) - status.keys())


def _owned(live: Mapping[str, Any], manager: str) -> set[str]:
    """Top-level status fields that ``manager`` owns (the store keeps these entries of managedFields)."""
    names: set[str] = set()
    for entry in (live.get("metadata") or {}).get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("subresource") == "status":
            tree = (entry.get("fieldsV1") or {}).get("f:status") or {}
            names |= {key.removeprefix("f:") for key in tree if key.startswith("f:")}
    return names
