"""Passwords and PINs: from the environment, from a file, or asked for in a terminal; never from the command line."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from jil.cli.exits import Exit, Stop

PASSWORD, PIN = "JIL_KEY_PASSWORD", "JIL_PIN"


def password(what: str, *, twice: bool = False) -> bytes:
    """The password of a key. Stop (KEY) without variable and terminal."""
    return _ask(PASSWORD, f"Password of {what}: ", what, twice=twice).encode()


def pin(what: str, source: str | None) -> str:
    """The user PIN of a token; ``source`` is the file that ``pin-source`` names."""
    if source:
        try:
            return Path(source.removeprefix("file:")).read_text().rstrip("\r\n")
        except OSError as error:
            raise Stop(f"cannot read the PIN from {source}: {error.strerror}", Exit.KEY) from None
    return _ask(PIN, f"PIN of {what}: ", what, twice=False)


def _ask(variable: str, prompt: str, what: str, *, twice: bool) -> str:
    given = os.environ.get(variable)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise Stop(f"{what} wants a password or PIN: set {variable}, or run this in a terminal", Exit.KEY)
    try:
        typed = getpass.getpass(prompt)
        if twice and getpass.getpass("Once more: ") != typed:
            raise Stop("the two are not the same: nothing was written, run it again", Exit.KEY)
    except EOFError:
        raise Stop(f"{what} wants a password or PIN, and none was typed", Exit.KEY) from None
    return typed
