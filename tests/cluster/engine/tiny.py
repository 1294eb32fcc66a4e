"""A complete operator in miniature: the real runtime, a reconciler of a dozen lines. Run as a process by the tests.

It watches ConfigMaps with the label ``tiny=intent``. Each makes a StatefulSet and a Deployment of its name; one with
``data.beat`` is besides written to ten times a second, with who wrote and the fencing number: what a deposed leader must
not do. ``JIL_*`` are the operator's own settings; ``TINY_NAMESPACE`` is the namespace.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from jil.api import kinds, labels
from jil.engine.logs import configure
from jil.engine.outcome import Result
from jil.engine.queue import Key
from jil.engine.routes import all_of, to_itself
from jil.engine.runtime import Runtime
from jil.engine.settings import Settings
from jil.engine.store import Change
from jil.engine.watch import WatchSpec

SELECTOR = "tiny=intent"
CHILDREN = (kinds.STATEFUL_SET, kinds.DEPLOYMENT)


def watches(namespace: str) -> list[WatchSpec]:
    """The ConfigMaps and what is made of them."""
    return [
        WatchSpec(kinds.CONFIG_MAP, SELECTOR, namespace),
        *(WatchSpec(kind, labels.children_selector(), namespace, child=True) for kind in CHILDREN),
    ]


def to_its_intent(change: Change) -> list[Key]:
    """A child has the name of its ConfigMap."""
    metadata = change.object["metadata"]
    return [Key("ConfigMap", metadata["namespace"], metadata["name"])]


ROUTES = {kinds.CONFIG_MAP: all_of(to_itself), **dict.fromkeys(CHILDREN, to_its_intent)}


def statefulset(namespace: str, name: str, image: str = "registry.invalid/a:1", **spec: Any) -> dict[str, Any]:
    """An armed StatefulSet of one."""
    return {
        **kinds.STATEFUL_SET.head(name, namespace),
        "metadata": {"name": name, "namespace": namespace, "labels": {labels.APP_MANAGED_BY: labels.MANAGED_BY}},
        "spec": {
            "replicas": 1,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
            "template": _template(name, image),
            **spec,
        },
    }


def deployment(namespace: str, name: str, image: str = "registry.invalid/a:1") -> dict[str, Any]:
    """A Deployment of one."""
    return {
        **kinds.DEPLOYMENT.head(name, namespace),
        "metadata": {"name": name, "namespace": namespace, "labels": {labels.APP_MANAGED_BY: labels.MANAGED_BY}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": f"{name}-d"}},
            "template": _template(f"{name}-d", image),
        },
    }


def _template(app: str, image: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "args": ["run"],
        "env": [{"name": "A", "value": "1"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]},
    }


class Tiny:
    """The reconciler."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, key: Key) -> Result:
        runtime = self._runtime
        live = runtime.store.get(kinds.CONFIG_MAP, key.namespace, key.name)
        if live is None or live["metadata"].get("deletionTimestamp"):
            return Result()
        data, namespace = live.get("data") or {}, str(key.namespace)
        if "beat" in data:
            return await self._beat(live)
        for intent in (
            statefulset(namespace, key.name, data.get("image", "registry.invalid/a:1")),
            deployment(namespace, key.name),
        ):
            kind = kinds.kind_of(intent)
            await runtime.applier.ensure(intent, runtime.store.get(kind, namespace, key.name))
        return Result()

    async def _beat(self, live: dict[str, Any]) -> Result:
        runtime, metadata = self._runtime, live["metadata"]
        body = {"data": {"writer": runtime.elector.identity, "fencing": str(runtime.elector.fencing)}}
        await runtime.client.merge_patch(
            kinds.CONFIG_MAP,
            metadata["name"],
            metadata["namespace"],
            body | {"metadata": {"annotations": {"tiny/at": runtime.clock.now().isoformat()}}},
        )
        return Result(requeue_after=0.1)


async def main() -> int:
    """Run until SIGTERM."""
    settings = Settings()
    configure(settings.log_level)
    async with Runtime(settings, watches(os.environ["TINY_NAMESPACE"])) as runtime:
        return await runtime.run({"ConfigMap": Tiny(runtime)}, ROUTES)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
