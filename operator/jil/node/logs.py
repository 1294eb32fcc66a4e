"""JSON logs, one object per line, and the redaction that keeps passwords out of them and out of error texts."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_correlation: ContextVar[str | None] = ContextVar("correlation", default=None)

#: A shorter "secret" would blank out ordinary words; generated passwords are far longer.
_SHORTEST_SECRET = 4


def correlation_id() -> str | None:
    """The id that ties together everything done for the request under way, None outside of a request."""
    return _correlation.get()


@contextmanager
def correlated(value: str) -> Iterator[None]:
    """Every log line within carries ``value`` as correlationId."""
    token = _correlation.set(value)
    try:
        yield
    finally:
        _correlation.reset(token)


class Redactor:
    """Replaces the given secrets wherever they occur in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first: a secret that contains another one must not leave its rest behind.
        self._secrets = sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, nodeId, correlationId and the record's ``fields``."""

    def __init__(self, *, node_id: str | None, redact: Redactor) -> None:
        super().__init__()
        self._node_id = node_id
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._node_id:
            line["nodeId"] = self._node_id
        if (correlation := correlation_id()) is not None:
            line["correlationId"] = correlation
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line |= fields
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self._redact(json.dumps(line, ensure_ascii=False, default=str))


def configure(*, node_id: str | None = None, secrets: Iterable[str] = (), level: int = logging.INFO) -> Redactor:
    """Send all logs of the process to stderr as JSON and return the redactor, for error texts that leave otherwise."""
    redact = Redactor(secrets)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(node_id=node_id, redact=redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    return redact
