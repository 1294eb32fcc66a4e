"""The node's broker, through the Kafka protocol (confluent-kafka), whatever its flavour.

confluent-kafka rather than aiokafka: it carries headers, idempotent produce and transactions, follows new broker
versions closely, and ships wheels for every Python this project supports. Its calls block, so each user has one
thread of its own, and every call has a deadline: a broker that hangs blocks that thread and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from jil.node.connect import kafka_versions
from jil.node.settings import BrokerSettings

#: librdkafka repeats the same connection failure twenty times a second; our own monitors say it once.
library_log = logging.getLogger("jil.node.connect.librdkafka")
library_log.setLevel(logging.CRITICAL)

_VERSION_AGE_SECONDS = 60.0


@dataclass(frozen=True)
class BrokerState:
    """What the broker says of itself; ``version`` is None where the Kafka protocol does not tell it."""

    version: str | None
    cluster_id: str | None
    brokers: int


class BrokerError(Exception):
    """The broker did not do what it was asked for; the text says what and why."""


def client_config(settings: BrokerSettings, *, client_id: str) -> dict[str, Any]:
    """What every client of the node's broker has in common."""
    return {
        "bootstrap.servers": settings.seeds,
        "client.id": client_id,
        "socket.timeout.ms": 10_000,
        "socket.connection.setup.timeout.ms": 3_000,
        "reconnect.backoff.ms": 100,
        # A restarted broker is found again within a second.
        "reconnect.backoff.max.ms": 1_000,
        "socket.keepalive.enable": True,
        "log.connection.close": False,
    }


def explain(error: KafkaError | KafkaException, last: str | None = None) -> str:
    """The text of a Kafka error, with the connection failure behind it where librdkafka told one."""
    inner = error.args[0] if isinstance(error, KafkaException) else error
    text = inner.str() if isinstance(inner, KafkaError) else str(inner)
    return f"{text} ({last})" if last else text


class BrokerCheck:
    """Reads the cluster's metadata over a kept connection, and the broker's version once a minute."""

    name = "broker"

    def __init__(self, settings: BrokerSettings, *, timeout: float = 1.5, client_id: str = "jil-check") -> None:
        self._settings = settings
        self._timeout = timeout
        self._last_failure: str | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="broker-check")
        config = client_config(settings, client_id=client_id)
        config |= {"socket.timeout.ms": max(1000, int(timeout * 1000)), "error_cb": self._failed}
        self._admin = AdminClient(config, logger=library_log)
        self._version: str | None = None
        self._version_at: float | None = None

    def _failed(self, error: KafkaError) -> None:
        # "All brokers are down" follows every failure and says less than the failure itself.
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_failure = error.str()

    async def observe(self) -> BrokerState:
        self._last_failure = None
        asking = asyncio.ensure_future(self._broker_version())
        try:
            metadata = await asyncio.get_running_loop().run_in_executor(self._executor, self._metadata)
            # The version is a convenience: the metadata decide whether the broker is well.
            version = (await asyncio.gather(asking, return_exceptions=True))[0]
        finally:
            asking.cancel()
        if not metadata.brokers:
            raise BrokerError("the broker answers, but its metadata names no broker")
        return BrokerState(
            version=version if isinstance(version, str) else None,
            cluster_id=metadata.cluster_id,
            brokers=len(metadata.brokers),
        )

    def _metadata(self) -> Any:
        try:
            return self._admin.list_topics(timeout=self._timeout * 0.9)
        except KafkaException as error:
            self._admin.poll(0)  # delivers the failures to _failed
            raise BrokerError(
                f"no metadata from {self._settings.seeds}: {explain(error, self._last_failure)}"
            ) from None

    async def _broker_version(self) -> str | None:
        now = time.monotonic()
        if self._version_at is None or now - self._version_at > _VERSION_AGE_SECONDS:
            self._version_at = None
            self._version = await kafka_versions.ask(self._settings.addresses(), seconds=self._timeout * 0.9)
            self._version_at = now
        return self._version

    def abort(self) -> None:
        """Nothing to do: the call in the thread ends at its own deadline."""

    async def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
