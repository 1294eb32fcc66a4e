"""Wiring, and only wiring: which kinds are watched, which reconciler sees which, what runs beside them."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from jil.api import kinds, labels
from jil.api.operation import OperationType
from jil.cluster.allowlist import AllowLists
from jil.cluster.claim import Claims
from jil.cluster.disruption import Gate
from jil.cluster.errors import ServerUnavailable, TooManyRequests
from jil.cluster.ledger import Leadership
from jil.cluster.record import RecordStore
from jil.controller.departed import Departed
from jil.controller.deps import Deps
from jil.controller.jil_routes import CHILD_KINDS, JilRoutes
from jil.controller.jurisdiction import JurisdictionReconciler
from jil.controller.network import NetworkReconciler
from jil.controller.node import NodeReconciler
from jil.controller.node_pull_login import NodePullLogin, nodes_by_login
from jil.controller.operation import Handler, OperationReconciler
from jil.controller.operation_break_glass import BreakGlassHandler
from jil.controller.operation_confirm import AdoptVolumeHandler, ConfirmFencingHandler
from jil.controller.pod_ends import PodEnds
from jil.controller.release import ReleaseReconciler
from jil.controller.release_trust import ReleaseTrust, namespaces_of, nodes_by_trust
from jil.controller.release_verdicts import Verdicts
from jil.engine.queue import Key
from jil.engine.runtime import Runtime
from jil.engine.settings import Settings
from jil.engine.store import Store
from jil.engine.watch import WatchSpec
from jil.observe.health import HealthPoller
from jil.observe.lines import Lines, NodeKey
from jil.observe.registry import Access, Credentials, RegistryClient
from jil.render.platform import Platform

log = logging.getLogger(__name__)


def watches(system_namespace: str) -> list[WatchSpec]:
    """Ours, our children by label, namespaces and machines. Never Secrets."""
    return [
        WatchSpec(kinds.JIL_NETWORK),
        WatchSpec(kinds.JIL_RELEASE),
        WatchSpec(kinds.JIL_JURISDICTION),
        WatchSpec(kinds.JIL_NODE),
        WatchSpec(kinds.JIL_NODE_RECORD, namespace=system_namespace),
        WatchSpec(kinds.JIL_OPERATION),
        WatchSpec(kinds.JIL_IMAGE_ALLOW_LIST),
        WatchSpec(kinds.NAMESPACE),
        WatchSpec(kinds.NODE),
        *(WatchSpec(kind, labels.children_selector(), child=True) for kind in CHILD_KINDS),
    ]


def health_url(template: str, store: Store) -> Callable[[str, str], str | None]:
    """``{namespace}`` and ``{name}`` of the JILNode filled in, and ``{address}``: the cluster IP of its health Service.

    By address and not by name, and only while the Service exists: a name is cached for half a minute, and the address of
    a Service that is gone leads out of the cluster, to whoever answers there.
    """

    def url(namespace: str, name: str) -> str | None:
        if "{address}" not in template:
            return template.format(namespace=namespace, name=name)
        service = store.get(kinds.SERVICE, namespace, labels.child_name(name, labels.Component.HEALTH))
        address = str(((service or {}).get("spec") or {}).get("clusterIP") or "")
        if service is None or not address or service["metadata"].get("deletionTimestamp"):
            return None
        return template.format(namespace=namespace, name=name, address=f"[{address}]" if ":" in address else address)

    return url


def registry_access(settings: Settings) -> Access:
    """How registries are reached, by the settings. Raises OSError and ValueError for files that cannot be read."""
    config = Path(settings.registry_config).read_bytes() if settings.registry_config else None
    return Access(
        Credentials.from_docker_config(config) if config is not None else Credentials(),
        ca=Path(settings.registry_ca).read_text() if settings.registry_ca else None,
        endpoints=settings.registry_endpoints,
    )


def expected_node_id(store: Store, key: NodeKey) -> str | None:
    """Who is meant to answer at a node's health endpoint; None when its JILNode does not exist, or does not say."""
    node = store.get(kinds.JIL_NODE, *key) or {}
    found = (node.get("spec") or {}).get("nodeId")
    return str(found) if found else None


def health_pods(store: Store, key: NodeKey) -> str:
    """Who answers at a node's health endpoint: the UIDs of its pods there."""
    pods = store.children(kinds.POD, *key)
    ours = [
        pod["metadata"]
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(labels.APP_NAME) == labels.Component.HEALTH
    ]
    return " ".join(f"{meta['uid']}{'-' if meta.get('deletionTimestamp') else ''}" for meta in ours)


def _most_lines() -> int:
    """A quarter of the files that the process may have open; the API server's connections and all else need some too."""
    return min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)


async def read_cluster_uid(runtime: Runtime) -> str:
    """UID of namespace kube-system. An API server that is away at our start is waited for, as it is later."""
    pause = 0.5
    while True:
        try:
            found: str = (await runtime.client.get(kinds.NAMESPACE, "kube-system"))["metadata"]["uid"]
            return found
        except (ServerUnavailable, TooManyRequests) as error:
            log.warning("the API server does not answer yet, next try in %.1f s: %s", pause, error)
            await asyncio.sleep(max(pause, error.retry_after or 0.0))
            pause = min(10.0, pause * 2)


async def run(settings: Settings) -> int:
    """The operator, until it is told to end; returns the process's exit code."""
    # For whoever decides on an answer: behind a cluster IP, an open connection stays with whom it reached first.
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        Runtime(settings, watches(settings.system_namespace)) as runtime,
        aiohttp.ClientSession(connector=connector, trust_env=False) as session,
        AsyncExitStack() as stack,
    ):

        def leadership() -> Leadership:
            return Leadership(runtime.elector.identity, runtime.elector.fencing)

        def look_again(key: NodeKey) -> None:
            runtime.queue.add(Key(kinds.JIL_NODE.kind, *key))

        cluster_uid = await read_cluster_uid(runtime)
        lines = Lines(
            who=lambda key: health_pods(runtime.store, key), clock=runtime.clock.monotonic, limit=_most_lines()
        )
        health = HealthPoller(
            session=session,
            lines=(lines, await stack.enter_async_context(lines.session())),
            now=runtime.clock.now,
            clock=runtime.clock.monotonic,
            on_change=look_again,
            url=health_url(settings.health_url, runtime.store),
            expects=lambda key: expected_node_id(runtime.store, key),
            interval=settings.health_interval,
        )
        deps = Deps(
            client=runtime.client,
            store=runtime.store,
            applier=runtime.applier,
            events=runtime.events,
            statuses=runtime.statuses,
            records=RecordStore(runtime.client, settings.system_namespace, remember=runtime.store.put),
            gate=Gate(
                runtime.client,
                system_namespace=settings.system_namespace,
                clock=runtime.clock,
                leadership=leadership,
            ),
            health=health,
            clock=runtime.clock,
            pod_ends=PodEnds(),
            system_namespace=settings.system_namespace,
            cluster_uid=cluster_uid,
            orphan_grace=settings.orphan_grace,
            platform=Platform(
                settings.image_mirror,
                settings.image_pull_secrets,
                settings.priority_classes,
                node_logins=settings.node_login_registry is not None,
            ),
        )
        networks = NetworkReconciler(deps, Departed(deps).release)
        allow_lists = AllowLists(
            runtime.client,
            seen=lambda namespace: runtime.store.get(kinds.JIL_IMAGE_ALLOW_LIST, None, namespace),
            remember=runtime.store.put,
        )
        claims = Claims(
            runtime.client,
            settings.system_namespace,
            seen=lambda name: runtime.store.get(kinds.CONFIG_MAP, settings.system_namespace, name),
            remember=runtime.store.put,
        )
        registry = await stack.enter_async_context(RegistryClient(registry_access(settings)))
        verdicts = Verdicts(
            registry, allow_lists, runtime.clock, namespaces=lambda network: namespaces_of(runtime.store, network)
        )
        trust = ReleaseTrust(deps, verdicts, allow_lists)
        logins = NodePullLogin(deps, settings)
        nodes = NodeReconciler(deps, trust, logins)
        runtime.metrics.show_trust(lambda: nodes_by_trust(runtime.store))
        runtime.metrics.show_pull_logins(lambda: nodes_by_login(runtime.store))
        handlers: dict[OperationType, Handler] = {
            OperationType.CONFIRM_FENCING: ConfirmFencingHandler(deps),
            OperationType.ADOPT_VOLUME: AdoptVolumeHandler(deps),
        }
        break_glass = handlers[OperationType.BREAK_GLASS] = BreakGlassHandler(runtime.store, allow_lists, runtime.clock)

        async def on_lead(fencing: int) -> None:
            await networks.lead(fencing)
            await break_glass.lead()

        routes = JilRoutes(runtime.store, system_namespace=settings.system_namespace, pod_seen=deps.pod_ends.saw)
        return await runtime.run(
            {
                kinds.JIL_NETWORK.kind: networks,
                kinds.JIL_RELEASE.kind: ReleaseReconciler(deps, verdicts, trust, allow_lists),
                kinds.JIL_JURISDICTION.kind: JurisdictionReconciler(deps),
                kinds.JIL_NODE.kind: nodes,
                kinds.JIL_OPERATION.kind: OperationReconciler(deps, claims, handlers),
            },
            routes.table(),
            on_lead=on_lead,
            background=[health.run, lambda: nodes.orphans.search(runtime.queue.add)],
        )
