"""A simulated chain: validators with power, heights, signatures, partitions, lies. Pure and deterministic.

Time is an argument (seconds since 1970): every method first makes the blocks that were due until then. A block is made
every ``interval_s`` by a group of connected validators with more than 2/3 of the power, and signed by all of it. What no
real chain may ever see is written to ``violations``: one key in two processes at once, a sign state that went back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

KEPT_BLOCKS = 200


@dataclass(frozen=True)
class Block:
    """``signed``: addresses in its commit; ``powers``: the set that made it; ``time``: seconds since 1970."""

    height: int
    time: float
    signed: frozenset[str]
    powers: Mapping[str, int]


@dataclass(frozen=True)
class Lie:
    """What a node says instead of the truth; None: the truth. ``silent``: whose signatures it leaves out."""

    height_ahead: int = 0
    powers: Mapping[str, int] | None = None
    silent: frozenset[str] = frozenset()
    chain_id: str | None = None


@dataclass
class Process:
    """A running validator process. ``ready_at``: when it has caught up; ``signed``: the height that it signed last."""

    address: str
    holder: str
    ready_at: float
    signed: int


@dataclass(frozen=True)
class View:
    """What one node says of the chain."""

    chain_id: str
    height: int
    time: float
    catching_up: bool
    peers: int
    power: int
    powers: Mapping[str, int]
    commits: tuple[Block, ...]


@dataclass
class SimChain:
    """``powers``: consensus address -> voting power at genesis."""

    chain_id: str
    powers: dict[str, int]
    begun: float
    interval_s: float = 0.2
    catch_up_s: float = 0.3
    height: int = 0
    violations: list[str] = field(default_factory=list)
    blocks: dict[int, Block] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    signed: dict[str, int] = field(default_factory=dict)
    _groups: dict[str, int] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)
    _lies: dict[str, Lie] = field(default_factory=dict)
    _due: list[tuple[int, str, int]] = field(default_factory=list)
    _next: float = 0.0

    def __post_init__(self) -> None:
        self._next = self.begun + self.interval_s

    # -- what happens to validators ----------------------------------------------------------------------------------
    def start(self, address: str, holder: str, now: float, *, state_height: int) -> None:
        """A process begins to use the key. ``state_height``: what its sign state says was signed last."""
        self.advance(now)
        others = [p.holder for p in self.processes.values() if p.address == address and p.holder != holder]
        if others:
            self.violations.append(f"{address} runs twice on {self.chain_id}: in {others[0]} and in {holder}")
        if state_height < self.signed.get(address, 0):
            self.violations.append(
                f"{address} starts in {holder} with a sign state at {state_height}, but has signed {self.signed[address]}"
            )
        self.processes[holder] = Process(address, holder, now + self.catch_up_s, state_height)

    def stop(self, holder: str, now: float) -> None:
        """The process is gone. Does nothing when there is none."""
        self.advance(now)
        self.processes.pop(holder, None)

    def cut(self, addresses: Iterable[str], now: float) -> None:
        """These hear only each other from now on."""
        self.advance(now)
        group = max(self._groups.values(), default=0) + 1
        self._groups |= dict.fromkeys(addresses, group)

    def heal(self, now: float) -> None:
        """Everybody hears everybody again."""
        self.advance(now)
        self._groups.clear()

    def lie(self, address: str, lie: Lie | None) -> None:
        """From now on this node says something else than the truth; None: the truth again."""
        # In one step: between two lies nobody may hear the truth.
        self._lies[address] = lie or Lie()

    def set_power(self, address: str, power: int, now: float) -> None:
        """A validator update, in effect two blocks later, as CometBFT does it. Power 0 removes."""
        self.advance(now)
        self._due.append((self.height + 2, address, power))

    # -- time --------------------------------------------------------------------------------------------------------
    def advance(self, now: float) -> None:
        """Makes every block that was due until ``now``."""
        while self._next <= now:
            self._step(self._next)
            self._next += self.interval_s

    def _step(self, at: float) -> None:
        for group in sorted({self._groups.get(a, 0) for a in self.powers}):
            able = [p for p in self._up(at) if self._groups.get(p.address, 0) == group]
            voters = {p.address for p in able} & set(self.powers)
            if 3 * sum(self.powers[a] for a in voters) > 2 * sum(self.powers.values()):
                self._make(at, frozenset(voters))
                for process in able:
                    self._seen[process.address] = self.height
                    if process.address in voters:
                        process.signed = self.height
                break
        for group in {self._groups.get(p.address, 0) for p in self.processes.values()}:
            able = [p for p in self._up(at) if self._groups.get(p.address, 0) == group]
            top = max((self._seen.get(p.address, 0) for p in able), default=0)
            self._seen |= {p.address: top for p in able}

    def _up(self, at: float) -> list[Process]:
        return [p for p in self.processes.values() if p.ready_at <= at]

    def _make(self, at: float, signers: frozenset[str]) -> None:
        self.height += 1
        self.blocks[self.height] = Block(self.height, at, signers, dict(self.powers))
        self.blocks.pop(self.height - KEPT_BLOCKS, None)
        self.signed |= dict.fromkeys(signers, self.height)
        for due, address, power in [d for d in self._due if d[0] <= self.height + 1]:
            self._due.remove((due, address, power))
            if power:
                self.powers[address] = power
            else:
                self.powers.pop(address, None)

    # -- what nodes say ----------------------------------------------------------------------------------------------
    def view(self, address: str, now: float, *, window: int = 10) -> View | None:
        """What the node with this key says now, with its last ``window`` commits; None when no process runs."""
        self.advance(now)
        process = next((p for p in self.processes.values() if p.address == address), None)
        if process is None:
            return None
        lie = self._lies.get(address, Lie())
        height = self._seen.get(address, 0)
        newest = self.blocks.get(height)
        # The commit of the newest block is only in the next one.
        commits = [self.blocks[h] for h in range(height - window, height) if h in self.blocks]
        group = self._groups.get(address, 0)
        peers = sum(
            1 for p in self.processes.values() if p.holder != process.holder and self._groups.get(p.address, 0) == group
        )
        powers = newest.powers if newest else self.powers
        return View(
            chain_id=lie.chain_id or self.chain_id,
            height=height + lie.height_ahead,
            time=newest.time if newest else self.begun,
            catching_up=process.ready_at > now,
            peers=peers,
            power=powers.get(address, 0),
            powers=lie.powers if lie.powers is not None else powers,
            commits=tuple(Block(b.height + lie.height_ahead, b.time, b.signed - lie.silent, b.powers) for b in commits),
        )
