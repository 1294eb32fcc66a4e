"""What a chain says about its validators: which readings count, who signs, and which key is provably silent.

Three answers per validator, because the two proofs are not each other's opposite: *signing* needs a signature in every
one of the last K commits, *silent* needs none in all of them; everything in between is neither and counts as away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Commit:
    """The signatures that finished one block, by consensus address (40 upper-case hex digits).

    ``signed``: voted for the block (CometBFT's BlockIDFlag 2). ``nil``: took part and voted for no block (flag 3): such
    a validator does not carry the chain, but its key is certainly in use. Everyone else was absent (flag 1).
    """

    height: int
    signed: frozenset[str]
    nil: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ChainReading:
    """What one node's RPC said, read once.

    ``source``: consensus address of the node that answered; two readings of one source are one opinion. ``powers``:
    the validator set at ``height``. ``commits``: consecutive, ascending, ending at ``height`` or one below (the commit
    of the newest block is only in the next one). Times in milliseconds since 1970.
    """

    source: str
    chain_id: str
    height: int
    block_time_ms: int
    read_at_ms: int
    catching_up: bool
    powers: Mapping[str, int]
    commits: tuple[Commit, ...]


@dataclass(frozen=True, slots=True)
class ReadingPolicy:
    """How good evidence must be. ``window`` is K; ``sources`` the number of nodes that must be heard, never below 2."""

    window: int = 10
    sources: int = 2
    max_reading_age_ms: int = 15_000
    max_block_age_ms: int = 30_000

    def __post_init__(self) -> None:
        if self.window < 1 or self.sources < 2 or self.max_reading_age_ms < 1 or self.max_block_age_ms < 1:
            raise ValueError(
                f"{self}: window must be at least 1, sources at least 2 (one node's word is no evidence), ages 1 ms"
            )


DEFAULT_READING_POLICY = ReadingPolicy()

#: Blocks. Readings and their newest blocks are less than a minute old together, and no chain of ours makes twenty a second.
FURTHEST_BEHIND: Final = 1000


def fault(reading: ChainReading, chain_id: str, policy: ReadingPolicy, now_ms: int) -> str | None:
    """Why the reading is no evidence, or None when it is. A chain that stands still is not the reading's fault."""
    if reading.chain_id != chain_id:
        return f"{reading.source} is on chain {reading.chain_id!r}, not {chain_id!r}"
    if reading.catching_up:
        return f"{reading.source} is still catching up"
    if not 0 <= now_ms - reading.read_at_ms <= policy.max_reading_age_ms:
        return f"{reading.source} was read {now_ms - reading.read_at_ms} ms ago (limit {policy.max_reading_age_ms} ms)"
    if not reading.powers or any(power < 1 for power in reading.powers.values()):
        return f"{reading.source} gave no usable validator set"
    heights = [commit.height for commit in window(reading, policy)]
    if len(heights) < policy.window or heights != list(range(heights[0], heights[0] + policy.window)):
        return f"{reading.source} gave {len(heights)} of the last {policy.window} commits in a row"
    if heights[-1] not in (reading.height, reading.height - 1):
        return f"{reading.source} gave commits up to {heights[-1]}, but is at height {reading.height}"
    return None


def usable(
    readings: Iterable[ChainReading], chain_id: str, policy: ReadingPolicy, now_ms: int
) -> tuple[ChainReading, ...]:
    """The readings that are evidence, all opinions of all sources."""
    return tuple(reading for reading in readings if fault(reading, chain_id, policy, now_ms) is None)


def sources(readings: Iterable[ChainReading]) -> frozenset[str]:
    """The distinct nodes behind the readings."""
    return frozenset(reading.source for reading in readings)


def window(reading: ChainReading, policy: ReadingPolicy) -> tuple[Commit, ...]:
    """The last K commits of a reading."""
    return reading.commits[-policy.window :]


def advancing(reading: ChainReading, policy: ReadingPolicy, now_ms: int) -> bool:
    """Whether the newest block is young. Block times may be a little ahead of our clock."""
    return now_ms - reading.block_time_ms <= policy.max_block_age_ms


def speaks_for_now(good: Sequence[ChainReading], policy: ReadingPolicy, now_ms: int) -> bool:
    """Whether the usable readings prove that a key is in no set *now*: nodes that are cut off agree on an old set, only
    young blocks do."""
    return len(sources(good)) >= policy.sources and all(advancing(reading, policy, now_ms) for reading in good)


def not_signing(readings: Iterable[ChainReading], policy: ReadingPolicy) -> frozenset[str]:
    """Validators that some reading saw miss any of the last K commits: the worse answer counts.

    One that joined the set within the window has no signatures from before and is among them.
    """
    missing: set[str] = set()
    for reading in readings:
        commits = window(reading, policy)
        missing.update(address for address in reading.powers if any(address not in commit.signed for commit in commits))
    return frozenset(missing)


@dataclass(frozen=True, slots=True)
class Silence:
    """Evidence that a key is out of use: no vote of any kind in ``blocks`` consecutive commits, by ``sources`` peers.

    ``advancing``: the newest of those blocks is young. Without it the key may have come back unseen since.
    """

    sources: frozenset[str]
    blocks: int
    advancing: bool


def silence(
    address: str,
    readings: Iterable[ChainReading],
    *,
    chain_id: str,
    policy: ReadingPolicy,
    now_ms: int,
    known_height: int = 0,
) -> Silence | None:
    """Proof that nobody signs with the key, or None.

    Only peers count (never the validator itself), at least ``policy.sources`` of them, and all of those that are usable
    must agree. A peer that is behind saw an older chain, in which the key may have been absent for another reason: so a
    peer's window must reach past ``known_height`` (the highest height seen before) and must not lie more than a window
    behind the highest peer.
    """
    peers = [reading for reading in usable(readings, chain_id, policy, now_ms) if reading.source != address]
    if len(sources(peers)) < policy.sources:
        return None
    top = max(reading.height for reading in peers)
    for reading in peers:
        commits = window(reading, policy)
        if reading.height < known_height or top - reading.height > policy.window:
            return None
        if any(address in commit.signed or address in commit.nil for commit in commits):
            return None
    return Silence(
        sources=sources(peers),
        blocks=policy.window,
        advancing=all(advancing(reading, policy, now_ms) for reading in peers),
    )


def middle_heights(readings: Iterable[ChainReading]) -> tuple[int, int] | None:
    """The median of the heights that the distinct sources give: of an even number the lower and the higher of the two in
    the middle. A height that is written down must not be the highest, which is whatever one node makes up."""
    heights: dict[str, int] = {}
    for reading in readings:
        heights[reading.source] = min(heights.get(reading.source, reading.height), reading.height)
    ordered = sorted(heights.values())
    return (ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]) if ordered else None


def out_of_reach(height: int, readings: Iterable[ChainReading], policy: ReadingPolicy, now_ms: int) -> bool:
    """Whether a height that was written down before is none that this chain had: every one of at least ``policy.sources``
    nodes, all with young blocks, is further behind than nodes with young blocks can be."""
    readings = tuple(readings)
    return len(sources(readings)) >= policy.sources and all(
        advancing(reading, policy, now_ms) and height - reading.height > FURTHEST_BEHIND for reading in readings
    )


def signed_height(address: str, readings: Iterable[ChainReading], policy: ReadingPolicy) -> int | None:
    """The highest height that the key is known to have voted at (for a block or for none), None when it is not known.

    ``readings``: the usable ones of one round. What is recorded never goes back, and a height that was made up keeps the
    validator from ever starting again. So ``policy.sources`` nodes must have seen the vote, the validator's own node one
    of them (any two others may lie, and in a network of three they are the majority: its own node can harm only itself),
    and no height above the median counts (its own node may be the second liar).
    """
    readings = tuple(readings)
    middle = middle_heights(readings)
    seen: dict[str, int] = {}
    for reading in readings:
        votes = [c.height for c in reading.commits if address in c.signed or address in c.nil]
        heights = [height for height in votes if middle is not None and height <= middle[0]]
        if heights:
            seen[reading.source] = max(seen.get(reading.source, 0), *heights)
    if address not in seen or len(seen) < policy.sources:
        return None
    return min(seen[address], sorted(seen.values(), reverse=True)[policy.sources - 1])
