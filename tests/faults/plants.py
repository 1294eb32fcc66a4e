"""Bugs that are planted into an operator's life, to see whether the harness finds them. Never part of the product.

Each is a mistake that operators are known to make. It is put in by patching the imported modules of the one process
that is about to run (``Lives.begin(plant=...)``), and says which points and trials have to notice it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Plant:
    """``put_in`` patches the operator. ``noticed_by``: points (by what they are about where the index counts) and trials, in
    the order in which they are tried; one of them must fail, with words that the pattern ``because`` finds."""

    name: str
    what: str
    put_in: Callable[[], None]
    noticed_by: Sequence[str]
    because: str


def _skipped_grant() -> None:
    from jil.cluster.disruption import Gate
    from jil.cluster.grant import _issue

    async def request(self: Any, disruption: Any, facts: Any, *, ledger_existed: bool) -> Any:
        return _issue(f"g-{secrets.token_hex(8)}", disruption.act, disruption.target)

    Gate.request = request  # type: ignore[method-assign]


def _act_before_its_ledger() -> None:
    from jil.cluster.ledger import LedgerStore

    write = LedgerStore.write

    async def pretend(self: Any, stored: Any, ledger: Any) -> Any:
        if len(ledger.open) > len(stored.ledger.open):
            return replace(stored, ledger=ledger)
        return await write(self, stored, ledger)

    LedgerStore.write = pretend  # type: ignore[method-assign]


def _no_preconditions() -> None:
    from jil.cluster.client import KubeClient

    granted = KubeClient._write

    async def write(self: Any, method: str, path: str, body: Any, **rest: Any) -> Any:
        if rest.get("grant") and isinstance(body, dict):
            body = {key: value for key, value in body.items() if key != "preconditions"}
            if "metadata" in body:
                kept = {k: v for k, v in body["metadata"].items() if k not in ("uid", "resourceVersion")}
                body["metadata"] = kept
        return await granted(self, method, path, body, **rest)

    KubeClient._write = write  # type: ignore[method-assign]


def _key_regenerated() -> None:
    from jil.cluster import identity
    from jil.cluster.keys import generate

    async def restore(client: Any, request: Any, role: Any, name: str, recorded: str) -> Any:
        extra: dict[str, str] = {}
        return await identity._post(
            client, identity._secret(name, request.system_namespace, generate(role), request.cluster_uid, extra)
        )

    identity._restore_master = restore


def _forgotten_requeue() -> None:
    from jil.engine.queue import WorkQueue

    def retry(self: Any, key: Any, *, at_least: float = 0.0) -> float:
        return 1.0

    WorkQueue.retry = retry  # type: ignore[method-assign]


def _status_is_truth() -> None:
    from jil.api import kinds
    from jil.controller.node import NodeReconciler
    from jil.engine.outcome import Result

    work = NodeReconciler.__call__
    reached = {"Running": "Ready", "Stopped": "Stopped"}

    async def believe(self: Any, key: Any) -> Any:
        raw = self._deps.store.get(kinds.JIL_NODE, key.namespace or "", key.name) or {}
        phase = (raw.get("status") or {}).get("phase")
        wanted = reached.get((raw.get("spec") or {}).get("state", "Running"))
        if phase == wanted and not raw["metadata"].get("deletionTimestamp"):
            return Result()
        return await work(self, key)

    NodeReconciler.__call__ = believe  # type: ignore[method-assign]


def _bootstrapped_by_status() -> None:
    """A node whose status is empty is taken for one that never signed."""
    permits: Any = import_module("jil.controller.permits")
    decide = permits.decide_permit

    def forget(record: Any, pod: Any, volume: Any, **rest: Any) -> Any:
        if record.permit is None or record.permit.pod_uid != pod.uid:
            record = replace(record, bootstrapped=False, permit=None, highest_signed_height=0)
        return decide(record, pod, volume, **rest)

    permits.decide_permit = forget


def _double_create() -> None:
    """A child is named by the process that makes it, so each life makes its own; at rest the other one is tidied away."""
    from jil.render import node as render_node

    objects, suffix = render_node.objects, secrets.token_hex(4)

    def twice(ctx: Any) -> Any:
        rendered = objects(ctx)
        one = next(o for o in rendered if o["kind"] == "Service" and "serviceName" not in o["spec"])
        again = {**one, "metadata": {**one["metadata"], "name": f"{one['metadata']['name'][:40]}-{suffix}"}}
        return [*rendered, again]

    render_node.objects = twice


def _lost_record_write() -> None:
    from jil.cluster.record import RecordStore

    change = RecordStore.change

    async def forget(self: Any, record: Any, **fields: Any) -> Any:
        if "permit" in fields:
            return record.model_copy(update={"spec": record.spec.model_copy(update=fields)})
        return await change(self, record, **fields)

    RecordStore.change = forget  # type: ignore[method-assign]


def _permit_before_record() -> None:
    """The pod is let start first, and written down afterwards."""
    import json

    from jil.api import kinds, labels
    from jil.controller.permits import Permits

    issue = Permits._issue

    async def hasty(self: Any, ctx: Any, record: Any, pod: Any, answer: Any) -> Any:
        meta = pod["metadata"]
        value = {"podUID": meta["uid"], "mode": answer.mode.value, "minHeight": answer.min_height}
        text = json.dumps(value, separators=(",", ":"), sort_keys=True)
        annotations = {labels.START_PERMIT: text}
        await self._deps.client.annotate(kinds.POD, meta["name"], ctx.namespace, annotations, uid=meta["uid"])
        return await issue(self, ctx, record, pod, answer)

    Permits._issue = hasty  # type: ignore[method-assign]


def _force_takeover() -> None:
    from jil.cluster.apply import Applier
    from jil.cluster.errors import NotFound

    async def read(self: Any, kind: Any, intent: Any) -> Any:
        try:
            return await self._client.get(kind, intent["metadata"]["name"], intent["metadata"].get("namespace"))
        except NotFound:
            return None

    Applier._read = read  # type: ignore[method-assign]


def _permit_given_twice() -> None:
    """A pod that vanished is taken for one that ended."""
    from jil.plan.permit import Guard, PodEnd, Predecessor

    permits: Any = import_module("jil.controller.permits")
    look = permits.Permits._predecessor

    def ended(self: Any, ctx: Any, uid: str, current: str, told: Any) -> Any:
        found = look(self, ctx, uid, current, told)
        if found is not None and found.end is PodEnd.VANISHED:
            return Predecessor(PodEnd.TERMINATED, Guard.PASSED)
        return found

    permits.Permits._predecessor = ended


def _ignored_fence() -> None:
    """Only the election itself ends the work of a leader that was deposed, and it learns of that a second late: its writes
    have that long, and do not race with its request to renew."""
    from jil.cluster.lease import LeaderElector
    from jil.engine.runtime import Runtime

    renew = LeaderElector._try_renew
    resumed = asyncio.Event()

    async def late(self: LeaderElector, held: Any) -> str | None:
        if resumed.is_set():
            await asyncio.sleep(1)
        return await renew(self, held)

    LeaderElector.fence = lambda self: None  # type: ignore[method-assign]
    LeaderElector._try_renew = late  # type: ignore[method-assign]
    Runtime._resumed = lambda self, *_: resumed.set()  # type: ignore[method-assign]


def _finalizer_first() -> None:
    """The hold on a deleted node is let go before its children are down: a crash leaves them to nobody."""
    from jil.controller import finalizer
    from jil.controller.node import NodeReconciler

    down = NodeReconciler._take_down

    async def hasty(self: Any, node: Any, subject: Any, workloads: Any) -> Any:
        if len(workloads) <= 2:
            await finalizer.remove(self._deps.client, node)
        return await down(self, node, subject, workloads)

    NodeReconciler._take_down = hasty  # type: ignore[method-assign]


def _never_at_rest() -> None:
    from jil.controller.node import NodeReconciler
    from jil.engine.outcome import Result

    status: Any = import_module("jil.cluster.status")
    status.differs = lambda wanted, live, manager: True
    work = NodeReconciler.__call__

    async def at_once(self: Any, key: Any) -> Any:
        await work(self, key)
        return Result(requeue_after=0.3)

    NodeReconciler.__call__ = at_once  # type: ignore[method-assign]


def _lost_grant() -> None:
    """An open grant is forgotten as soon as another write to the ledger is made."""
    from jil.cluster.ledger import Ledger

    sealed = Ledger.sealed

    def forget(self: Any, leader: Any) -> Any:
        found = sealed(self, leader)
        return found if found is self else found._with(open=())

    Ledger.sealed = forget  # type: ignore[method-assign]


def _deaf_to_deletions() -> None:
    """What is deleted by others is never heard of, nor looked for."""
    from jil.engine.store import Store

    Store.remove = lambda self, kind, obj, **rest: False  # type: ignore[method-assign]


PLANTS: dict[str, Plant] = {
    plant.name: plant
    for plant in (
        Plant(
            "skipped-grant",
            "an act is carried out under a grant that no ledger has",
            _skipped_grant,
            ["crash/stop/9"],
            "stands in no ledger",
        ),
        Plant(
            "act-before-its-ledger",
            "a grant is handed out before it is written down",
            _act_before_its_ledger,
            ["crash/stop/9"],
            "stands in no ledger",
        ),
        Plant(
            "no-preconditions",
            "disruptive requests name no version",
            _no_preconditions,
            ["crash/stop/9"],
            "not both preconditions",
        ),
        Plant(
            "lost-grant",
            "a new leader forgets who is away by plan",
            _lost_grant,
            ["crash/stop/12", "crash/stop/20"],
            "is gone from the ledger",
        ),
        Plant(
            "key-regenerated",
            "a lost key is made anew",
            _key_regenerated,
            ["key-is-lost"],
            "the loss to be told|made anew",
        ),
        Plant(
            "forgotten-requeue",
            "what failed is not tried again",
            _forgotten_requeue,
            ["answer-500/stop/ledger", "answer-500/delete/let-go"],
            "Status struck: waited .* s for",
        ),
        Plant(
            "status-is-truth",
            "a node whose status says that it is where it should be is not looked at",
            _status_is_truth,
            ["status-lies", "children-vanish"],
            "whatever its status says|to come back",
        ),
        Plant(
            "bootstrapped-by-status",
            "a node that was deleted and applied again may make a new sign state",
            _bootstrapped_by_status,
            ["crash/re-apply/9"],
            "had the right to start already",
        ),
        Plant(
            "double-create",
            "each life of the operator makes a child of its own",
            _double_create,
            ["crash/start/5"],
            "(create|delete) services",
        ),
        Plant(
            "lost-record-write",
            "a permit is not written down",
            _lost_record_write,
            ["crash/start/5"],
            "no record names pod",
        ),
        Plant(
            "permit-before-record",
            "a pod is let start before that is written down",
            _permit_before_record,
            ["crash/start/5"],
            "no record names pod|after the permit was sent",
        ),
        Plant(
            "permit-given-twice",
            "a vanished pod counts as ended",
            _permit_given_twice,
            ["pod-vanishes"],
            "was let start",
        ),
        Plant(
            "force-takeover",
            "an object of somebody else is taken over",
            _force_takeover,
            ["name-is-taken"],
            "nobody gave it to the operator|no longer what its maker made|taken name to be told",
        ),
        Plant(
            "ignored-fence",
            "a leader that lost its lease goes on writing",
            _ignored_fence,
            ["two-leaders/re-apply/workload", "two-leaders/re-apply/service", "two-leaders/bring-up/workload"],
            "deposed leader sent|holds the lease",
        ),
        Plant(
            "finalizer-first",
            "a deleted node is let go before it is down",
            _finalizer_first,
            ["crash/delete/let-go"],
            "is there, and without the fault it is not",
        ),
        Plant(
            "never-at-rest",
            "the same status is written again and again",
            _never_at_rest,
            ["crash/stop/9"],
            "does not come to rest|writes at rest",
        ),
        Plant(
            "deaf-to-deletions",
            "what others delete is never noticed",
            _deaf_to_deletions,
            ["children-vanish"],
            "to come back",
        ),
    )
}
