"""The document of GET /v1/health. Always served with status 200: whether the node is well is in the document."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from jil.node.connect.chain import ChainState
from jil.node.monitor import Result


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class ComponentReport(_Part):
    """``version`` is what the component itself reports, null where it does not tell it or does not answer."""

    ok: bool
    version: str | None = None
    error: str | None = None


class ChainReport(ComponentReport):
    """The validator's RPC. What is not known is null; ``ok`` means that it answers, not that blocks are made."""

    chain_id: str | None = None
    height: int | None = None
    latest_block_time: datetime | None = None
    catching_up: bool | None = None
    peers: int | None = None
    address: str | None = None
    voting_power: int | None = None
    peer_id: str | None = None


class HealthReport(_Part):
    """``time``: when this answer was made, RFC 3339 UTC."""

    node_id: str
    time: datetime
    database: ComponentReport
    cache: ComponentReport
    broker: ComponentReport
    #: null on a node without a validator (JIL_RPC_URL is not set).
    chain: ChainReport | None


class Source(Protocol):
    """Where a component's latest result comes from."""

    def result(self) -> Result[Any]: ...


def component(result: Result[Any]) -> ComponentReport:
    """Database, cache or broker."""
    return ComponentReport(ok=result.ok, version=getattr(result.value, "version", None), error=result.error)


def chain(result: Result[ChainState]) -> ChainReport:
    """The validator."""
    if result.value is None:
        return ChainReport(ok=result.ok, error=result.error)
    return ChainReport(ok=result.ok, error=result.error, **result.value.model_dump())
