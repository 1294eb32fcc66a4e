"""BreakGlass through the real operator, with its own token and all guards in force: in, out, and not twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from testbed.apiclient import ApiError
from tests.cluster.admission.conftest import Guarded, allow
from tests.cluster.admission.objects import ALLOWED, SPACE, image, path, pod
from tests.cluster.admission.operator import Operator

OPERATIONS = f"/apis/jil.io/v1alpha1/namespaces/{SPACE}/jiloperations"
DIGEST, SHORT = (f"sha256:{letter * 64}" for letter in ("e", "9"))


@pytest.fixture
def operator(guarded: Guarded) -> Iterator[Operator]:
    allow(guarded, SPACE, ALLOWED)
    made = Operator(guarded.cluster, "break-glass.log")
    made.start()
    yield made
    made.stop()


def admitted(guarded: Guarded, digest: str = DIGEST) -> bool:
    try:
        guarded.admin.create(f"{path('Pod', SPACE)}?dryRun=All", pod("broken-glass", image(digest)))
    except ApiError as error:
        if error.code != 403:
            raise
        return False
    return True


def wanted(name: str, digest: str, seconds: float) -> dict[str, Any]:
    until = (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
    return {
        "apiVersion": "jil.io/v1alpha1",
        "kind": "JILOperation",
        "metadata": {"name": name},
        "spec": {
            "type": "BreakGlass",
            "requestId": name.upper(),
            "requestedBy": "admin",
            "reason": "the signer is down",
            "breakGlass": {"digest": digest, "until": until.isoformat().replace("+00:00", "Z")},
        },
    }


def test_i6_a_broken_glass_opens_closes_in_time_and_never_opens_again(guarded: Guarded, operator: Operator) -> None:
    admin, body = guarded.admin, wanted("inc-1", DIGEST, 3600)

    def phase(name: str) -> str | None:
        found: str | None = admin.get(f"{OPERATIONS}/{name}").get("status", {}).get("phase")
        return found

    assert not admitted(guarded)
    admin.create(OPERATIONS, body)
    operator.eventually(lambda: admitted(guarded), "the digest to be let in")
    # By now the operator is at work, so this one is taken up long before its time is over.
    admin.create(OPERATIONS, wanted("inc-2", SHORT, 20))
    operator.eventually(lambda: admitted(guarded, SHORT), "the second digest to be let in")
    operator.eventually(lambda: phase("inc-1") == "Active", "the status to say so")
    events = f"/apis/events.k8s.io/v1/namespaces/{SPACE}/events"
    operator.eventually(
        lambda: any(e["reason"] == "BreakGlassOpen" and e["type"] == "Warning" for e in admin.get(events)["items"]),
        "the Event",
    )

    # Ended early by its deletion, and the same command applied again by Git: it ran.
    admin.delete(f"{OPERATIONS}/inc-1")
    operator.eventually(lambda: not admitted(guarded), "the glass to be whole")
    admin.create(OPERATIONS, body)
    operator.eventually(lambda: phase("inc-1") == "Succeeded", "the second object to be told that it ran")
    assert not admitted(guarded)
    conditions = admin.get(f"{OPERATIONS}/inc-1")["status"]["conditions"]
    assert {c["type"]: c["reason"] for c in conditions} == {"SpecValid": "Valid", "Ready": "AlreadyRan"}

    operator.eventually(lambda: not admitted(guarded, SHORT), "the second glass to be whole when its time is over")
    operator.eventually(lambda: phase("inc-2") == "Succeeded", "the status to say so")
    for name in ("inc-1", "inc-2"):
        admin.delete(f"{OPERATIONS}/{name}")
