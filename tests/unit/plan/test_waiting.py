"""What a node waits for has a deadline where it should end by itself, and none where it takes what it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jil.api.conditions import Reason
from jil.plan.waiting import LIMITS, deadline

SINCE = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("reason", sorted(LIMITS))
def test_a_wait_that_should_end_by_itself_has_a_deadline(reason: str) -> None:
    assert deadline(reason, SINCE) == SINCE + LIMITS[reason]


@pytest.mark.parametrize(
    "reason",
    [
        Reason.WAITING_FOR_GRANT,
        Reason.DELETION_BLOCKED,
        Reason.WAITING_FOR_RECORDS,
        Reason.CATCHING_UP,
        Reason.KEY_LOST,
    ],
)
def test_a_wait_without_limit_has_none(reason: Reason) -> None:
    assert deadline(reason, SINCE) is None


def test_every_wait_leaves_an_ordinary_start_its_time() -> None:
    assert min(LIMITS.values()) >= timedelta(minutes=5)
