"""What a reconcile answers, and the two ways in which it may say that it could not."""

# ruff: noqa: N818  (they are answers, not errors)

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from jil.engine.queue import Key


@dataclass(frozen=True)
class Result:
    """``requeue_after`` seconds until the next look; None waits for an event or the resync."""

    requeue_after: float | None = None


#: Makes the cluster equal to one object. Its own parent being gone is success, not an error.
Reconcile = Callable[[Key], Awaitable[Result]]


class InvalidSpec(Exception):
    """The spec asks for what cannot be, and a condition says so: not tried again before something changes."""


class DependencyDown(Exception):
    """Something else does not answer (a broker, a registry): tried again with back-off."""
