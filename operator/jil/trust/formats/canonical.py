"""RFC 8785 (JSON Canonicalization Scheme) for what this project signs, which has no fractions.

Numbers are integers within +-(2^53 - 1), where JCS and every JSON library agree; a fraction is refused rather than
printed by the rules of ECMAScript. Keys are sorted by their UTF-16 code units, as the RFC says.
"""

from __future__ import annotations

import json
from typing import Any

from jil.trust.faults import malformed
from jil.trust.formats import strict_json

SAFE_INTEGER = 2**53 - 1


def encode(value: Any) -> bytes:
    """The canonical bytes of ``value`` (dict, list or tuple, str, bool, int, None).

    Raises ValueError for everything else: floats, integers beyond 2^53 - 1, keys that are no strings, lone surrogates.
    """
    return _text(value).encode("utf-8")


def decode_object(data: bytes, *, what: str, limit: int) -> dict[str, Any]:
    """The object whose canonical bytes ``data`` is.

    Raises Fault (Malformed, TooLarge), also when ``data`` is JSON but not in its canonical form: then the same
    statement would have several spellings.
    """
    value = strict_json.parse_object(data, what=what, limit=limit)
    try:
        same = encode(value) == data
    except ValueError as error:
        raise malformed(f"{what}: {error}") from None
    if not same:
        raise malformed(f"{what} is not in the canonical form of RFC 8785")
    return value


def _text(value: Any) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case str():
            # Python escapes exactly what RFC 8785 3.2.2.2 escapes, and in the same way.
            return json.dumps(value, ensure_ascii=False)
        case int():
            if abs(value) > SAFE_INTEGER:
                raise ValueError(f"the integer {value} is beyond 2^53 - 1")
            return str(value)
        case list() | tuple():
            return "[" + ",".join(_text(item) for item in value) + "]"
        case dict():
            if not all(isinstance(key, str) for key in value):
                raise ValueError("the keys of an object must be strings")
            items = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be", "surrogatepass"))
            return "{" + ",".join(f"{_text(key)}:{_text(item)}" for key, item in items) + "}"
    raise ValueError(f"{type(value).__name__} has no canonical form here")
