"""Audit lines of the reconcilers: nothing irreversible without one (I9). The logger is ``jil.audit``."""

from __future__ import annotations

import logging
from typing import Any

_log = logging.getLogger("jil.audit")


def audit(action: str, **facts: Any) -> None:
    """One line: what was done to whom and why. Who is this operator; the log adds time and reconcile id."""
    _log.info(action, extra={"audit": {"action": action, **facts}})
