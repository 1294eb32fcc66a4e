"""Counting: whose signatures and approvals hold now, and are there enough of different owners."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jil.api.trust import Track
from jil.trust.faults import FORMAT, Fault
from jil.trust.policy import Custody, Key, Revocation, Role, TrackRule
from jil.trust.verdict import RefusalReason

#: How far the clock of a signer may be ahead of ours.
SKEW = timedelta(minutes=5)

#: What lies about in a well-kept repository: told only when there is nothing else to tell.
_ORDINARY = frozenset(
    {
        RefusalReason.UNSIGNED,
        RefusalReason.NOT_A_SIGNATURE,
        RefusalReason.UNKNOWN_KEY,
        RefusalReason.MALFORMED,
        RefusalReason.WRONG_ROLE,
        RefusalReason.WRONG_TRACK,
        RefusalReason.WRONG_RELEASE,
    }
)
_ORDER = tuple(RefusalReason)
#: From weak to strong.
_STRENGTH = (Custody.FILE, Custody.KMS, Custody.HSM)


@dataclass(frozen=True)
class Vote:
    """One signature or approval that holds."""

    key: Key
    format: str
    signed_at: datetime | None
    #: When it stops to hold; None: never.
    until: datetime | None


def check_role(key: Key, track: Track) -> None:
    """Raises Fault (WrongRole) unless ``key`` may sign images and releases for ``track``."""
    if Role.SIGNER in key.roles or (Role.CI in key.roles and track is Track.DEVNET):
        return
    text = f"{key.id} has no role signer"
    if Role.CI in key.roles:
        text = f"{key.id} has role ci, which signs for devnet only"
    raise Fault(RefusalReason.WRONG_ROLE, f"keys[{key.id}].roles", text)


def check_approver(key: Key) -> None:
    """Raises Fault (WrongRole) unless ``key`` may approve."""
    if Role.APPROVER not in key.roles:
        raise Fault(RefusalReason.WRONG_ROLE, f"keys[{key.id}].roles", f"{key.id} has no role approver")


def key_until(key: Key, signed_at: datetime | None, now: datetime) -> datetime | None:
    """Until when a signature that ``key`` made at ``signed_at`` holds as far as the key goes; None: for ever.

    A signature made inside the window outlives it. Where the signature does not say when it was made, it holds only
    while the key itself does, and not at all once the key is revoked. A key that is revoked as compromised holds
    nothing, also when revokedAt lies ahead. Raises Fault: KeyRevoked, KeyOutsideWindow, FromTheFuture.
    """
    rule = f"keys[{key.id}]"
    if key.revoked_at is not None:
        if key.revocation is Revocation.COMPROMISED:
            text = f"{key.id} is revoked as compromised, with all that it signed"
            raise Fault(RefusalReason.KEY_REVOKED, f"{rule}.revokedAt", text)
        if signed_at is None or signed_at >= key.revoked_at:
            when = f"at {signed_at:%Y-%m-%dT%H:%M:%SZ}" if signed_at else "at a time that it does not say"
            text = f"{key.id} was revoked at {key.revoked_at:%Y-%m-%dT%H:%M:%SZ}, and this was signed {when}"
            raise Fault(RefusalReason.KEY_REVOKED, f"{rule}.revokedAt", text)
    if signed_at is not None and signed_at > now + SKEW:
        text = f"{key.id} signed it in the future, at {signed_at:%Y-%m-%dT%H:%M:%SZ}: a clock is wrong"
        raise Fault(RefusalReason.FROM_THE_FUTURE, FORMAT, text)
    moment = now if signed_at is None else signed_at
    which = "now, as the signature has no time of its own" if signed_at is None else f"at {moment:%Y-%m-%dT%H:%M:%SZ}"
    if key.not_before is not None and moment < key.not_before:
        text = f"{key.id} is not valid before {key.not_before:%Y-%m-%dT%H:%M:%SZ}, and it is used {which}"
        raise Fault(RefusalReason.KEY_OUTSIDE_WINDOW, f"{rule}.notBefore", text)
    if key.not_after is not None and moment > key.not_after:
        text = f"{key.id} is not valid after {key.not_after:%Y-%m-%dT%H:%M:%SZ}, and it is used {which}"
        raise Fault(RefusalReason.KEY_OUTSIDE_WINDOW, f"{rule}.notAfter", text)
    return key.not_after if signed_at is None else None


def signature_until(key: Key, rule: TrackRule, signed_at: datetime | None, now: datetime) -> datetime | None:
    """As `key_until`, and by the rule of the track. Raises Fault also with TooOld and WeakCustody."""
    until = key_until(key, signed_at, now)
    path = f"tracks[{rule.track}]"
    if _STRENGTH.index(key.custody) < _STRENGTH.index(rule.custody):
        text = f"{key.id} is kept in {key.custody}, and {rule.track} asks for {rule.custody}"
        raise Fault(RefusalReason.WEAK_CUSTODY, f"{path}.custody", text)
    if rule.max_age is None:
        return until
    days = rule.max_age.days
    if signed_at is None:
        text = f"the signature of {key.id} does not say when it was made, and {rule.track} lets it hold {days} days"
        raise Fault(RefusalReason.TOO_OLD, f"{path}.maxAgeDays", text)
    if signed_at + rule.max_age <= now:
        text = f"{key.id} signed it at {signed_at:%Y-%m-%dT%H:%M:%SZ}, and {rule.track} lets that hold {days} days"
        raise Fault(RefusalReason.TOO_OLD, f"{path}.maxAgeDays", text)
    return earliest(until, signed_at + rule.max_age)


def enough(
    votes: Sequence[Vote], faults: Sequence[Fault], *, needed: int, what: str, rule: str, too_few: RefusalReason
) -> datetime | None:
    """Until when there are votes of ``needed`` different owners; None: for ever.

    Raises Fault when there are too few now: with the reason of the fault that came nearest to counting, else
    ``too_few``, and with up to three of the faults in its text.
    """
    best: dict[str, datetime | None] = {}
    for vote in votes:
        owner = vote.key.owner
        best[owner] = latest(best[owner], vote.until) if owner in best else vote.until
    if len(best) >= needed:
        ends = sorted((end for end in best.values() if end is not None), reverse=True)
        forever = len(best) - len(ends)
        return None if forever >= needed else ends[needed - forever - 1]
    telling = [fault for fault in faults if fault.reason not in _ORDINARY]
    ordered = sorted(telling or faults, key=lambda fault: _ORDER.index(fault.reason), reverse=True)
    texts = tuple(dict.fromkeys(fault.text for fault in (*ordered, *faults)))
    text = f"it has {len(best)} of {needed} {what}" + (f": {_some(texts)}" if texts else "")
    if telling or (not best and ordered):
        # The rule that the fault broke; where that is the format alone, the rule that asked for the signature.
        raise Fault(ordered[0].reason, rule if ordered[0].rule == FORMAT else ordered[0].rule, text)
    raise Fault(too_few, rule, text)


def _some(texts: Sequence[str]) -> str:
    return "; ".join(texts[:3]) + (f"; and {len(texts) - 3} more" if len(texts) > 3 else "")


def earliest(*moments: datetime | None) -> datetime | None:
    """The first of ``moments``, where None is never."""
    return min((moment for moment in moments if moment is not None), default=None)


def latest(a: datetime | None, b: datetime | None) -> datetime | None:
    """The later of two ends, where None is never."""
    return None if a is None or b is None else max(a, b)


def key_ids(votes: Iterable[Vote]) -> tuple[str, ...]:
    """Ids of the keys, sorted."""
    return tuple(sorted({vote.key.id for vote in votes}))
