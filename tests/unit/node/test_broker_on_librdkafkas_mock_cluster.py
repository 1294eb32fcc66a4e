"""The broker's client code against librdkafka's mock cluster: the Kafka protocol without a Kafka.

What needs a real broker (making topics, its version) runs in the e2e layer.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition

from jil.node.connect import topics
from jil.node.connect.broker import BrokerCheck, BrokerError
from jil.node.settings import BrokerSettings

TOPIC = "jil.test"


@pytest.fixture
def mock() -> Iterator[BrokerSettings]:
    owner = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = owner.list_topics(timeout=10).brokers.values()
    owner.list_topics(TOPIC, timeout=10)  # the mock cluster makes the topic when it is asked for it
    yield BrokerSettings(seeds=f"{broker.host}:{broker.port}")
    del owner


async def test_metadata_make_a_broker_well_whether_or_not_it_tells_its_version(mock: BrokerSettings) -> None:
    check = BrokerCheck(mock)
    state = await check.observe()
    await check.close()
    assert (state.brokers, state.version) == (1, None)
    assert (state.cluster_id or "").startswith("mockCluster")


async def test_a_broker_that_refuses_is_told_with_address_and_reason() -> None:
    check = BrokerCheck(BrokerSettings(seeds="127.0.0.1:1"), timeout=0.3)
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1.*Connection refused"):
        await check.observe()
    await check.close()


async def test_a_message_is_read_at_the_position_that_was_acknowledged(mock: BrokerSettings) -> None:
    writer = topics.Writer(mock, client_id="test")
    first = await writer.send(TOPIC, key=b"k", value=b"one", headers={"source_id": "CH-ZUG-01"})
    second = await writer.send(TOPIC, key=b"k", value=b"two", headers={})
    await writer.close()
    assert (second.partition, second.offset) == (first.partition, first.offset + 1)
    async with topics.reading(mock, client_id="test") as reader:
        await reader.start([TopicPartition(TOPIC, first.partition, first.offset)])
        received: list[topics.Received] = []
        while len(received) < 2:
            received += await reader.next(wait_seconds=0.05)
    assert [(message.position, message.key, message.value) for message in received] == [
        (first, b"k", b"one"),
        (second, b"k", b"two"),
    ]
    assert received[0].headers == {"source_id": b"CH-ZUG-01"}


async def test_a_reader_knows_when_it_has_read_everything(mock: BrokerSettings) -> None:
    writer = topics.Writer(mock, client_id="test")
    for number in range(20):
        await writer.send(TOPIC, key=str(number).encode(), value=b"v", headers={})
    await writer.close()
    seen = 0
    async with topics.reading(mock, client_id="test") as reader:
        await reader.from_beginning(TOPIC)
        assert not reader.caught_up
        while not reader.caught_up:
            seen += len(await reader.next(wait_seconds=0.05))
    assert seen == 20


def test_a_topic_that_exists_is_left_as_it_is(mock: BrokerSettings) -> None:
    assert topics.ensure_topic(mock, TOPIC, partitions=1, config={}) is False


def test_a_topic_that_cannot_be_made_is_told_with_its_reason(
    mock: BrokerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "METADATA_SECONDS", 0.5)
    with pytest.raises(BrokerError, match=r"topic jil\.other cannot be made: "):
        topics.ensure_topic(mock, "jil.other", partitions=1, config={})
