"""The rate service's HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import Counter
from pydantic import TypeAdapter, ValidationError
from redis.exceptions import RedisError

from jil.node import VERSION, logs
from jil.node.connect.broker import BrokerError, BrokerState
from jil.node.connect.cache import CacheState
from jil.node.connect.topics import Position
from jil.node.monitor import Monitor, describe
from jil.node.problem import Problem, unavailable
from jil.node.rates.keeper import Keeper
from jil.node.rates.model import TOPIC, Pair, QuoteRequest, Rate
from jil.node.rates.view import RateView
from jil.node.settings import Identity
from jil.node.web import Frame, application, dependency, json_answer, read_body

NAME = "rates"

_PAIR: TypeAdapter[str] = TypeAdapter(Pair)


class Publisher(Protocol):
    """What the API needs of the broker's writer."""

    async def send(self, topic: str, *, key: bytes, value: bytes, headers: Mapping[str, str]) -> Position: ...


class QuotedRate(Rate):
    """The answer to POST /rates: the rate, and where it lies in the topic, by the broker's acknowledgement."""

    topic: str
    partition: int
    offset: int


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Service:
    """The parts that the API works with."""

    identity: Identity
    view: RateView
    publisher: Publisher
    keeper: Keeper
    cache: Monitor[CacheState]
    broker: Monitor[BrokerState]
    redact: Callable[[str], str] = str
    now: Callable[[], datetime] = field(default=_now)

    def reasons_not_ready(self) -> list[str]:
        """Why no traffic should come. Without the broker it still answers what is in the cache."""
        reasons = []
        if not (cache := self.cache.result()).ok:
            reasons.append(f"cache: {cache.error}")
        if not self.keeper.filled:
            reasons.append(f"cache not filled from topic {TOPIC}: {self.keeper.error}")
        return reasons

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """For /healthz."""
        cache, broker = self.cache.result(), self.broker.result()
        document = {
            "service": NAME,
            "version": VERSION,
            "nodeId": self.identity.node_id,
            "jurisdiction": self.identity.jurisdiction,
            "dependencies": {"cache": dependency(cache), "broker": dependency(broker)},
            "view": {
                "ok": self.keeper.filled and self.keeper.error is None,
                "error": self.keeper.error,
                "topic": TOPIC,
            },
        }
        return cache.ok and broker.ok and self.keeper.filled and self.keeper.error is None, document


def create(service: Service) -> tuple[web.Application, Frame]:
    """POST /rates, GET /rates/{pair} and the frame's own paths."""
    frame = Frame(name=NAME, reasons_not_ready=service.reasons_not_ready, health=service.health)
    app = application(frame)
    quoted = Counter("jil_rates_quoted", "Rates published and acknowledged by the broker.", registry=frame.registry)
    asked = Counter("jil_rates_asked", "Answers to GET /rates by outcome.", ["outcome"], registry=frame.registry)

    async def quote(request: web.Request) -> web.Response:
        body = await read_body(request, QuoteRequest)
        rate = body.quoted(at=service.now(), source_id=service.identity.node_id)
        headers = {
            "source_id": service.identity.node_id,
            "correlation_id": logs.correlation_id() or "none",
            "content_type": "application/json",
        }
        try:
            position = await service.publisher.send(
                TOPIC, key=rate.pair.encode(), value=rate.model_dump_json(by_alias=True).encode(), headers=headers
            )
        except BrokerError as error:
            raise unavailable(
                "broker",
                service.redact(f"the rate is not in force: {describe(error)}"),
                remedy="send the request again; a rate that was published after all is replaced by the repetition",
            ) from error
        quoted.inc()
        try:
            in_force = await service.view.apply(rate, now=service.now())
        except (RedisError, OSError) as error:
            raise unavailable(
                "cache",
                service.redact(f"the rate is published and will be in force when the cache answers: {describe(error)}"),
                remedy="nothing to repeat: the cache is filled from the topic",
            ) from error
        if not in_force:
            raise Problem(
                409,
                "later-rate-exists",
                "A later quote of the pair is in force",
                detail=f"the rate for {rate.pair} was quoted again while this request was under way",
                remedy="read the rate in force with GET /rates/{pair}; quote again if it should be another one",
            )
        answer = QuotedRate(**rate.model_dump(), topic=TOPIC, partition=position.partition, offset=position.offset)
        return json_answer(answer, status=201, headers={"Location": f"/rates/{rate.pair}"})

    async def get(request: web.Request) -> web.Response:
        try:
            pair = _PAIR.validate_python(request.match_info["pair"])
        except ValidationError:
            raise Problem(
                400,
                "not-a-pair",
                "The path does not name a pair of currencies",
                detail="a pair is two different currencies such as CHF-EUR",
                remedy="write the pair as two codes of three capital letters with a hyphen between them",
            ) from None
        try:
            rate = await service.view.get(pair)
        except (RedisError, OSError) as error:
            raise unavailable("cache", service.redact(describe(error))) from error
        if rate is None or rate.valid_for(service.now()).total_seconds() <= 0:
            asked.labels("none").inc()
            raise Problem(
                404,
                "no-valid-rate",
                "There is no valid rate for this pair on this node",
                detail=f"no rate for {pair}, or the last one has expired",
                remedy="quote one with POST /rates",
            )
        asked.labels("found").inc()
        return json_answer(rate)

    app.router.add_post("/rates", quote)
    app.router.add_get("/rates/{pair}", get)
    return app, frame
