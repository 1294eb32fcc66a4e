"""What every step on an image or a release works with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from jil.api.trust import Track
from jil.cli.exits import Exit, Stop
from jil.observe.registry import (
    Access,
    Reference,
    RegistryClient,
    RegistryLied,
    RegistryPush,
    RegistryUnknown,
)
from jil.trust import votes
from jil.trust.faults import Fault
from jil.trust.policy import Key, Policy
from jil.trust.verdict import Refused, Verified

BEFORE = {Track.TESTNET: Track.DEVNET, Track.MAINNET: Track.TESTNET}
"""The track that an image must have passed before it comes to another."""

NO_RELEASE = "(unnamed)"
"""In place of a release where none was named: no release can be called so, hence no approval is for it."""


@dataclass(frozen=True)
class Bench:
    """A registry client, the policy and the time."""

    client: RegistryClient
    policy: Policy
    now: datetime

    @property
    def push(self) -> RegistryPush:
        """The writing side."""
        return RegistryPush(self.client)

    async def pin(self, image: str) -> str:
        """``repository@digest`` of a reference with a tag or a digest; the tag is asked about once. Raises Stop."""
        return Reference.parse(image).at(await self.client.resolve(image))


@asynccontextmanager
async def bench(access: Access, policy: Policy) -> AsyncIterator[Bench]:
    """Connections for one command; what the registry did wrong becomes a Stop."""
    try:
        async with RegistryClient(access) as client:
            yield Bench(client, policy, datetime.now(UTC))
    except RegistryLied as error:
        raise Stop(str(error), Exit.LIED, error.reason) from None
    except RegistryUnknown as error:
        wait = f"; it asks to wait {error.retry_after:.0f} s" if error.retry_after else ""
        raise Stop(f"{error}{wait}", Exit.UNKNOWN) from None


def known(found: Verified | Refused) -> Verified | Refused:
    """The verdict, when the registry gave all that it is made of. Raises Stop (UNKNOWN)."""
    if isinstance(found, Refused) and found.in_doubt:
        raise Stop(found.in_doubt, Exit.UNKNOWN)
    return found


def refused(fault: Fault, head: str) -> Stop:
    """A fault of evidence or policy as the end of a command."""
    return Stop(f"{head}: {fault.text} (rule {fault.rule})", Exit.REFUSED, fault.reason)


def why(found: Refused) -> str:
    """The middle of a refusal's message: what is wrong, without image, rule and command."""
    return found.message.partition(": ")[2].rpartition(" (rule ")[0] or found.message


def check_signer(key: Key, policy: Policy, track: Track, now: datetime) -> None:
    """Raises Stop (REFUSED) when what ``key`` signs now for ``track`` would not count."""
    try:
        votes.check_role(key, track)
        votes.key_until(key, now, now)
        rule = policy.rule(track)
        if rule is not None:
            votes.signature_until(key, rule, now, now)
    except Fault as fault:
        raise refused(fault, f"{key.id} cannot sign for {track}") from None


def check_approver(key: Key, track: Track, now: datetime) -> None:
    """Raises Stop (REFUSED) when what ``key`` approves now would not count."""
    try:
        votes.check_approver(key)
        votes.key_until(key, now, now)
    except Fault as fault:
        raise refused(fault, f"{key.id} cannot approve for {track}") from None
