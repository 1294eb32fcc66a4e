"""The gate's lines in the audit log (I9): who asked, what for, why, what it was before and what it would be after.

The logger is ``jil.audit``; it adds when. Every grant and every refusal has its line; a refusal that is merely asked
for again and again, with the same numbers, is repeated every ten minutes.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from jil.plan.verdict import Allow, Deny, Impossible, Numbers

_log = logging.getLogger("jil.audit")

_REPEAT_MS: Final = 10 * 60 * 1000


class GateLog:
    """Remembers what was refused last, so that a reconcile that polls does not fill the log."""

    def __init__(self) -> None:
        self._refused: dict[str, tuple[str, int]] = {}

    def granted(self, network: str, *, who: str, what: str, why: str, verdict: Allow, **facts: Any) -> None:
        """A grant stands in the ledger and is handed out."""
        self._refused.pop(what, None)
        before, after = _power(verdict.numbers)
        line(
            "disruption.granted",
            network,
            who=who,
            what=what,
            why=why,
            basis=verdict.basis,
            message=verdict.message,
            before=before,
            after=after,
            **facts,
        )

    def refused(self, network: str, *, who: str, what: str, why: str, answer: Deny | Impossible, now_ms: int) -> None:
        """Nothing was granted."""
        said, at = self._refused.get(what, ("", 0))
        if said == str(answer) and now_ms - at < _REPEAT_MS:
            return
        self._refused[what] = (str(answer), now_ms)
        before, after = _power(answer.numbers)
        line(
            "disruption.denied" if isinstance(answer, Deny) else "disruption.impossible",
            network,
            who=who,
            what=what,
            why=why,
            refusal=answer.reason,
            message=str(answer),
            before=before,
            after=after,
        )


def line(action: str, network: str, *, who: str, what: str, why: str, before: Any, after: Any, **facts: Any) -> None:
    """One line."""
    entry = {"action": action, "network": network, "who": who, "what": what, "why": why, **facts}
    _log.info("%s: %s", action, what, extra={"audit": {**entry, "before": before, "after": after}})


def _power(numbers: Numbers | None) -> tuple[dict[str, int] | None, dict[str, int] | None]:
    if numbers is None:
        return None, None
    fixed = {"total": numbers.total, "quorum": numbers.quorum, "reserve": numbers.reserve}
    return {**fixed, "away": numbers.away}, {**fixed, "away": numbers.away_after}
