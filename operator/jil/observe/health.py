"""The node health endpoint, polled beside the reconcile loop so that no reconcile ever waits for a network call."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp

from jil.observe.evidence import parse_evidence
from jil.observe.lines import Line, Lines, NodeKey
from jil.observe.turns import Turns
from jil.plan.health import ChainHealth, ComponentHealth, HealthReading

log = logging.getLogger(__name__)

MAX_BODY = 64 * 1024
TIMEOUT_SECONDS = 3.0


def _count(value: object) -> int:
    """A count as JSON has it. Raises ValueError for anything else: what a node says is not taken on trust."""
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r:.40} is not a count")
    return value


def _word(value: object) -> str | None:
    """A short text, or None."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not a text")
    return value[:256]


def parse_health(body: Mapping[str, Any], at: datetime) -> HealthReading:
    """The JSON of ``/v1/health``. A malformed body is a reading with an error, never an exception."""
    try:
        components = {
            name: ComponentHealth(part["ok"] is True, _word(part.get("version")), _word(part.get("error")))
            for name in ("database", "cache", "broker")
            if (part := body.get(name)) is not None
        }
        raw = body.get("chain")
        chain = None
        if raw is not None:
            chain = ChainHealth(
                ok=raw["ok"] is True,
                height=_count(raw.get("height")),
                catching_up=bool(raw.get("catchingUp")),
                peers=_count(raw.get("peers")),
                address=_word(raw.get("address")) or "",
                peer_id=_word(raw.get("peerId")) or "",
                voting_power=_count(raw.get("votingPower")),
                version=_word(raw.get("version")),
                error=_word(raw.get("error")),
                reading=parse_evidence(raw, at),
                reading_error=_word(raw.get("evidenceError")),
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return HealthReading(at=at, error=f"the health endpoint answered something unreadable: {error!r}")
    return HealthReading(at=at, components=components, chain=chain)


async def read_health(
    session: aiohttp.ClientSession,
    url: str,
    now: Callable[[], datetime],
    *,
    node_id: str | None = None,
    line: Line | None = None,
) -> HealthReading:
    """One bounded GET: at most 64 KiB, no redirects, a short deadline.

    ``node_id``: who is meant to answer; another one's answer is none. Two Services that lead to one node would otherwise
    count as two nodes that agree. ``line``: the connection to take, of a session of Lines.
    """
    target, headers = (line.url, line.headers) if line else (url, None)
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with session.get(target, headers=headers, timeout=timeout, allow_redirects=False) as response:
            if response.status != 200:
                return HealthReading(at=now(), error=f"{url} answered {response.status}")
            raw = bytearray()
            async for chunk in response.content.iter_any():  # one read(n) gives what has arrived, not all of it
                raw += chunk
                if len(raw) > MAX_BODY:
                    break
            if len(raw) > MAX_BODY:
                return HealthReading(at=now(), error=f"{url} answered more than {MAX_BODY} bytes")
            body = json.loads(raw)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
        told = line.plain(str(error)) if line else str(error)
        return HealthReading(at=now(), error=f"{url}: {type(error).__name__}: {told}")
    if not isinstance(body, dict):
        return HealthReading(at=now(), error=f"{url} answered no JSON object")
    if node_id is not None and body.get("nodeId") != node_id:
        told = f"{url} answered for node {body.get('nodeId')!r:.40}, not for {node_id}"
        return HealthReading(at=now(), error=f"{told}: look at the selector and the endpoints of its health Service")
    return parse_health(body, now())


@dataclass(frozen=True)
class _Essence:
    """The part of a reading whose change is worth a reconcile; heights alone are samples."""

    ok: tuple[tuple[str, bool], ...]
    chain_ok: bool | None
    catching_up: bool
    voting_power: int
    error: bool

    @property
    def well(self) -> bool:
        return not self.error and self.chain_ok is not False and not self.catching_up and all(ok for _, ok in self.ok)

    @classmethod
    def of(cls, reading: HealthReading) -> _Essence:
        chain = reading.chain
        return cls(
            tuple(sorted((k, v.ok) for k, v in reading.components.items())),
            chain.ok if chain else None,
            bool(chain and chain.catching_up),
            chain.voting_power if chain else 0,
            reading.error is not None,
        )


class HealthPoller:
    """Keeps the last reading of every node it was told of and reports changes.

    One slow node delays nobody: nodes are read side by side with a bound, each with its own deadline and its own turns.
    Polls take the connection of the node's line, if it has one; ``refresh`` never does.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        now: Callable[[], datetime],
        on_change: Callable[[NodeKey], None],
        url: Callable[[str, str], str | None],
        expects: Callable[[NodeKey], str | None] = lambda key: None,
        lines: tuple[Lines, aiohttp.ClientSession] | None = None,
        interval: float = 5.0,
        concurrency: int = 32,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._now = now
        self._on_change = on_change
        self._url = url
        self._expects = expects
        self._lines = lines
        self._turns = Turns(interval, clock)
        self._gate = asyncio.Semaphore(concurrency)
        self._sleep = sleep
        self._wanted: set[NodeKey] = set()
        self._readings: dict[NodeKey, HealthReading] = {}

    def watch(self, key: NodeKey) -> None:
        self._wanted.add(key)

    def forget(self, key: NodeKey) -> None:
        self._wanted.discard(key)
        self._readings.pop(key, None)
        self._turns.forget(key)
        if self._lines is not None:
            self._lines[0].forget(key)

    def reading(self, key: NodeKey) -> HealthReading | None:
        return self._readings.get(key)

    async def refresh(self, keys: Iterable[NodeKey]) -> None:
        """Reads these nodes now, side by side: what is decided on is not the last poll's. Ends within a few seconds."""
        polls = (self._poll(key, fresh=True) for key in tuple(keys) if key in self._wanted)
        for outcome in await asyncio.gather(*polls, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome

    def highest(self, keys: set[NodeKey]) -> int | None:
        """The highest height among fresh readings of these nodes, None when nobody could be read."""
        heights = [
            r.chain.height
            for k in keys
            if (r := self._readings.get(k)) and r.chain and r.chain.ok and r.fresh(self._now())
        ]
        # One node that lies about its height must not make all others look late.
        ordered = sorted(heights, reverse=True)
        return ordered[1] if len(ordered) >= 3 else max(ordered, default=None)

    async def run(self) -> None:
        """Polls until it is cancelled."""
        async with asyncio.TaskGroup() as readings:
            while True:
                for key in self._turns.due(tuple(self._wanted)):
                    readings.create_task(self._turn(key))
                await self._sleep(self._turns.pause)

    async def _turn(self, key: NodeKey) -> None:
        well = False
        try:
            await self._poll(key)
            reading = self._readings.get(key)
            well = reading is not None and _Essence.of(reading).well
        except Exception as error:
            log.error("a reading of a health endpoint failed: %r", error)
        finally:  # also when a leadership ends in the middle of it: the next one reads the node again
            self._turns.done(key, well=well)

    async def _poll(self, key: NodeKey, *, fresh: bool = False) -> None:
        url = self._url(*key)
        if url is None:
            reading = HealthReading(at=self._now(), error="the node's health Service does not exist (yet)")
        else:
            async with self._gate:
                reading = await self._read(key, url, fresh=fresh)
        if key not in self._wanted:
            return
        before = self._readings.get(key)
        self._readings[key] = reading
        if before is None or _Essence.of(before) != _Essence.of(reading):
            log.info("health of %s/%s changed", *key, extra={"error": reading.error})
            self._on_change(key)

    async def _read(self, key: NodeKey, url: str, *, fresh: bool) -> HealthReading:
        session, line = self._session, None
        if self._lines is not None and not fresh:
            line = self._lines[0].line(key, url)
            session = self._lines[1] if line is not None else session
        return await read_health(session, url, self._now, node_id=self._expects(key), line=line)
