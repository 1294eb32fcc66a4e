"""Printing results: tables and trees in colour for people, JSON and YAML for scripts."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import yaml
from rich.console import Console
from rich.markup import escape as _escape_markup
from rich.table import Table

from jil.cli.exits import Stop
from jil.cli.options import Format
from jil.cli.steps.bench import why
from jil.trust.formats.statement import write_time
from jil.trust.verdict import Refused, Unknown, Verdict, Verified

_UNFOLDED = 4000
"""Columns of what is no terminal."""


def show(form: Format, data: Any, people: Callable[[Console], None]) -> None:
    """``data`` as JSON or YAML, or what ``people`` prints."""
    if form is Format.TABLE:
        # What goes into a pipe or a file is not folded: a digest must stay in one piece.
        people(Console(highlight=False, width=None if sys.stdout.isatty() else _UNFOLDED))
    else:
        sys.stdout.write(text(form, data))


def text(form: Format, data: Any) -> str:
    """``data`` in JSON, or in YAML (also for a table: a manifest has no other form for people)."""
    plain = _plain(data)
    if form is Format.JSON:
        return json.dumps(plain, indent=2) + "\n"
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def escape(words: str) -> str:
    """Text of strangers, harmless in a terminal: no markup, no control characters."""
    return _escape_markup(printable(words))


def printable(words: str) -> str:
    """In one line, every character that is not printable (escape sequences begin with one) replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)


def error(stop: Stop, form: Format, stream: TextIO) -> None:
    """One line on ``stream``; for scripts the same as an object on standard output."""
    stream.write(f"jilctl: {printable(str(stop))}\n")
    if form is not Format.TABLE:
        body = {"message": str(stop), "code": int(stop.code)} | ({"reason": str(stop.reason)} if stop.reason else {})
        sys.stdout.write(text(form, {"error": body}))


def verdict(found: Verdict) -> dict[str, Any]:
    """A verdict for scripts: ``verdict`` is Verified, Refused or Unknown."""
    return {"verdict": type(found).__name__} | {
        key: value for key, value in as_mapping(found).items() if value not in (None, ())
    }


def as_mapping(value: Any) -> dict[str, Any]:
    """A dataclass as an object for scripts: names in camelCase."""
    return {_camel(field.name): getattr(value, field.name) for field in dataclasses.fields(value)}


def verdict_line(found: Verdict) -> str:
    """The same in one line for people, with markup."""
    match found:
        case Verified():
            by = f"signed by {', '.join(found.keys)}"
            by += f", approved by {', '.join(found.approvers)}" if found.approvers else ""
            until = f", until {write_time(found.valid_until)}" if found.valid_until else ""
            return f"[green]Verified[/]  {escape(by)}{until}"
        case Refused():
            return f"[red]{found.reason}[/]  {escape(found.message)}"
        case Unknown():
            return f"[yellow]Unknown[/]  {escape(found.message)}"


def standing(found: Verified | Refused) -> str:
    """As `verdict_line` where the image is named above it: without its name, and without the command that shows this."""
    if isinstance(found, Verified):
        return verdict_line(found)
    return f"[red]{found.reason}[/]  {escape(why(found))}  [dim]{escape(found.rule)}[/]"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table as kubectl prints them: capitals above, no lines."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column.upper(), overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def now() -> datetime:
    """The time, for states that are shown."""
    return datetime.now(UTC)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks: public keys in PEM stay readable."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(as_mapping(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return write_time(value)
    if isinstance(value, str):
        return str(value)  # of an enum, its word
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [_plain(item) for item in value]
    return value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
