"""Bugs that are planted into an operator's life, to see whether the harness finds them. Never part of the product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Plant:
    """``put_in`` patches the operator's modules in the process that is about to run it."""

    name: str
    what: str
    put_in: Callable[[], None]


PLANTS: dict[str, Plant] = {}
