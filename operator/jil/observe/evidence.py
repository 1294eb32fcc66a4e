"""A node's word on who votes and who signed, from its health document: checked in shape and bounds, not believed.

What it is worth is decided elsewhere (``plan/chain.py``): one node's word is no evidence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from jil.plan.chain import ChainReading, Commit

MOST_VALIDATORS = 300
MOST_COMMITS = 64
#: CometBFT's largest total power, MaxInt64 / 8 (types/validator_set.go).
MOST_POWER = (2**63 - 1) // 8
_ADDRESS = re.compile(r"[0-9A-F]{40}")
_HEIGHT = 2**63


def parse_evidence(chain: Mapping[str, Any], at: datetime) -> ChainReading | None:
    """The reading in the document's ``chain`` part, None when it has none. ``at``: when the document was read.

    ``source`` is the address that the node claims: the caller compares it with what is recorded. Raises ValueError,
    TypeError or KeyError for anything malformed.
    """
    raw = chain.get("evidence")
    if raw is None:
        return None
    height = _whole(raw["height"], 1, _HEIGHT)
    powers = _powers(raw["validators"])
    names = list(powers)
    age = raw["ageSeconds"]
    if isinstance(age, bool) or not isinstance(age, int | float) or not 0 <= age < 1e6:
        raise ValueError(f"{age!r:.40} is no age in seconds")
    block = datetime.fromisoformat(_text(chain["latestBlockTime"]))
    if block.tzinfo is None:
        raise ValueError("latestBlockTime has no time zone")
    return ChainReading(
        source=_address(chain["address"]),
        chain_id=_text(chain["chainId"]),
        height=height,
        block_time_ms=int(block.timestamp() * 1000),
        read_at_ms=int((at - timedelta(seconds=age)).timestamp() * 1000),
        catching_up=chain.get("catchingUp") is not False,
        powers={one: power for one, power in powers.items() if power > 0},
        commits=tuple(_commit(one, names) for one in _list(raw["commits"], MOST_COMMITS)),
    )


def _powers(raw: object) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in _list(raw, MOST_VALIDATORS):
        found[_address(entry["address"])] = _whole(entry["power"], 0, MOST_POWER + 1)
    if len(found) != len(_list(raw, MOST_VALIDATORS)):
        raise ValueError("a validator is listed twice")
    if sum(found.values()) > MOST_POWER:
        raise ValueError("the total power is more than a chain can have")
    return found


def _commit(raw: Mapping[str, Any], names: Sequence[str]) -> Commit:
    signed, nil = _places(raw["signed"], names), _places(raw["nil"], names)
    if signed & nil:
        raise ValueError("a validator voted both for a block and for none")
    return Commit(_whole(raw["height"], 1, _HEIGHT), signed, nil)


def _places(raw: object, names: Sequence[str]) -> frozenset[str]:
    return frozenset(names[_whole(place, 0, len(names))] for place in _list(raw, MOST_VALIDATORS))


def _whole(value: object, least: int, below: int) -> int:
    if type(value) is not int or not least <= value < below:
        raise ValueError(f"{value!r:.40} is not a whole number from {least} to {below - 1}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 256:
        raise ValueError(f"{value!r:.40} is not a short text")
    return value


def _address(value: object) -> str:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise ValueError(f"{value!r:.60} is no consensus address")
    return value


def _list(value: object, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"{value!r:.40} is no list of at most {most}")
    return value
