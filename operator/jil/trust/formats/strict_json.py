"""JSON from strangers: one reading only.

Two parsers that read one text differently are how a signature comes to cover something else than what runs. So
whatever RFC 8259 leaves open is refused here: duplicate keys, numbers that are not finite, unpaired surrogates, a byte
order mark, more nesting and more bytes than anybody needs.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn, cast

from jil.trust.faults import malformed, too_large

DEPTH_MAX = 32
#: Digits of an integer; longer ones cost quadratic time, and nothing that is signed here counts that far.
DIGITS_MAX = 32

#: A string, also one that is never closed. Possessive: strangers choose the bytes, and whatever is taken back is read
#: again from the next quote on, which is quadratic.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse(data: bytes, *, what: str, limit: int) -> Any:
    """The value of the JSON text ``data`` of at most ``limit`` bytes; ``what`` names it in messages.

    Raises Fault (Malformed, TooLarge).
    """
    if len(data) > limit:
        raise too_large(what, len(data), limit)
    check_depth(data, what)

    def refuse(text: str) -> NoReturn:
        raise malformed(f"{what}: {text}")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            refuse(f"the key {twice[:64]!a} is there twice in one object")
        return result

    def integer(digits: str) -> int:
        if len(digits) > DIGITS_MAX:
            refuse(f"a number has more than {DIGITS_MAX} digits")
        return int(digits)

    def decimal(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            refuse(f"the number {digits[:32]} is not finite")
        return value

    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_int=integer,
            parse_float=decimal,
            parse_constant=lambda name: refuse(f"{name} is not JSON"),
        )
        # Escapes can smuggle in surrogates that stand alone: no UTF-8 has them, and readers disagree about them.
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise malformed(f"{what} is not JSON in UTF-8: {str(error)[:100]}") from None
    return value


def parse_object(data: bytes, *, what: str, limit: int) -> dict[str, Any]:
    """As `parse`, and the value must be an object."""
    return an_object(parse(data, what=what, limit=limit), what)


def an_object(value: object, what: str) -> dict[str, Any]:
    """``value`` as an object. Raises Fault (Malformed) when it is something else."""
    if not isinstance(value, dict):
        raise malformed(f"{what} is not a JSON object")
    return cast(dict[str, Any], value)


def a_list(value: object, what: str) -> list[Any]:
    """``value`` as a list. Raises Fault (Malformed) when it is something else."""
    if not isinstance(value, list):
        raise malformed(f"{what} is not a JSON list")
    return value


def a_string(value: object, what: str, *, limit: int = 4096) -> str:
    """``value`` as text of at most ``limit`` characters. Raises Fault (Malformed) when it is something else."""
    if not isinstance(value, str):
        raise malformed(f"{what} is not a string")
    if len(value) > limit:
        raise malformed(f"{what} has more than {limit} characters")
    return value


def only(obj: dict[str, Any], *, required: frozenset[str], optional: frozenset[str] = frozenset(), what: str) -> None:
    """Raises Fault (Malformed) unless ``obj`` has all ``required`` keys, and no others than these and ``optional``."""
    missing = sorted(required - obj.keys())
    if missing:
        raise malformed(f"{what} lacks {', '.join(missing)}")
    unknown = sorted(obj.keys() - required - optional)
    if unknown:
        raise malformed(f"{what} has a field that nobody defined: {unknown[0][:64]!a}")


def check_depth(data: bytes, what: str) -> None:
    """Nesting is counted before parsing, so that no recursion goes deeper than it; linear in the length of ``data``.

    Raises Fault (Malformed).
    """
    depth = 0
    for char in _STRING.sub(b"", data).translate(None, _NO_BRACKETS):
        if char in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise malformed(f"{what} is nested more than {DEPTH_MAX} deep")
        else:
            depth -= 1
