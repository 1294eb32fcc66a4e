"""Attachments that are broken or incomplete: left out, one by one, and remembered for the message of a refusal.

Anybody who may push to a repository may attach anything, so a broken attachment says nothing about the image. Leaving one
out takes a vote away, or gives one back: who signed cannot approve. So a verdict without what is missing is a short one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from jil.observe.registry.errors import NotInRegistry, OverLimit, RegistryLied
from jil.observe.registry.media import Descriptor, descriptor
from jil.trust.evidence import LeftOut

_REMEMBERED = 8
"""As many as a message could name."""


class Tolerance:
    """What was left out of one image's attachments."""

    def __init__(self) -> None:
        self._found: dict[str, LeftOut] = {}
        self._missing: list[str] = []

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The first few, in the order in which they were read."""
        return tuple(self._found.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """The first few that the registry does not have."""
        return tuple(self._missing)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around the reading of one thing: a RegistryLied about it ends here, and so does that it is not there; an
        OverLimit about all does not, nor any other silence."""
        try:
            yield
        except NotInRegistry as error:
            if len(self._missing) < _REMEMBERED:
                self._missing.append(str(error)[:300])
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
