"""``python -m jil.node.transfers``: serve accounts and transfers on port 8080 (JIL_PORT)."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from jil.node import logs
from jil.node.compliance import ComplianceFile
from jil.node.connect.database import DatabaseCheck, connection_arguments
from jil.node.events.outbox import Outbox
from jil.node.monitor import Monitor, running
from jil.node.program import in_background, run
from jil.node.settings import ComplianceSettings, DatabaseSettings, Identity, Listen, load
from jil.node.transfers import schema
from jil.node.transfers.app import NAME, Service, create
from jil.node.transfers.ledger import CONNECTION_SECONDS, MAX_WAITING, SESSION_OPTIONS, Ledger, Pool
from jil.node.transfers.rules import interpret
from jil.node.web import serving, until_stopped

PORT = 8080
APPLICATION = f"jil-{NAME}"
MAX_CONNECTIONS = 10


def pool_for(settings: DatabaseSettings) -> Pool:
    """The service's connections, not opened yet."""
    return Pool(
        kwargs={**connection_arguments(settings, application=APPLICATION), "options": SESSION_OPTIONS},
        min_size=1,
        max_size=MAX_CONNECTIONS,
        max_waiting=MAX_WAITING,
        timeout=CONNECTION_SECONDS,
        reconnect_timeout=30,
        open=False,
        name=NAME,
    )


async def main() -> int:
    """Serve until SIGTERM."""
    identity = load(Identity)
    listen = load(Listen, port=PORT)
    settings = load(DatabaseSettings)
    file = load(ComplianceSettings).file
    redact = logs.configure(node_id=identity.node_id, secrets=settings.secrets())

    compliance = ComplianceFile(file, interpret) if file is not None else None
    database = Monitor(DatabaseCheck(settings, application=f"{APPLICATION}-check"), redact=redact)
    target = schema.Schema(partial(schema.upgrade, settings, application=APPLICATION), redact=redact)
    loops = [asyncio.create_task(target.prepare(), name="schema")]
    if compliance is not None:
        compliance.read()
        loops.append(asyncio.create_task(compliance.follow(), name="compliance"))

    async with pool_for(settings) as pool, running([database]), in_background(*loops):
        service = Service(
            identity=identity,
            ledger=Ledger(pool, Outbox(identity.node_id)),
            schema=target,
            database=database,
            compliance=compliance,
        )
        application, frame = create(service)
        async with serving(application, listen):
            await until_stopped(frame, listen)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
