"""WWW-Authenticate: what a registry asks for (RFC 9110 part 11.6.1, and the distribution token specification)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*,?\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')
_SCHEME = re.compile(rf"\s*,?\s*({_WORD})(?=\s|,|$)(?!\s*=)")
_HEADER_MAX = 4096


@dataclass(frozen=True)
class Challenge:
    """One scheme (lower-case) and its parameters (names lower-case)."""

    scheme: str
    parameters: Mapping[str, str]


def parse(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """All challenges of all WWW-Authenticate headers, in order; what cannot be read ends the list."""
    found: list[Challenge] = []
    for header in headers:
        position, text = 0, header[:_HEADER_MAX]
        while match := _SCHEME.match(text, position):
            position = match.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(text, position):
                position = parameter.end()
                quoted, plain = parameter[2], parameter[3]
                value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
                parameters.setdefault(parameter[1].lower(), value)
            found.append(Challenge(match[1].lower(), parameters))
    return tuple(found)
