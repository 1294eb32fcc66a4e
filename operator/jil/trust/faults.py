"""What is wrong with one piece of evidence, as an exception inside this package; decisions turn it into a value."""

from __future__ import annotations

from jil.trust.verdict import RefusalReason

#: Rules that no policy can change.
FORMAT = "format"
LIMITS = "limits"


class Fault(Exception):  # noqa: N818 - it is a finding about evidence, not an error of the program
    """One piece of evidence does not count: why, by which rule, and a clause for people."""

    def __init__(self, reason: RefusalReason, rule: str, text: str) -> None:
        self.reason = reason
        self.rule = rule
        self.text = text
        super().__init__(text)


def malformed(text: str) -> Fault:
    """A fault of the form: the bytes are not what they claim to be."""
    return Fault(RefusalReason.MALFORMED, FORMAT, text)


def too_large(what: str, size: int, limit: int) -> Fault:
    """A fault of size, in bytes."""
    return Fault(RefusalReason.TOO_LARGE, LIMITS, f"{what} has {size} bytes, and {limit} are allowed")
