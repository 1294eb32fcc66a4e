"""How a key is named on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote

from jil.cli.exits import Exit, Stop

FORMS = (
    "PATH or file:PATH, env:VARIABLE, secret:NAMESPACE/NAME, or "
    "pkcs11:token=LABEL;object=LABEL?module-path=/path/to/module.so"
)
_SECRET = re.compile(r"([a-z0-9][a-z0-9.-]*)/([a-z0-9][a-z0-9.-]*)(?:#([-._a-zA-Z0-9]+))?")


class Where(StrEnum):
    """Kinds of places."""

    FILE = "file"
    ENVIRONMENT = "env"
    SECRET = "secret"  # noqa: S105 - a kind of place
    PKCS11 = "pkcs11"


@dataclass(frozen=True)
class KeySource:
    """Where a key is. ``name`` is a path, a variable, ``namespace/name`` or the object's label."""

    where: Where
    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Of a file."""
        return Path(self.name).expanduser()

    def __str__(self) -> str:
        if self.where is Where.PKCS11:
            return f"object {self.name!r} of token {self.attributes.get('token', '?')!r} (PKCS#11)"
        return self.name if self.where is Where.FILE else f"{self.where}:{self.name}"


def parse(text: str) -> KeySource:
    """Raises Stop (USAGE) with the forms that there are."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in tuple(Where):
        kind, rest = Where.FILE, text
    match Where(kind):
        case Where.SECRET:
            match = _SECRET.fullmatch(rest)
            if not match:
                raise Stop(
                    f"{text!r} does not name a Secret: secret:NAMESPACE/NAME, with #ENTRY if need be", Exit.USAGE
                )
            return KeySource(Where.SECRET, f"{match[1]}/{match[2]}", {"entry": match[3] or "private.pem"})
        case Where.PKCS11:
            return _pkcs11(text, rest)
        case Where.ENVIRONMENT if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", rest):
            raise Stop(f"{text!r} does not name a variable of the environment: env:VARIABLE", Exit.USAGE)
        case where:
            if not rest:
                raise Stop(f"{text!r} names no key: {FORMS}", Exit.USAGE)
            return KeySource(where, rest)


def _pkcs11(text: str, rest: str) -> KeySource:
    """RFC 7512: attributes of the path, then those of the query. Unknown ones are errors: they would choose."""
    path, _, query = rest.partition("?")
    found: dict[str, str] = {}
    for part in [*filter(None, path.split(";")), *filter(None, query.split("&"))]:
        name, _, value = part.partition("=")
        if name in found or name not in ("token", "object", "type", "module-path", "pin-source"):
            raise Stop(
                f"{text!r}: {name!r} is not understood or there twice; known are token, object, type, module-path and "
                "pin-source (the PIN itself comes from JIL_PIN or the prompt)",
                Exit.USAGE,
            )
        found[name] = unquote(value)
    if not found.get("token"):
        raise Stop(f"{text!r} names no token: pkcs11:token=LABEL;object=LABEL", Exit.USAGE)
    if found.pop("type", "private") != "private":
        raise Stop(f"{text!r}: only type=private makes sense for a key to sign with", Exit.USAGE)
    return KeySource(Where.PKCS11, found.pop("object", ""), found)
