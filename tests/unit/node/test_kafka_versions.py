"""What a broker's ApiVersions answer says about its version."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jil.node.connect import kafka_versions
from jil.node.connect.kafka_versions import ProtocolError, release_of, request, supported_features


def answer(features: dict[str, int] | None, *, error: int = 0, correlation: int = 1) -> bytes:
    """An ApiVersions v3 answer with two API keys."""
    data = struct.pack(">ih", correlation, error) + bytes([3])
    for key in (0, 18):
        data += struct.pack(">hhh", key, 0, 4) + b"\x00"
    data += struct.pack(">i", 0)
    if features is None:
        return data + b"\x00"
    content = bytes([len(features) + 1])
    for name, level in features.items():
        content += bytes([len(name) + 1]) + name.encode() + struct.pack(">hh", 1, level) + b"\x00"
    epoch = struct.pack(">q", 5)
    return data + b"\x02" + bytes([0, len(content)]) + content + bytes([1, len(epoch)]) + epoch


def test_the_features_of_an_answer_are_read() -> None:
    assert supported_features(answer({"metadata.version": 30, "group.version": 1})) == {
        "metadata.version": 30,
        "group.version": 1,
    }


def test_an_answer_without_features_names_no_version() -> None:
    assert supported_features(answer(None)) == {}
    assert release_of({}) is None


def test_a_broker_that_knows_only_older_requests_names_no_version() -> None:
    # It answers in version 0, which has another layout after the error code.
    assert supported_features(struct.pack(">ih", 1, 35) + b"\x00\x00\x00\x01") == {}


@pytest.mark.parametrize(
    ("level", "release"),
    [(14, "before 3.7"), (20, "3.8"), (21, "3.9"), (25, "4.0"), (27, "4.1"), (29, "4.2"), (30, "4.3"), (99, "4.4")],
)
def test_a_metadata_version_is_tied_to_a_release(level: int, release: str) -> None:
    assert release_of({"metadata.version": level}) == f"kafka {release} (metadata.version {level})"


def test_an_answer_to_another_request_and_an_error_are_refused() -> None:
    with pytest.raises(ProtocolError, match="another request"):
        supported_features(answer(None, correlation=2))
    with pytest.raises(ProtocolError, match="error code 42"):
        supported_features(answer(None, error=42))


@given(st.binary(max_size=200))
def test_no_answer_whatever_it_is_breaks_the_reader(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        supported_features(struct.pack(">ih", 1, 0) + data)


@given(st.integers(min_value=0, max_value=80))
def test_an_answer_that_is_cut_off_is_refused(length: int) -> None:
    whole = answer({"metadata.version": 30})
    if length < len(whole):
        with pytest.raises(ProtocolError):
            supported_features(whole[:length])


def test_the_request_is_framed() -> None:
    data = request()
    assert struct.unpack(">i", data[:4])[0] == len(data) - 4
    assert struct.unpack(">hh", data[4:8]) == (18, 3)


async def test_the_next_address_is_asked_when_the_first_does_not_answer() -> None:
    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(request()))
        body = answer({"metadata.version": 30})
        writer.write(struct.pack(">i", len(body)) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        found = await kafka_versions.ask([("127.0.0.1", 1), ("127.0.0.1", port)], seconds=5)
    assert found == "kafka 4.3 (metadata.version 30)"


async def test_a_peer_that_speaks_http_is_no_broker() -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(ProtocolError, match="does not speak the Kafka protocol"):
            await kafka_versions.ask([("127.0.0.1", port)], seconds=5)
