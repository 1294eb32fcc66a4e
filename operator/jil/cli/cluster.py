"""What jilctl reads and writes in a cluster: networks, releases, and Secrets with keys. Through the person's kubeconfig."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jil.api import kinds, labels
from jil.cli.exits import Exit, Stop


@dataclass(frozen=True)
class Choice:
    """Which cluster: a kubeconfig (None: the usual one) and a context of it (None: the current one)."""

    kubeconfig: str | None = None
    context: str | None = None


def custom(choice: Choice, plural: str, name: str) -> dict[str, Any]:
    """A cluster-scoped object of ours. Raises Stop (UNKNOWN), or (USAGE) when it is not there."""
    api = _client(choice)
    from kubernetes import client

    found = _call(
        lambda: client.CustomObjectsApi(api).get_cluster_custom_object(labels.GROUP, labels.VERSION, plural, name),
        f"{plural} {name}",
    )
    return dict(found)


def network(choice: Choice, name: str) -> dict[str, Any]:
    """A JILNetwork."""
    return custom(choice, kinds.JIL_NETWORK.plural, name)


def release(choice: Choice, name: str) -> dict[str, Any]:
    """A JILRelease."""
    return custom(choice, kinds.JIL_RELEASE.plural, name)


def secret(choice: Choice, namespace: str, name: str) -> Mapping[str, bytes]:
    """The entries of a Secret, decoded."""
    api = _client(choice)
    from kubernetes import client

    found = _call(lambda: client.CoreV1Api(api).read_namespaced_secret(name, namespace), f"Secret {namespace}/{name}")
    return {entry: base64.b64decode(text) for entry, text in (found.data or {}).items()}


def create_secret(choice: Choice, namespace: str, name: str, entry: str, content: bytes) -> None:
    """A new, immutable Secret. Stop (KEY): one of that name is there, and keys are never overwritten."""
    api = _client(choice)
    from kubernetes import client

    body = client.V1Secret(
        metadata=client.V1ObjectMeta(name=name, namespace=namespace),
        data={entry: base64.b64encode(content).decode()},
        type="Opaque",
        immutable=True,
    )
    _call(lambda: client.CoreV1Api(api).create_namespaced_secret(namespace, body), f"Secret {namespace}/{name}")


def _client(choice: Choice) -> Any:
    from kubernetes import client, config

    try:
        # Named here because the library reads the variable once, when it is imported.
        path = choice.kubeconfig or os.environ.get("KUBECONFIG")
        return config.new_client_from_config(path, choice.context)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        why = str(error)[:200]
    try:
        inside = client.Configuration()
        config.load_incluster_config(inside)  # type: ignore[no-untyped-call]
        return client.ApiClient(inside)
    except config.ConfigException:
        raise Stop(
            f"no cluster to ask: {why}; give --kubeconfig and --context, or a file instead of a name", Exit.USAGE
        ) from None


def _call(ask: Any, what: str) -> Any:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return ask()
    except ApiException as error:
        if error.status == 404:
            raise Stop(f"{what}: not in this cluster; is it the right context?", Exit.USAGE) from None
        if error.status == 409:
            raise Stop(f"{what} is there already: keys are never overwritten, choose another name", Exit.KEY) from None
        if error.status in (401, 403):
            raise Stop(f"{what}: this user may not do that in this cluster ({error.status})", Exit.UNKNOWN) from None
        raise Stop(f"{what}: the API server answers {error.status} {error.reason}", Exit.UNKNOWN) from None
    except (HTTPError, OSError) as error:
        raise Stop(f"{what}: the API server cannot be reached ({type(error).__name__})", Exit.UNKNOWN) from None
