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


class VoterReport(_Part):
    """A consensus address and its power; power 0: signed lately and is no longer in the set."""

    address: str
    power: int


class CommitReport(_Part):
    """``signed``, ``nil``: positions in ``validators`` of those who voted for the block, or for none."""

    height: int
    signed: tuple[int, ...]
    nil: tuple[int, ...]


class EvidenceReport(_Part):
    """The validator set at ``height`` and the commits right below it, as they were ``age_seconds`` ago."""

    height: int
    age_seconds: float
    validators: tuple[VoterReport, ...]
    commits: tuple[CommitReport, ...]


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
    evidence: EvidenceReport | None = None
    evidence_error: str | None = None


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
    values = result.value.model_dump()
    if result.value.evidence is not None:
        values["evidence"]["age_seconds"] = round(result.age or 0.0, 3)
    return ChainReport(ok=result.ok, error=result.error, **values)
