"""Proofs of the four components: each writes something new and reads the same back by another way."""

from __future__ import annotations

import asyncio
import secrets
import time

import psycopg
from confluent_kafka import TopicPartition

from jil.node.connect import kafka_versions, topics
from jil.node.connect.cache import client, server_version
from jil.node.connect.chain import ChainClient
from jil.node.connect.database import connection_arguments
from jil.node.probe.proof import ContradictionError, Evidence
from jil.node.settings import BrokerSettings, CacheSettings, ChainSettings, DatabaseSettings

APPLICATION = "jil-probe"
TOPIC = "jil.probe"
TOPIC_CONFIG = {"retention.ms": str(3600 * 1000)}
#: Rows of earlier proofs that the database keeps; the count shows that they outlive restarts.
KEPT_PROOFS = 1000
_HEIGHT_PAUSE_SECONDS = 0.25


def nonce() -> str:
    """Something that was never there before."""
    return secrets.token_hex(16)


async def database(settings: DatabaseSettings) -> Evidence:
    """Insert over one connection, select over another one."""
    arguments = connection_arguments(settings, application=APPLICATION)
    written = nonce()
    async with await psycopg.AsyncConnection.connect(autocommit=True, **arguments) as connection:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS probe")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS probe.proofs "
            "(number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, nonce text NOT NULL, "
            "at timestamptz NOT NULL DEFAULT now())"
        )
        cursor = await connection.execute("INSERT INTO probe.proofs (nonce) VALUES (%s) RETURNING number", (written,))
        row = await cursor.fetchone()
        number = row[0] if row else 0
        await connection.execute("DELETE FROM probe.proofs WHERE number <= %s", (number - KEPT_PROOFS,))
    async with await psycopg.AsyncConnection.connect(autocommit=True, **arguments) as connection:
        cursor = await connection.execute(
            "SELECT nonce, current_setting('server_version') FROM probe.proofs WHERE number = %s", (number,)
        )
        row = await cursor.fetchone()
    if row is None or row[0] != written:
        raise ContradictionError(f"row {number} was inserted with nonce {written} and is read back as {row}")
    return Evidence(
        version=f"postgresql {str(row[1]).split(' ', 1)[0]}",
        detail=f"INSERT and, over a second connection, SELECT of {written[:8]}..., proof {number} of this database",
    )


async def cache(settings: CacheSettings) -> Evidence:
    """SET over one connection, GET over another one."""
    written, key = nonce(), f"probe:{nonce()}"
    writer, reader = (client(settings, timeout=3.0, max_connections=1) for _ in range(2))
    try:
        await writer.set(key, written, ex=60)
        found = await reader.get(key)
        version = await server_version(reader)
    finally:
        await writer.aclose()
        await reader.aclose()
    if found != written:
        raise ContradictionError(f"{key} was SET to {written}, and GET gives {found!r}")
    return Evidence(version=version, detail=f"SET and, over a second connection, GET of {written[:8]}...")


async def broker(settings: BrokerSettings) -> Evidence:
    """Produce a nonce, and consume the message at the offset that the broker acknowledged."""
    version = await kafka_versions.ask(settings.addresses(), seconds=3.0)
    await asyncio.to_thread(topics.ensure_topic, settings, TOPIC, partitions=1, config=TOPIC_CONFIG)
    written = nonce().encode()
    writer = topics.Writer(settings, client_id=APPLICATION)
    try:
        at = await writer.send(TOPIC, key=b"proof", value=written, headers={"source": APPLICATION})
    finally:
        await writer.close()
    async with topics.reading(settings, client_id=APPLICATION) as reader:
        await reader.start([TopicPartition(TOPIC, at.partition, at.offset)])
        while True:
            for message in await reader.next(wait_seconds=0.2, most=1):
                if message.position == at and message.value == written:
                    return Evidence(
                        version=version or "(the Kafka protocol does not tell)",
                        detail=f"produced {written.decode()[:8]}... to {TOPIC} and consumed it at "
                        f"partition {at.partition}, offset {at.offset}",
                    )
                raise ContradictionError(
                    f"offset {at.offset} of {TOPIC} was acknowledged for {written!r} and holds {message.value!r} "
                    f"(offset {message.position.offset})"
                )


class StalledError(Exception):
    """The validator answers, but the chain makes no block."""


async def chain(settings: ChainSettings, *, patience: float) -> Evidence:
    """Read two heights, the second greater than the first, at most ``patience`` seconds apart."""
    rpc = ChainClient(settings, timeout=3.0)
    try:
        first = last = await rpc.state()
        asked = time.monotonic()
        while last.height <= first.height:
            if time.monotonic() - asked > patience:
                raise StalledError(
                    f"the height stays at {first.height} for {patience:g} s: the chain makes no block; "
                    f"peers {last.peers}, catching up {last.catching_up}"
                )
            await asyncio.sleep(_HEIGHT_PAUSE_SECONDS)
            last = await rpc.state()
    finally:
        await rpc.close()
    return Evidence(
        version=f"cometbft {last.version}",
        detail=f"block heights {first.height} and then {last.height} of {last.chain_id}, "
        f"voting power {last.voting_power}",
    )
