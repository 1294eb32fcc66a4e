"""``python -m jil.node.health``: serve the node's health on port 8081 (JIL_PORT)."""

from __future__ import annotations

import sys
from typing import Any

from jil.api.labels import HEALTH_PORT
from jil.node import logs
from jil.node.connect.broker import BrokerCheck
from jil.node.connect.cache import CacheCheck
from jil.node.connect.chain import ChainCheck
from jil.node.connect.database import DatabaseCheck
from jil.node.health.app import NodeHealth, create
from jil.node.monitor import DEADLINE_SECONDS, Check, Monitor, running
from jil.node.program import run
from jil.node.settings import (
    BrokerSettings,
    CacheSettings,
    ChainSettings,
    DatabaseSettings,
    Identity,
    Listen,
    load,
    load_optional,
)
from jil.node.web import serving, until_stopped

CLIENT = "jil-health"


async def main() -> int:
    """Serve until SIGTERM."""
    identity = load(Identity)
    listen = load(Listen, port=HEALTH_PORT)
    database, cache, broker = load(DatabaseSettings), load(CacheSettings), load(BrokerSettings)
    chain = load_optional(ChainSettings)
    redact = logs.configure(node_id=identity.node_id, secrets=[*database.secrets(), *cache.secrets()])

    checks: list[Check[Any]] = [
        DatabaseCheck(database, application=CLIENT),
        CacheCheck(cache, timeout=DEADLINE_SECONDS),
        BrokerCheck(broker, timeout=DEADLINE_SECONDS, client_id=CLIENT),
    ]
    if chain is not None:
        checks.append(ChainCheck(chain, timeout=DEADLINE_SECONDS))
    monitors = [Monitor(check, redact=redact) for check in checks]

    application, frame = create(NodeHealth(identity.node_id, {monitor.name: monitor for monitor in monitors}))
    async with running(monitors), serving(application, listen):
        await until_stopped(frame, listen)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
