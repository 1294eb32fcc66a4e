"""Runs the checks side by side, each with its own deadline, and reports each one as soon as it is its turn."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass

from jil.node.monitor import describe

PAUSE_SECONDS = 0.5
_NAME_WIDTH, _VERSION_WIDTH = 10, 32


class ContradictionError(Exception):
    """The node answered, and the answer is wrong: no later attempt can make that right."""


@dataclass(frozen=True)
class Evidence:
    """What a check found: the component's own version, and in words what was proved."""

    version: str | None
    detail: str


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    name: str
    ok: bool
    version: str | None
    detail: str
    seconds: float
    attempts: int


Check = Callable[[], Awaitable[Evidence]]


async def prove(
    name: str,
    check: Check,
    *,
    deadline: float,
    redact: Callable[[str], str] = str,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Finding:
    """Try until it succeeds or ``deadline`` seconds have passed: right after a start, names and endpoints may need a
    moment. A contradiction ends it at once."""
    started = monotonic()
    attempts = 0
    last = "no attempt has ended"
    while True:
        left = deadline - (monotonic() - started)
        if left <= 0:
            break
        attempts += 1
        try:
            async with asyncio.timeout(left):
                evidence = await check()
        except TimeoutError as error:
            last = describe(error) if str(error) else f"no answer within {deadline:g} s; before that: {last}"
        except ContradictionError as error:
            last = describe(error)
            break
        except Exception as error:
            last = describe(error)
        else:
            return Finding(name, True, evidence.version, evidence.detail, monotonic() - started, attempts)
        await sleep(min(PAUSE_SECONDS, max(0.0, deadline - (monotonic() - started))))
    return Finding(name, False, None, redact(last), monotonic() - started, attempts)


async def run(
    checks: Mapping[str, Check], *, deadline: float, redact: Callable[[str], str] = str
) -> AsyncIterator[Finding]:
    """The findings in the order of ``checks``, all of them under way at the same time."""
    tasks = [
        asyncio.create_task(prove(name, check, deadline=deadline, redact=redact)) for name, check in checks.items()
    ]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def line(finding: Finding) -> str:
    """One finding for people."""
    verdict = "ok  " if finding.ok else "FAIL"
    tries = f", {finding.attempts} attempts" if finding.attempts > 1 else ""
    version = finding.version or "-"
    return (
        f"{verdict}  {finding.name:<{_NAME_WIDTH}}  {version:<{_VERSION_WIDTH}}  "
        f"{finding.detail}  ({finding.seconds:.2f} s{tries})"
    )


def summary(findings: list[Finding], seconds: float) -> str:
    """The last line for people."""
    failed = [finding.name for finding in findings if not finding.ok]
    if failed:
        passed = f"{len(findings) - len(failed)} of {len(findings)} checks passed"
        return f"FAILED: {', '.join(failed)} ({passed}, {seconds:.1f} s)"
    return f"all {len(findings)} checks passed in {seconds:.1f} s"


def document(node: str, namespace: str, findings: list[Finding], seconds: float) -> str:
    """The findings for machines."""
    checks = [asdict(finding) | {"seconds": round(finding.seconds, 3)} for finding in findings]
    ok = all(finding.ok for finding in findings)
    return json.dumps({"node": node, "namespace": namespace, "ok": ok, "seconds": round(seconds, 3), "checks": checks})
