"""What a broker says about its own version, through the Kafka protocol's ApiVersions request.

Client libraries ask for it and keep the answer to themselves, so this is the one exchange done by hand: request
header v2, ApiVersions v3, response header v0 (the protocol's exception for this API). Apache Kafka names the metadata
versions it supports; the highest is tied to its release. A broker that names none (Redpanda, librdkafka's mock cluster)
has no version that the protocol could tell.
Source: kafka.apache.org/protocol, and `MetadataVersion` of Apache Kafka 4.3.1 for the levels.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence

from jil.node import VERSION

_API_VERSIONS = 18
_REQUEST_VERSION = 3
_CORRELATION = 1
_CLIENT = b"jil-node"
_UNSUPPORTED_VERSION = 35
_SUPPORTED_FEATURES_TAG = 0
_LARGEST_ANSWER = 64 * 1024

#: First metadata.version level of each Kafka release; the level of a later, unknown release counts as the last known.
_FIRST_LEVEL = ((15, "3.7"), (20, "3.8"), (21, "3.9"), (22, "4.0"), (26, "4.1"), (28, "4.2"), (30, "4.3"), (31, "4.4"))


class ProtocolError(Exception):
    """The peer does not answer as a Kafka broker does."""


def request() -> bytes:
    """The framed ApiVersions v3 request."""
    body = struct.pack(">hhih", _API_VERSIONS, _REQUEST_VERSION, _CORRELATION, len(_CLIENT)) + _CLIENT + b"\x00"
    body += _compact(_CLIENT) + _compact(VERSION.encode()) + b"\x00"
    return struct.pack(">i", len(body)) + body


def _compact(text: bytes) -> bytes:
    return bytes([len(text) + 1]) + text


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise ProtocolError("the answer to ApiVersions ends too early")
        self._at += count
        return piece

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7
            if shift > 28:
                raise ProtocolError("the answer to ApiVersions holds a number that is too long")

    def short(self) -> int:
        return int(struct.unpack(">h", self.take(2))[0])

    def skip_tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.take(self.varint())


def supported_features(answer: bytes) -> dict[str, int]:
    """Feature name -> highest supported level, from an ApiVersions answer without its length prefix.

    Empty when the broker knows only older versions of the request or names no features. Raises ProtocolError.
    """
    reader = _Reader(answer)
    if struct.unpack(">i", reader.take(4))[0] != _CORRELATION:
        raise ProtocolError("the answer to ApiVersions belongs to another request")
    error = reader.short()
    if error == _UNSUPPORTED_VERSION:
        return {}
    if error:
        raise ProtocolError(f"the broker answers ApiVersions with error code {error}")
    for _ in range(reader.varint() - 1):  # api keys: key, min, max
        reader.take(6)
        reader.skip_tags()
    reader.take(4)  # throttle time
    features: dict[str, int] = {}
    for _ in range(reader.varint()):
        tag, size = reader.varint(), reader.varint()
        content = _Reader(reader.take(size))
        if tag == _SUPPORTED_FEATURES_TAG:
            for _ in range(content.varint() - 1):
                name = content.take(content.varint() - 1).decode(errors="replace")
                content.short()
                features[name] = content.short()
                content.skip_tags()
    return features


def release_of(features: dict[str, int]) -> str | None:
    """``kafka 4.3 (metadata.version 30)`` from the features of Apache Kafka, None where there are none."""
    level = features.get("metadata.version")
    if level is None:
        return None
    known = [release for first, release in _FIRST_LEVEL if first <= level]
    return f"kafka {known[-1] if known else 'before 3.7'} (metadata.version {level})"


async def ask(addresses: Sequence[tuple[str, int]], *, seconds: float) -> str | None:
    """Version of the first broker that answers, each within ``seconds``; None when it names none.

    Raises OSError, TimeoutError or ProtocolError of the last address when none answers.
    """
    problem: Exception = ProtocolError("no broker address is given")
    for host, port in addresses:
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(request())
                    (size,) = struct.unpack(">i", await reader.readexactly(4))
                    if not 0 < size <= _LARGEST_ANSWER:
                        raise ProtocolError(f"{host}:{port} does not speak the Kafka protocol")
                    return release_of(supported_features(await reader.readexactly(size)))
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ProtocolError) as error:
            problem = error
    raise problem
