"""The node's validator, through CometBFT's RPC."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from jil.node.connect.commits import CommitReader, Evidence, EvidenceError
from jil.node.settings import ChainSettings

_LARGEST_ANSWER = 4 * 1024 * 1024

Answer = TypeVar("Answer", bound=BaseModel)


class ChainError(Exception):
    """The RPC answers, but not as a CometBFT validator does."""


class ChainState(BaseModel):
    """What the validator knows of the chain and of itself; heights in blocks, ``address`` in upper-case hex."""

    version: str
    chain_id: str
    peer_id: str
    height: int
    latest_block_time: datetime
    catching_up: bool
    address: str
    voting_power: int
    peers: int
    evidence: Evidence | None = None
    evidence_error: str | None = None


# The parts of CometBFT 0.38's answers that are read here; heights and counts travel as decimal strings.
class _NodeInfo(BaseModel):
    id: str
    network: str
    version: str


class _SyncInfo(BaseModel):
    latest_block_height: int
    latest_block_time: datetime
    catching_up: bool


class _ValidatorInfo(BaseModel):
    address: str
    voting_power: int


class _Status(BaseModel):
    node_info: _NodeInfo
    sync_info: _SyncInfo
    validator_info: _ValidatorInfo


class _NetInfo(BaseModel):
    n_peers: int = Field(ge=0)


class ChainClient:
    """Reads ``/status``, ``/net_info``, ``/validators`` and ``/commit``. Every call ends within ``timeout`` seconds."""

    def __init__(self, settings: ChainSettings, *, timeout: float = 1.5) -> None:
        self._base = settings.url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None
        self._commits = CommitReader(self._get)
        # Evidence is the lesser part: it must not use up the time in which the rest is to be told.
        self._evidence_seconds = timeout / 2

    async def state(self) -> ChainState:
        """Ask now. Raises ChainError, aiohttp.ClientError or TimeoutError."""
        status, net = await asyncio.gather(self._get("status", _Status), self._get("net_info", _NetInfo))
        evidence, error = await self._evidence(status.node_info.network, status.sync_info.latest_block_height)
        return ChainState(
            version=status.node_info.version,
            chain_id=status.node_info.network,
            peer_id=status.node_info.id,
            height=status.sync_info.latest_block_height,
            latest_block_time=status.sync_info.latest_block_time,
            catching_up=status.sync_info.catching_up,
            address=status.validator_info.address,
            voting_power=status.validator_info.voting_power,
            peers=net.n_peers,
            evidence=evidence,
            evidence_error=error,
        )

    async def _evidence(self, chain_id: str, height: int) -> tuple[Evidence | None, str | None]:
        """What can be told of signatures, or why nothing can; a node whose blocks are pruned is well all the same."""
        try:
            async with asyncio.timeout(self._evidence_seconds):
                return await self._commits.evidence(chain_id, height), None
        except TimeoutError:
            return None, f"validators and commits were not told within {self._evidence_seconds:g} s"
        except (ChainError, EvidenceError, aiohttp.ClientError) as error:
            return None, " ".join(str(error).split())[:300] or type(error).__name__

    async def _get(self, path: str, kind: type[Answer]) -> Answer:
        if self._session is None:
            # No connection is kept: behind a Service's address, an open one would stay with whoever answered there while
            # the validator was away.
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, connector=aiohttp.TCPConnector(force_close=True)
            )
        async with self._session.get(f"{self._base}/{path}") as response:
            body = await _whole(response)
            if len(body) > _LARGEST_ANSWER:
                raise ChainError(f"{self._base}/{path} answers more than {_LARGEST_ANSWER} bytes")
            if response.status != 200:
                raise ChainError(
                    f"{self._base}/{path} answers {response.status}: {body[:200].decode(errors='replace')}"
                )
        try:
            result = _Envelope.model_validate_json(body).result
            return kind.model_validate(result)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ChainError(f"{self._base}/{path} answers something unexpected at {where!r}: {first['msg']}") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body, or a little more than the limit of a larger one. One ``read(n)`` gives what has arrived, not all of it."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            break
    return bytes(body)


class _Envelope(BaseModel):
    result: dict[str, object]


class ChainCheck:
    """The monitor's view of the validator: well means that its RPC answers, not that the chain makes progress."""

    name = "chain"

    def __init__(self, settings: ChainSettings, *, timeout: float = 1.5) -> None:
        self._client = ChainClient(settings, timeout=timeout)

    async def observe(self) -> ChainState:
        return await self._client.state()

    def abort(self) -> None:
        """Nothing to do: aiohttp drops the connection of a cancelled request."""

    async def close(self) -> None:
        await self._client.close()
