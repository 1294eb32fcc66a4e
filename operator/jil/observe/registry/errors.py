"""What can be said when a registry gave no evidence: nothing can be known now, or what it said is false."""

from __future__ import annotations

from jil.trust.verdict import RefusalReason


class RegistryError(Exception):
    """Either of the two; ``str()`` is one sentence for people without credentials, queries or bodies in it."""


class RegistryUnknown(RegistryError):  # noqa: N818 - a finding about a registry, not an error of the program
    """No answer to build on: network, time-out, 401, 403, 404, 429, 5xx. What runs is kept, nothing new is admitted.

    ``retry_after``: seconds for which the registry asked to be left alone, None when it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotInRegistry(RegistryUnknown):
    """The registry answered that it has no such manifest or blob."""


class RegistryLied(RegistryError):  # noqa: N818 - see above
    """The answer contradicts its own digest, type, form or size, or goes over a limit: never to be believed.

    ``reason``: which of these, as a refusal says it.
    """

    def __init__(self, message: str, reason: RefusalReason = RefusalReason.REGISTRY_LIED) -> None:
        super().__init__(message)
        self.reason = reason


class OverLimit(RegistryLied):
    """All that belongs to one image together is too much, so nobody can say which part of it is to be left out."""
