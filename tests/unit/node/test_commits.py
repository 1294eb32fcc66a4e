"""Who votes and who signed, from CometBFT's answers."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import BaseModel

from jil.node.connect.commits import WINDOW, CommitReader, EvidenceError

A, B, C = ("AA" * 20, "BB" * 20, "CC" * 20)


class Rpc:
    """Answers questions as CometBFT's RPC does, and counts them."""

    def __init__(self) -> None:
        self.powers = {A: 10, B: 20}
        self.flags: dict[int, dict[str, int]] = {}
        self.page = 100
        self.asked: list[str] = []
        self.not_final: set[int] = set()

    async def __call__(self, path: str, kind: type[BaseModel], /) -> Any:
        self.asked.append(path)
        parts = urlsplit(path)
        query = {key: int(values[0]) for key, values in parse_qs(parts.query).items()}
        return kind.model_validate(getattr(self, f"_{parts.path}")(**query))

    def _validators(self, height: int, per_page: int, page: int) -> dict[str, Any]:
        names = sorted(self.powers)[(page - 1) * self.page :][: self.page]
        return {
            "block_height": str(height),
            "validators": [{"address": one, "voting_power": str(self.powers[one])} for one in names],
            "count": str(len(names)),
            "total": str(len(self.powers)),
        }

    def _commit(self, height: int) -> dict[str, Any]:
        flags = self.flags.get(height, dict.fromkeys(self.powers, 2))
        signatures = [
            {"block_id_flag": flag, "validator_address": "" if flag == 1 else one} for one, flag in flags.items()
        ]
        header = {"commit": {"height": str(height), "signatures": signatures}}
        return {"signed_header": header, "canonical": height not in self.not_final}


async def test_the_set_and_the_last_commits_below_the_height_are_told() -> None:
    found = await CommitReader(Rpc()).evidence("c", 50)
    assert [(v.address, v.power) for v in found.validators] == [(A, 10), (B, 20)]
    assert [c.height for c in found.commits] == list(range(40, 50))
    assert all((c.signed, c.nil) == ((0, 1), ()) for c in found.commits)


async def test_absent_and_nil_are_kept_apart() -> None:
    rpc = Rpc()
    rpc.flags = {49: {A: 1, B: 3}}
    last = (await CommitReader(rpc).evidence("c", 50)).commits[-1]
    assert (last.signed, last.nil) == ((), (1,))


async def test_a_key_that_signed_and_left_the_set_is_told_with_power_zero() -> None:
    rpc = Rpc()
    rpc.flags = {45: {A: 2, B: 2, C: 2}}
    found = await CommitReader(rpc).evidence("c", 50)
    assert [(v.address, v.power) for v in found.validators] == [(A, 10), (B, 20), (C, 0)]
    assert found.commits[5].signed == (0, 1, 2)


async def test_a_finished_block_is_asked_for_once() -> None:
    rpc = Rpc()
    reader = CommitReader(rpc)
    await reader.evidence("c", 50)
    rpc.asked.clear()
    await reader.evidence("c", 52)
    assert sorted(p for p in rpc.asked if p.startswith("commit")) == ["commit?height=50", "commit?height=51"]
    rpc.asked.clear()
    await reader.evidence("another-chain", 52)
    assert len([p for p in rpc.asked if p.startswith("commit")]) == WINDOW


async def test_a_young_chain_has_as_many_commits_as_it_has_blocks() -> None:
    assert [c.height for c in (await CommitReader(Rpc()).evidence("c", 3)).commits] == [1, 2]
    assert (await CommitReader(Rpc()).evidence("c", 1)).commits == ()


async def test_before_the_first_block_nothing_is_asked() -> None:
    rpc = Rpc()
    with pytest.raises(EvidenceError, match="no block yet"):
        await CommitReader(rpc).evidence("c", 0)
    assert rpc.asked == []


async def test_a_commit_that_is_not_final_is_neither_told_nor_remembered() -> None:
    rpc = Rpc()
    rpc.not_final = {49}
    reader = CommitReader(rpc)
    with pytest.raises(EvidenceError, match="block 49 is not final"):
        await reader.evidence("c", 50)
    rpc.not_final = set()
    assert (await reader.evidence("c", 50)).commits[-1].height == 49


async def test_a_set_of_several_pages_is_read_whole() -> None:
    rpc = Rpc()
    rpc.powers = {f"{n:040X}": 1 for n in range(5)}
    rpc.page = 2
    assert len((await CommitReader(rpc).evidence("c", 50)).validators) == 5


async def test_a_set_of_another_height_is_refused() -> None:
    class Late(Rpc):
        def _validators(self, height: int, per_page: int, page: int) -> dict[str, Any]:
            return super()._validators(height + 1, per_page, page)

    with pytest.raises(EvidenceError, match="at height 50, got those at 51"):
        await CommitReader(Late()).evidence("c", 50)
