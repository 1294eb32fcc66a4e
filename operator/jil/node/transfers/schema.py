"""Brings the database's schema to what this program needs, at its start, until it succeeds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from jil.node import events, migration
from jil.node.monitor import describe
from jil.node.settings import DatabaseSettings

log = logging.getLogger(__name__)

CHAINS = (
    # The outbox belongs to the node, not to this service: its sequence counts the events of all services of the node.
    migration.Migrations("events", Path(events.__file__).parent / "migrations"),
    migration.Migrations("ledger", Path(__file__).parent / "migrations"),
)

_LONGEST_PAUSE = 10.0


class Schema:
    """Whether the schema is in place, and what keeps it from being so."""

    def __init__(
        self,
        upgrade: Callable[[], Mapping[str, str]],
        *,
        redact: Callable[[str], str] = str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._upgrade = upgrade
        self._redact = redact
        self._sleep = sleep
        self.revisions: Mapping[str, str] = {}
        self.error: str | None = "not looked at yet: the program has just started"

    @property
    def ready(self) -> bool:
        return self.error is None

    async def prepare(self) -> None:
        """Try with growing pauses until it is done; a database that is not up yet is no reason to crash."""
        pause = 0.5
        while True:
            try:
                self.revisions = await asyncio.to_thread(self._upgrade)
            except Exception as error:
                # SQLAlchemy wraps the driver's error in text about itself; the driver's says what happened.
                self.error = self._redact(describe(getattr(error, "orig", None) or error))
                expected = isinstance(error, SQLAlchemyError | migration.MigrationError)
                log.warning(
                    "schema not ready, trying again in %g s: %s",
                    pause,
                    self.error,
                    exc_info=None if expected else error,
                )
                await self._sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
            else:
                self.error = None
                return


def upgrade(settings: DatabaseSettings, *, application: str) -> Mapping[str, str]:
    """Migrate both schemas; blocks."""
    return migration.upgrade(settings, CHAINS, application=application)
