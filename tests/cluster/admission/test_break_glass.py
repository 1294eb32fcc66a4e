"""BreakGlass through the real operator, with its own token and all guards in force: in, out, and not twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cluster.admission.conftest import Guarded, allow
from tests.cluster.admission.objects import ALLOWED, SPACE, admitted, image, pod
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


def let_in(guarded: Guarded, digest: str = DIGEST) -> bool:
    return admitted(guarded.admin, SPACE, pod("broken-glass", image(digest)))


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


def opened_for_a_while(guarded: Guarded) -> str:
    """Breaks the glass for SHORT; returns the operation whose time is running.

    For seconds only, because the test waits for the end. On a machine that stood still for all of that time the operator
    has rightly let nothing in, and another one is given more.
    """
    for seconds in (20, 60, 180):
        name, over = f"inc-2-{seconds}", time.monotonic() + seconds
        guarded.admin.create(OPERATIONS, wanted(name, SHORT, seconds))
        while time.monotonic() < over:
            if let_in(guarded, SHORT):
                return name
            time.sleep(0.05)
    raise AssertionError("the second digest was not let in within three minutes")


def test_i6_a_broken_glass_opens_closes_in_time_and_never_opens_again(guarded: Guarded, operator: Operator) -> None:
    admin, body = guarded.admin, wanted("inc-1", DIGEST, 3600)

    def phase(name: str) -> str | None:
        found: str | None = admin.get(f"{OPERATIONS}/{name}").get("status", {}).get("phase")
        return found

    def reasons(name: str) -> dict[str, str]:
        conditions = admin.get(f"{OPERATIONS}/{name}").get("status", {}).get("conditions", [])
        return {c["type"]: c["reason"] for c in conditions}

    assert not let_in(guarded)
    admin.create(OPERATIONS, body)
    operator.eventually(lambda: let_in(guarded), "the digest to be let in")
    short = opened_for_a_while(guarded)
    operator.eventually(lambda: phase("inc-1") == "Active", "the status to say so")
    events = f"/apis/events.k8s.io/v1/namespaces/{SPACE}/events"
    operator.eventually(
        lambda: any(e["reason"] == "BreakGlassOpen" and e["type"] == "Warning" for e in admin.get(events)["items"]),
        "the Event",
    )

    # Ended early by its deletion, and the same command applied again by Git: it ran.
    admin.delete(f"{OPERATIONS}/inc-1")
    operator.eventually(lambda: not let_in(guarded), "the glass to be whole")
    admin.create(OPERATIONS, body)
    operator.eventually(lambda: phase("inc-1") == "Succeeded", "the second object to be told that it ran")
    assert not let_in(guarded)
    assert reasons("inc-1") == {"SpecValid": "Valid", "Ready": "AlreadyRan"}

    what = "the second glass to be whole when its time is over"
    operator.eventually(lambda: not let_in(guarded, SHORT), what, 240)
    operator.eventually(lambda: phase(short) == "Succeeded", "the status to say so")
    admin.delete(OPERATIONS)
