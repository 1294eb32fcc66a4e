"""The audit log of signing: who signed, promoted or approved what, and every attempt that was refused (AC-18, I9).

One JSON object per line, as the operator writes them (logger ``jil.audit``), so that one place can collect both. The
file is opened before anything is signed: where no line can be written, nothing is signed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jil.cli.exits import Exit, Stop
from jil.engine.logs import AUDIT, JsonFormatter
from jil.trust.faults import Fault
from jil.trust.policy import Key


@dataclass
class Step:
    """One step while it is made; ``facts`` may be added to until it ends."""

    action: str
    facts: dict[str, Any] = field(default_factory=dict)

    def by(self, entry: Key) -> None:
        """Whose key it is."""
        self.facts |= {"key": entry.id, "owner": entry.owner}


@contextmanager
def step(path: str | None, action: str, **facts: Any) -> Iterator[Step]:
    """Write one line when the block ends: outcome ``done``, ``refused`` (by a rule) or ``failed``. None: no log.

    Raises Stop (USAGE) before the block begins when ``path`` cannot be written, Stop (FAULT) when the line cannot be.
    """
    now = Step(action, dict(facts))
    if path is None:
        yield now
        return
    file = _open(path)
    try:
        try:
            yield now
        except (Stop, Fault) as error:
            refused = isinstance(error, Fault) or error.code is Exit.REFUSED
            reason = str(error.reason) if error.reason else None
            _write(file, path, now, outcome="refused" if refused else "failed", reason=reason, error=str(error))
            raise
        except BaseException as error:
            _write(file, path, now, outcome="failed", error=f"{type(error).__name__}: {error}")
            raise
        _write(file, path, now, outcome="done")
    finally:
        os.close(file)


def _open(path: str) -> int:
    try:
        # Appends of one line from several processes at once do not mix; never through a link that somebody else laid.
        return os.open(
            Path(path).expanduser(), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise Stop(
            f"--audit-log {path}: {error.strerror}; nothing was signed. Name a file that can be written", Exit.USAGE
        ) from None


def _write(file: int, path: str, made: Step, **more: Any) -> None:
    audit = {"action": made.action, **made.facts, **{name: value for name, value in more.items() if value is not None}}
    record = logging.makeLogRecord({"name": AUDIT, "levelno": logging.INFO, "levelname": "INFO", "msg": made.action})
    record.audit = audit
    line = (JsonFormatter().format(record) + "\n").encode()
    try:
        if os.write(file, line) != len(line):
            raise OSError(0, "a part of the line only")
        os.fsync(file)
    except OSError as error:
        raise Stop(
            f"--audit-log {path}: the line could not be written ({error.strerror}): {made.action} was "
            f"{more['outcome']}; write this down yourself: {line.decode().strip()}",
            Exit.FAULT,
        ) from None
