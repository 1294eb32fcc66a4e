"""Log lines are JSON and say which reconcile they belong to."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from jil.cluster import context
from jil.engine.logs import AUDIT, configure


@pytest.fixture
def lines() -> Iterator[Any]:
    root, audit = logging.getLogger(), logging.getLogger(AUDIT)
    before, audit_level = (root.handlers[:], root.level), audit.level
    stream = io.StringIO()
    configure("warning", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], level = before
    root.setLevel(level)
    audit.setLevel(audit_level)


def test_a_line_has_time_level_logger_message_and_the_reconcile(lines: Any) -> None:
    with context.reconciling("JILNode x/n", "abcd1234"):
        logging.getLogger("jil.x").warning("went %s", "wrong", extra={"height": 7})
    (line,) = lines()
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "jil.x",
        "message": "went wrong",
        "resource": "JILNode x/n",
        "reconcile": "abcd1234",
        "height": 7,
    }


def test_exceptions_are_in_the_line(lines: Any) -> None:
    try:
        raise ValueError("oops\nsecond line")
    except ValueError:
        logging.getLogger("jil.x").exception("failed")
    (line,) = lines()
    assert "ValueError: oops" in line["exception"]


def test_i9_audit_lines_are_written_at_every_log_level(lines: Any) -> None:
    logging.getLogger("jil.x").info("not shown")
    logging.getLogger(AUDIT).info("drained", extra={"who": "operator", "grant": "g1"})
    (line,) = lines()
    assert (line["logger"], line["grant"]) == ("jil.audit", "g1")


def test_kopf_does_not_talk_about_every_event(lines: Any) -> None:
    logging.getLogger("kopf.objects").info("Handler succeeded.")
    assert lines() == []
