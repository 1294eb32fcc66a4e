"""Decisions, and nothing else: ``(observed, desired, now) -> next step with a reason``.

Everything here is a pure function of its arguments: no I/O, no clock, no randomness (import-linter keeps it), so that
the hard cases are cheap tests. Who asks the API server or the chain lives in ``observe``, who acts in ``cluster``.
"""
