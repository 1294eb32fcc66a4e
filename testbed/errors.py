"""The one error that the test bed raises on purpose."""

from __future__ import annotations


class BedError(Exception):
    """Something the user can act on: the text says what is wrong, where, and what to do.

    ``python -m testbed`` prints it without a traceback and exits with status 1.
    """
