"""``python -m jil.node.probe``: prove that a node works; exit code 0 when every check passed, 1 when one failed,
2 when the call or the environment is not right."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

from jil.node import VERSION
from jil.node.logs import Redactor
from jil.node.probe import components, proof, services, targets
from jil.node.program import run

CHECKS = ("database", "cache", "broker", "chain", "transfers", "rates")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m jil.node.probe",
        description="Prove that a JIL node works, from database to services, through its Services' DNS names.",
        epilog="Passwords come from JIL_DATABASE_PASSWORD and JIL_CACHE_PASSWORD or from --credentials.",
    )
    parser.add_argument("--node", required=True, help="name of the JILNode, such as ch-zug-01")
    parser.add_argument("--namespace", required=True, help="its namespace, such as jil-ch-finma")
    parser.add_argument("--credentials", type=Path, metavar="DIR", help="folder with app-password and cache-password")
    parser.add_argument("--transfers", default="transfers", metavar="NAME", help="name of the transfer service")
    parser.add_argument("--rates", default="rates", metavar="NAME", help="name of the rate service")
    parser.add_argument("--leave-out", action="append", default=[], choices=CHECKS, help="do not run this check")
    parser.add_argument("--deadline", type=float, default=30.0, metavar="SECONDS", help="for each check (default 30)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    return parser


async def main() -> int:
    """Run the proof."""
    options = arguments().parse_args()
    target = targets.find(
        options.node,
        options.namespace,
        credentials=options.credentials,
        transfers=options.transfers,
        rates=options.rates,
    )
    checks: dict[str, proof.Check] = {
        "database": partial(components.database, target.database),
        "cache": partial(components.cache, target.cache),
        "broker": partial(components.broker, target.broker),
        "chain": partial(components.chain, target.chain, patience=max(1.0, options.deadline - 2.0)),
        "transfers": partial(services.transfers, target.transfers_url),
        "rates": partial(services.rates, target.rates_url),
    }
    checks = {name: check for name, check in checks.items() if name not in options.leave_out}
    if not checks:
        print("nothing is left to check: leave out less", file=sys.stderr)  # noqa: T201
        return 2

    say = _nothing if options.json else partial(print, flush=True)
    say(f"proof of node {target.node} in namespace {target.namespace}, by jil-probe {VERSION}")
    started = time.monotonic()
    findings = []
    async for finding in proof.run(checks, deadline=options.deadline, redact=Redactor(target.secrets())):
        findings.append(finding)
        say(proof.line(finding))
    for name in options.leave_out:
        say(f"----  {name} was left out")
    took = time.monotonic() - started
    say(proof.summary(findings, took))
    if options.json:
        print(proof.document(target.node, target.namespace, findings, took))  # noqa: T201
    return 0 if all(finding.ok for finding in findings) else 1


def _nothing(_: str) -> None:
    pass


if __name__ == "__main__":
    sys.exit(run(main))
