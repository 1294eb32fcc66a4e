"""JSON logs and redaction."""

from __future__ import annotations

import json
import logging
from typing import Any

from jil.node.logs import JsonFormatter, Redactor, correlated


def formatted(message: str, *args: object, secrets: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    record = logging.LogRecord("jil.test", logging.INFO, __file__, 1, message, args, more.get("exc_info"))
    if "fields" in more:
        record.fields = more["fields"]
    line = JsonFormatter(node_id="CH-ZUG-01", redact=Redactor(secrets)).format(record)
    assert "\n" not in line
    document: dict[str, Any] = json.loads(line)
    return document


def test_a_line_says_when_where_and_what() -> None:
    line = formatted("hello %s", "world", fields={"status": 201})
    assert line["message"] == "hello world"
    assert (line["level"], line["logger"], line["nodeId"], line["status"]) == ("INFO", "jil.test", "CH-ZUG-01", 201)
    assert line["time"].endswith("+00:00")
    assert "correlationId" not in line


def test_a_line_within_a_request_names_it() -> None:
    with correlated("order-7"):
        assert formatted("x")["correlationId"] == "order-7"
    assert "correlationId" not in formatted("x")


def test_a_secret_is_redacted_in_messages_fields_and_exceptions() -> None:
    try:
        raise RuntimeError("login with s3cret-pw failed")
    except RuntimeError as error:
        exc_info = (type(error), error, error.__traceback__)
    line = formatted("pw=%s", "s3cret-pw", secrets=("s3cret-pw",), fields={"dsn": "u:s3cret-pw@h"}, exc_info=exc_info)
    assert "s3cret-pw" not in json.dumps(line)
    assert line["message"] == "pw=[redacted]"
    assert "login with [redacted] failed" in line["exception"]


def test_a_secret_that_contains_another_one_leaves_no_rest_behind() -> None:
    redact = Redactor(["abcd", "abcdefgh"])
    assert redact("x abcdefgh y abcd z") == "x [redacted] y [redacted] z"


def test_an_empty_or_tiny_secret_does_not_blank_out_everything() -> None:
    assert Redactor(["", "a"])("a banana") == "a banana"
