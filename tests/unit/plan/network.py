"""Small words for building networks in tests: who votes, who is silent, what was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from jil.plan.acts import VALIDATOR, Act
from jil.plan.chain import ChainReading, Commit
from jil.plan.quorum import DEFAULT_POLICY, LastStep, QuorumPolicy, decide
from jil.plan.verdict import Verdict
from jil.plan.voting import Member, NetworkFacts, PodState, Subject

NOW = 1_800_000_000_000
CHAIN = "jil-devnet"
HEIGHT = 500
K = DEFAULT_POLICY.readings.window


def address(index: int) -> str:
    """A consensus address: 40 upper-case hex digits."""
    return f"{index + 1:040X}"


def equal(count: int, power: int = 1) -> dict[str, int]:
    """``count`` validators of the same power."""
    return {address(index): power for index in range(count)}


def commits(
    powers: Iterable[str], *, silent: Iterable[str] = (), nil: Iterable[str] = (), top: int = HEIGHT, count: int = K
) -> tuple[Commit, ...]:
    """``count`` commits up to ``top`` signed by everybody but ``silent`` and ``nil`` (the latter voted nil)."""
    signed = frozenset(powers) - set(silent) - set(nil)
    return tuple(Commit(height, signed, frozenset(nil)) for height in range(top - count + 1, top + 1))


def reading(powers: Mapping[str, int], source: str, *, silent: Iterable[str] = (), **changes: Any) -> ChainReading:
    """A fresh reading of an advancing chain."""
    base = ChainReading(
        source=source,
        chain_id=CHAIN,
        height=HEIGHT,
        block_time_ms=NOW - 1_500,
        read_at_ms=NOW - 200,
        catching_up=False,
        powers=dict(powers),
        commits=commits(powers, silent=silent, top=changes.get("height", HEIGHT)),
    )
    return replace(base, **changes)


def network(powers: Mapping[str, int], *, silent: Iterable[str] = (), **changes: Any) -> NetworkFacts:
    """Everybody declared and local, everything known, read from two nodes outside the set."""
    silent = tuple(silent)
    base = NetworkFacts(
        chain_id=CHAIN,
        members=tuple(
            Member(f"N{index:02d}", one, power, local=True) for index, (one, power) in enumerate(powers.items())
        ),
        readings=tuple(reading(powers, source, silent=silent) for source in ("reader-a", "reader-b")),
        unknown=frozenset(),
        joining={},
        known_height=0,
        allow_halt=False,
        shared_ledger=True,
        static_quota=None,
    )
    return replace(base, **changes)


def subject(
    one: str | None, act: Act = Act.STOP, component: str = VALIDATOR, pod: PodState = PodState.RUNNING
) -> Subject:
    """An act on the validator with the address ``one``."""
    return Subject("the target", act, component, one, pod)


def ask(
    target: str | None,
    facts: NetworkFacts,
    *,
    act: Act = Act.STOP,
    pod: PodState = PodState.RUNNING,
    planned: Iterable[str] = (),
    last_step: LastStep | None = None,
    policy: QuorumPolicy = DEFAULT_POLICY,
    now_ms: int = NOW,
) -> Verdict:
    """The verdict on an act against the validator with the address ``target``."""
    return decide(
        subject(target, act, pod=pod),
        facts,
        planned=frozenset(planned),
        last_step=last_step,
        now_ms=now_ms,
        policy=policy,
    )
