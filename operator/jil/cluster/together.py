"""Several requests at the same time, of which each is to end before a fault of any of them is raised.

A task group would cancel the others, and a write that is cancelled may have been made all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Final, TypeVar

A = TypeVar("A")
B = TypeVar("B")

#: Of one look; the pool of connections is there for all of them.
AT_ONCE: Final = 6


async def side_by_side(work: Iterable[Awaitable[A]]) -> list[A]:
    """The results in order, ``AT_ONCE`` at a time. Raises the first error as it is: the work queue acts on its class."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(what: Awaitable[A]) -> A:
        async with limit:
            return await what

    done = await asyncio.gather(*(one(what) for what in work), return_exceptions=True)
    results: list[A] = []
    for outcome in done:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results


async def both(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """The same of two that answer differently."""
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other
