"""The rates in the node's Redis: one hash per pair, gone when the rate expires.

Several writers apply the same topic at their own pace (each replica of the service, and each request its own quote).
The later quote wins whatever the order in which they come, so all writers end up with the same entries.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis

from jil.node.rates.model import Rate

_PREFIX = "rates:pair:"
#: Set when the whole topic has been applied; missing means that the cache was emptied since.
_FILLED = "rates:filled"

# KEYS: the pair's hash. ARGV: time of the quote in Unix microseconds, expiry in Unix milliseconds ("0": expired
# already), JSON. An expired rate still removes the older one that it replaced.
_APPLY = """
local known = redis.call('HGET', KEYS[1], 'quoted')
if known and tonumber(known) > tonumber(ARGV[1]) then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) return 1 end
redis.call('HSET', KEYS[1], 'quoted', ARGV[1], 'rate', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[2])
return 1
"""


class RateView:
    """Methods raise redis.exceptions.RedisError (also for time-outs)."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._apply: Any = redis.register_script(_APPLY)

    async def apply(self, rate: Rate, *, now: datetime) -> bool:
        """Put the rate in place; False when a later quote of the pair is there."""
        expired = rate.valid_for(now).total_seconds() <= 0
        quoted = int(rate.quoted_at.timestamp() * 1_000_000)
        expiry = 0 if expired else int(rate.valid_until.timestamp() * 1000)
        return bool(
            await self._apply(keys=[_PREFIX + rate.pair], args=[quoted, expiry, rate.model_dump_json(by_alias=True)])
        )

    async def get(self, pair: str) -> Rate | None:
        """The valid rate, None when there is none."""
        answer: Any = self._redis.hget(_PREFIX + pair, "rate")
        text = await answer
        return None if text is None else Rate.model_validate_json(text)

    async def is_filled(self) -> bool:
        """Whether the cache still holds what was once filled in."""
        return bool(await self._redis.exists(_FILLED))

    async def mark_filled(self, *, now: datetime) -> None:
        """Call when a whole log has been applied."""
        await self._redis.set(_FILLED, now.astimezone(UTC).isoformat())
