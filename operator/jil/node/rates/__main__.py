"""``python -m jil.node.rates``: serve exchange rates on port 8080 (JIL_PORT)."""

from __future__ import annotations

import asyncio
import sys

from jil.node import logs
from jil.node.connect.broker import BrokerCheck
from jil.node.connect.cache import CacheCheck, client
from jil.node.connect.topics import Writer
from jil.node.monitor import DEADLINE_SECONDS, Monitor, running
from jil.node.program import in_background, run
from jil.node.rates.app import NAME, Service, create
from jil.node.rates.keeper import Keeper
from jil.node.rates.view import RateView
from jil.node.settings import BrokerSettings, CacheSettings, Identity, Listen, load
from jil.node.web import serving, until_stopped

PORT = 8080
CLIENT = f"jil-{NAME}"
#: Time for the cache to answer one command of a request.
CACHE_SECONDS = 2.0


async def main() -> int:
    """Serve until SIGTERM."""
    identity = load(Identity)
    listen = load(Listen, port=PORT)
    cache, broker = load(CacheSettings), load(BrokerSettings)
    redact = logs.configure(node_id=identity.node_id, secrets=cache.secrets())

    redis = client(cache, timeout=CACHE_SECONDS, max_connections=50)
    view = RateView(redis)
    writer = Writer(broker, client_id=CLIENT)
    keeper = Keeper(broker, view, client_id=CLIENT, redact=redact)
    cache_monitor = Monitor(CacheCheck(cache, timeout=DEADLINE_SECONDS), redact=redact)
    broker_monitor = Monitor(BrokerCheck(broker, timeout=DEADLINE_SECONDS, client_id=f"{CLIENT}-check"), redact=redact)
    service = Service(
        identity=identity,
        view=view,
        publisher=writer,
        keeper=keeper,
        cache=cache_monitor,
        broker=broker_monitor,
        redact=redact,
    )
    application, frame = create(service)
    try:
        async with (
            running([cache_monitor, broker_monitor]),
            in_background(asyncio.create_task(keeper.run(), name="keeper")),
            serving(application, listen),
        ):
            await until_stopped(frame, listen)
    finally:
        await writer.close()
        await redis.aclose()
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
