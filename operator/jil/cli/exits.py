"""How jilctl ends: exit codes that scripts can build on, and the errors that carry them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; documented in docs/jilctl.md, never changed in meaning."""

    OK = 0
    REFUSED = 1
    """The policy says no, a step is missing, or two releases differ."""
    USAGE = 2
    """The command, a file or a reference is not well formed."""
    UNKNOWN = 3
    """The registry or the cluster gave no answer: nothing was decided. Try again."""
    KEY = 4
    """The private key could not be opened or used."""
    LIED = 5
    """The registry's answers contradict themselves: do not try again, find out why."""
    FAULT = 70
    """A fault in jilctl itself."""


class Stop(Exception):  # noqa: N818 - the way a command ends, not an error of the program
    """Ends the command with one line for people and an exit code. The line says what to do."""

    def __init__(self, message: str, code: Exit = Exit.REFUSED, reason: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        """Word for scripts (a RefusalReason), when there is one."""
