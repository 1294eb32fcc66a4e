"""Fills the cache from the topic, follows the topic, and fills the cache again when it was emptied."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from redis.exceptions import RedisError

from jil.node.connect import topics
from jil.node.connect.broker import BrokerError
from jil.node.monitor import describe
from jil.node.rates.model import LONGEST_VALIDITY_SECONDS, TOPIC, Rate
from jil.node.rates.view import RateView
from jil.node.settings import BrokerSettings

log = logging.getLogger(__name__)

#: The topic keeps a rate a little longer than the longest validity; what is older can be forgotten.
TOPIC_CONFIG = {
    "cleanup.policy": "delete",
    "retention.ms": str((LONGEST_VALIDITY_SECONDS + 3600) * 1000),
    "segment.ms": str(3600 * 1000),
}
PARTITIONS = 1

#: How long one read collects messages: long at rest, short while the cache is being filled.
_POLL_SECONDS = 0.5
_FILL_SECONDS = 0.05
_LOOK_SECONDS = 2.0
_PAUSE_SECONDS = 1.0


def _now() -> datetime:
    return datetime.now(UTC)


class Keeper:
    """``filled``: whether the cache holds what the topic says; ``error``: why not."""

    def __init__(
        self,
        settings: BrokerSettings,
        view: RateView,
        *,
        client_id: str,
        redact: Callable[[str], str] = str,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._settings = settings
        self._view = view
        self._client_id = client_id
        self._redact = redact
        self._now = now
        self.filled = False
        self.error: str | None = "not filled yet: the program has just started"

    async def run(self) -> None:
        """Keep the cache filled, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(
                    topics.ensure_topic, self._settings, TOPIC, partitions=PARTITIONS, config=TOPIC_CONFIG
                )
                await self._follow()
                self.filled, self.error = False, "the cache was emptied; filling it again from the topic"
                log.warning("%s", self.error)
            except Exception as error:
                # A broker that is away stops what is new; a cache that is away may come back empty.
                self.filled = self.filled and isinstance(error, BrokerError)
                self.error = self._redact(describe(error))
                expected = isinstance(error, BrokerError | RedisError | OSError)
                log.warning(
                    "the cache does not follow the topic, trying again: %s",
                    self.error,
                    exc_info=None if expected else error,
                )
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow(self) -> None:
        """Apply the whole topic and what comes; returns when the cache turns out to have been emptied."""
        async with topics.reading(self._settings, client_id=self._client_id) as reader:
            await reader.from_beginning(TOPIC)
            applied, looked = False, time.monotonic()
            while True:
                wait = _POLL_SECONDS if reader.caught_up else _FILL_SECONDS
                for message in await reader.next(wait_seconds=wait):
                    await self._apply(message)
                if not reader.caught_up:
                    continue
                if not applied:
                    await self._view.mark_filled(now=self._now())
                    applied, self.filled, self.error = True, True, None
                elif time.monotonic() - looked > _LOOK_SECONDS:
                    looked = time.monotonic()
                    if not await self._view.is_filled():
                        return

    async def _apply(self, message: topics.Received) -> None:
        try:
            rate = Rate.model_validate_json(message.value)
        except ValidationError as error:
            where: dict[str, Any] = {"partition": message.position.partition, "offset": message.position.offset}
            log.error(
                "a message of %s is no rate and is passed over: %s", TOPIC, describe(error), extra={"fields": where}
            )
            return
        await self._view.apply(rate, now=self._now())
