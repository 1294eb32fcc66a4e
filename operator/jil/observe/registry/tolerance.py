"""Attachments that are broken: left out, one by one, and remembered for the message of a refusal.

Anybody who may push to a repository may attach anything, so a broken attachment says nothing about the image. Leaving one
out can only take votes away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from jil.observe.registry.errors import OverLimit, RegistryLied
from jil.observe.registry.media import Descriptor, descriptor
from jil.trust.evidence import LeftOut

_REMEMBERED = 8
"""As many as a message could name."""


class Tolerance:
    """What was left out of one image's attachments."""

    def __init__(self) -> None:
        self._found: dict[str, LeftOut] = {}

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The first few, in the order in which they were read."""
        return tuple(self._found.values())

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around the reading of one thing: a RegistryLied about it ends here, an OverLimit about all does not."""
        try:
            yield
        except OverLimit:
            raise
        except RegistryLied as error:
            text = str(error)[:300]
            if len(self._found) < _REMEMBERED:
                self._found.setdefault(text, LeftOut(error.reason, text))

    def sound(self, entries: Iterable[object] | None, where: str) -> list[Descriptor]:
        """Those entries of a list of attachments that are descriptors."""
        found: list[Descriptor] = []
        for entry in entries or ():
            with self.one():
                found.append(descriptor(entry, where))
        return found
