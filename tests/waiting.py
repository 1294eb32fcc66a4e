"""Waiting for what the API server shows, on a machine that may be slow and now and then stands still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from testbed.apiclient import ApiClient, ApiError

#: For what takes a second or two on an idle machine.
PATIENCE_S = 120.0


def comes_true(
    condition: Callable[[], object],
    seconds: float,
    *,
    pause: float = 0.05,
    forgiven: tuple[type[Exception], ...] = (ApiError, OSError),
) -> tuple[bool, str]:
    """Whether the condition holds before ``seconds`` are over, and if not, the last of the ``forgiven`` errors as text.

    An error of the API server is no answer, so it is asked again; and once more when the time is over, because a machine
    that stood still has not looked at anything.
    """
    deadline, over, last = time.monotonic() + seconds, False, ""
    while not over:
        over = time.monotonic() >= deadline
        try:
            if condition():
                return True, ""
        except forgiven as error:
            last = f" (last error: {str(error)[:2000]})"
        time.sleep(pause)
    return False, last


def eventually(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Waits until it holds; fails with ``what`` when it does not in time."""
    held, last = comes_true(condition, seconds)
    if not held:
        raise AssertionError(f"not within {seconds:.0f} s: {what}{last}")


def until_served(admin: ApiClient, crds: Iterable[dict[str, Any]]) -> None:
    """Until objects of these CRDs can be read and written, and discovery (which kubectl and helm ask) names them.

    The condition Established comes first: for a moment after it requests are answered with 404, or lists with 429.
    """
    for crd in crds:
        spec = crd["spec"]
        root, plural = f"/apis/{spec['group']}/{spec['versions'][0]['name']}", spec["names"]["plural"]

        def served(root: str = root, plural: str = plural) -> bool:
            admin.get(f"{root}/{plural}?limit=1")
            return plural in {resource["name"] for resource in admin.get(root)["resources"]}

        eventually(served, f"{plural} of {root} to be served")


def until_pods_may_be_made(admin: ApiClient, namespace: str) -> None:
    """Until the namespace has its default ServiceAccount: without it no pod is admitted, with a token or without."""
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    eventually(lambda: admin.exists(account), f"the default ServiceAccount of {namespace}")
