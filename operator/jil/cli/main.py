"""The command ``jilctl``, also ``kubectl jil``."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

import jil
from jil.cli import images, keys, releases

app = typer.Typer(
    name="jilctl",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Images, releases and keys of JIL networks: what runs is signed, approved for its track, and the very bytes.",
)
app.add_typer(images.app, name="image")
app.add_typer(releases.app, name="release")
app.add_typer(keys.app, name="keys")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"jilctl {jil.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Entry point."""
    # In order: the library that reads kubeconfigs removes what it wrote of an inline key when the program exits.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    app()
