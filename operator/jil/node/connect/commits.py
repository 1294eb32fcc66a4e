"""Who votes on the node's chain, and who signed its last blocks: what CometBFT's RPC says, in a compact shape.

The operator's gate decides on it, reading several nodes: it is told as seen, never judged here.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

from pydantic import BaseModel, Field

WINDOW = 10
"""How many of the last commits are told."""
PAGE = 100
"""Validators per answer, CometBFT's largest page (rpc/core/env.go maxPerPage)."""
MOST_VALIDATORS = 300

_SIGNED, _NIL = 2, 3
"""BlockIDFlag: voted for the block, voted for no block; 1 is absent (types/block.go)."""

Answer = TypeVar("Answer", bound=BaseModel)


class Get(Protocol):
    """One question to the RPC: path with query, shape of the answer."""

    async def __call__(self, path: str, kind: type[Answer], /) -> Answer: ...


class EvidenceError(Exception):
    """The RPC answers, but not with what can be told as evidence."""


class Voter(BaseModel):
    """A consensus address (upper-case hex) and its power; power 0: signed lately and is no longer in the set."""

    address: str
    power: int


class SignedBlock(BaseModel):
    """``signed`` and ``nil``: positions in the list of voters of those who voted for the block, or for none."""

    height: int
    signed: tuple[int, ...]
    nil: tuple[int, ...]


class Evidence(BaseModel):
    """The validator set at ``height`` and the commits of up to ``WINDOW`` blocks right below it, oldest first.

    The commit of the newest block is left out: until the next block is made, every node has its own version of it.
    """

    height: int
    validators: tuple[Voter, ...]
    commits: tuple[SignedBlock, ...]


# The parts of CometBFT 0.38's answers that are read here.
class _Validator(BaseModel):
    address: str
    voting_power: int


class _Validators(BaseModel):
    block_height: int
    validators: list[_Validator]
    total: int = Field(ge=0, le=MOST_VALIDATORS)


class _Signature(BaseModel):
    block_id_flag: int
    validator_address: str


class _Commit(BaseModel):
    height: int
    signatures: list[_Signature]


class _SignedHeader(BaseModel):
    commit: _Commit


class _CommitAnswer(BaseModel):
    signed_header: _SignedHeader
    canonical: bool


class CommitReader:
    """Reads evidence through ``get(path and query, shape)``; commits of finished blocks are asked for once."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._known: dict[int, tuple[frozenset[str], frozenset[str]]] = {}
        self._chain_id = ""

    async def evidence(self, chain_id: str, height: int) -> Evidence:
        """What the node has at ``height``, which it said to be at. Raises EvidenceError and what ``get`` raises."""
        if height < 1:
            raise EvidenceError("the chain has no block yet")
        if chain_id != self._chain_id:
            self._known.clear()
            self._chain_id = chain_id
        heights = range(max(1, height - WINDOW), height)
        missing = [h for h in heights if h not in self._known]
        powers, _ = await asyncio.gather(self._powers(height), asyncio.gather(*(self._commit(h) for h in missing)))
        self._known = {h: found for h, found in self._known.items() if h in heights}
        absent = [h for h in heights if h not in self._known]
        if absent:
            raise EvidenceError(f"the commit of block {absent[0]} is not final yet")
        voters = sorted(powers.keys() | {one for h in heights for part in self._known[h] for one in part})
        place = {one: number for number, one in enumerate(voters)}
        return Evidence(
            height=height,
            validators=tuple(Voter(address=one, power=powers.get(one, 0)) for one in voters),
            commits=tuple(
                SignedBlock(
                    height=h,
                    signed=tuple(sorted(place[one] for one in self._known[h][0])),
                    nil=tuple(sorted(place[one] for one in self._known[h][1])),
                )
                for h in heights
            ),
        )

    async def _powers(self, height: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for page in range(1, MOST_VALIDATORS // PAGE + 1):
            answer = await self._get(f"validators?height={height}&per_page={PAGE}&page={page}", _Validators)
            if answer.block_height != height:
                raise EvidenceError(f"asked for the validators at height {height}, got those at {answer.block_height}")
            found |= {one.address: one.voting_power for one in answer.validators}
            if len(found) >= answer.total or not answer.validators:
                break
        return found

    async def _commit(self, height: int) -> None:
        answer = await self._get(f"commit?height={height}", _CommitAnswer)
        commit = answer.signed_header.commit
        if commit.height != height:
            raise EvidenceError(f"asked for the commit of block {height}, got that of {commit.height}")
        if not answer.canonical:
            return
        self._known[height] = (
            frozenset(s.validator_address for s in commit.signatures if s.block_id_flag == _SIGNED),
            frozenset(s.validator_address for s in commit.signatures if s.block_id_flag == _NIL),
        )
