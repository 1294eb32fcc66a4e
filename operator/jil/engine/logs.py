"""Logs for machines: one JSON object per line on standard output, with the resource and the reconcile it belongs to.

``jil.audit`` is the logger of irreversible and disruptive acts: who, what, when, why, before and after, as ``extra``
fields. It is never silenced by the log level.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from jil.cluster import context

AUDIT = "jil.audit"

#: Attributes that every LogRecord has; what else it has came by ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One line per record: time, level, logger, message, then resource, reconcile and ``extra`` when there are any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if resource := context.resource_key.get():
            line["resource"] = resource
        if run := context.reconcile_id.get():
            line["reconcile"] = run
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send everything to ``stream`` (standard output) as JSON. ``level`` is debug, info, warning or error."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Kopf says "Handler succeeded" at INFO for every event of every object.
    for noisy in ("kopf", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger(AUDIT).setLevel(logging.INFO)
