"""Topics of the node's broker: making them, writing to them, following them. Blocking client, asyncio outside."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from jil.node.connect.broker import BrokerError, client_config, explain, library_log
from jil.node.settings import BrokerSettings

log = logging.getLogger(__name__)

#: A message that the broker has not acknowledged by then is given up.
DELIVERY_SECONDS = 5.0
METADATA_SECONDS = 5.0


@dataclass(frozen=True)
class Position:
    """Where a message lies in a topic."""

    partition: int
    offset: int


@dataclass(frozen=True)
class Received:
    """A message as it was read."""

    position: Position
    key: bytes | None
    value: bytes
    headers: Mapping[str, bytes]


def ensure_topic(settings: BrokerSettings, topic: str, *, partitions: int, config: Mapping[str, str]) -> bool:
    """Make the topic unless it exists, with one replica: a node's broker is a cluster of one. Blocks.

    Returns whether it was made. Raises BrokerError.
    """
    admin = AdminClient(client_config(settings, client_id="jil-topics"), logger=library_log)
    try:
        existing = admin.list_topics(timeout=METADATA_SECONDS).topics
        if topic in existing and existing[topic].error is None:
            return False
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=dict(config))
        admin.create_topics([new], operation_timeout=METADATA_SECONDS)[topic].result(METADATA_SECONDS * 2)
    except KafkaException as error:
        if isinstance(error.args[0], KafkaError) and error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise BrokerError(f"topic {topic} cannot be made: {explain(error)}") from None
    except TimeoutError:
        raise BrokerError(f"topic {topic} cannot be made: no answer within {METADATA_SECONDS * 2:g} s") from None
    log.info("topic made", extra={"fields": {"topic": topic, "partitions": partitions}})
    return True


class Writer:
    """Publishes messages and waits for the broker's acknowledgement; idempotent, so a retry never doubles one."""

    def __init__(self, settings: BrokerSettings, *, client_id: str) -> None:
        self._config: dict[str, Any] = {
            **client_config(settings, client_id=client_id),
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": int(DELIVERY_SECONDS * 1000),
            "linger.ms": 0,
        }
        self._producer: Producer | None = None
        self._stop = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="kafka-delivery", daemon=True)

    def _poll(self) -> None:
        while not self._stop.is_set():
            producer = self._producer
            if producer is None:
                self._stop.wait(0.05)
            else:
                producer.poll(0.1)

    async def send(self, topic: str, *, key: bytes, value: bytes, headers: Mapping[str, str]) -> Position:
        """Publish one message. Raises BrokerError when it is not acknowledged within DELIVERY_SECONDS."""
        if self._producer is None:
            self._producer = Producer(self._config, logger=library_log)
        if not self._poller.is_alive():
            self._poller.start()
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[Position] = loop.create_future()

        def settle(error: KafkaError | None, message: Message) -> None:
            if delivered.done():
                return
            if error is None:
                delivered.set_result(Position(message.partition() or 0, message.offset() or 0))
                return
            if error.fatal():
                self._producer = None  # librdkafka's word for: only a new producer can go on
            delivered.set_exception(BrokerError(f"not acknowledged by the broker: {explain(error)}"))

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            loop.call_soon_threadsafe(settle, error, message)

        try:
            self._producer.produce(topic, key=key, value=value, headers=dict(headers), on_delivery=on_delivery)
        except BufferError:
            raise BrokerError("too many messages wait for the broker's acknowledgement") from None
        except KafkaException as error:
            if isinstance(error.args[0], KafkaError) and error.args[0].fatal():
                self._producer = None
            raise BrokerError(f"not accepted by the client: {explain(error)}") from None
        return await delivered

    async def close(self) -> None:
        """Wait shortly for what is under way, then stop."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.to_thread(producer.flush, 2.0)
        self._stop.set()
        if self._poller.is_alive():
            await asyncio.to_thread(self._poller.join, 2.0)


class Reader:
    """Reads partitions that it is told, without a consumer group. Use ``reading``."""

    def __init__(self, consumer: Consumer, executor: ThreadPoolExecutor) -> None:
        self._consumer = consumer
        self._executor = executor
        self._ahead: set[int] = set()

    @property
    def caught_up(self) -> bool:
        """Whether the end of every partition has been reached once."""
        return not self._ahead

    async def start(self, positions: Sequence[TopicPartition]) -> None:
        self._ahead = {position.partition for position in positions}
        await self._call(lambda: self._consumer.assign(list(positions)))

    async def from_beginning(self, topic: str) -> None:
        """Read the whole topic. Raises BrokerError when it does not exist or the broker does not answer."""

        def partitions() -> list[TopicPartition]:
            found = self._consumer.list_topics(topic, timeout=METADATA_SECONDS).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found.partitions]

        await self.start(await self._call(partitions))

    async def next(self, *, wait_seconds: float, most: int = 200) -> list[Received]:
        """What has arrived, at the latest after ``wait_seconds``. Raises BrokerError."""
        received = []
        for message in await self._call(lambda: self._consumer.consume(most, wait_seconds)):
            error = message.error()
            if error is None:
                received.append(_received(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ahead.discard(message.partition() or 0)
            else:
                raise BrokerError(f"cannot read: {explain(error)}")
        return received

    async def _call(self, work: Callable[[], Any]) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except KafkaException as error:
            raise BrokerError(f"cannot read: {explain(error)}") from None


def _received(message: Message) -> Received:
    pairs: Any = message.headers() or []
    headers = {name: value if isinstance(value, bytes) else str(value).encode() for name, value in pairs}
    key = message.key()
    value = message.value()
    return Received(
        position=Position(message.partition() or 0, message.offset() or 0),
        key=key.encode() if isinstance(key, str) else key,
        value=value.encode() if isinstance(value, str) else value or b"",
        headers=headers,
    )


@asynccontextmanager
async def reading(settings: BrokerSettings, *, client_id: str) -> AsyncIterator[Reader]:
    """A reader for the time of the block."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="kafka-read")
    config: dict[str, Any] = {
        **client_config(settings, client_id=client_id),
        "group.id": client_id,  # required by the library; no group is joined, no offset committed
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100,
    }
    consumer = Consumer(config, logger=library_log)
    try:
        yield Reader(consumer, executor)
    finally:
        await asyncio.get_running_loop().run_in_executor(executor, consumer.close)
        executor.shutdown(wait=False)
