"""The command line of the test bed."""

from __future__ import annotations

import argparse
import sys

from testbed import binaries
from testbed.errors import BedError


def main(arguments: list[str]) -> int:
    """Run one command; returns the process's exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
    except BedError as problem:
        print(f"testbed: error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("testbed: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m testbed", description="Real Kubernetes for the tests and the demo."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("binaries", help="build the test bed's programs into the cache and list them")
    command.set_defaults(action=_binaries)
    return parser


def _binaries(_: argparse.Namespace) -> None:
    for name, program in sorted(binaries.all_programs().items()):
        print(f"{name}\t{program}")
