"""What becomes of an open grant of a node that runs again, that is no longer to be stopped, or that has left. Pure.

Pods are told apart by UID and by nothing else: clocks of whole seconds cannot say which of two came first.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from jil.plan import chain
from jil.plan.acts import Act
from jil.plan.health import HealthReading
from jil.plan.podview import PodView
from jil.plan.voting import NetworkFacts

#: Kubernetes' times have whole seconds, cut off: from here on a moment is certainly later than such a time.
_WHOLE_SECOND: Final = timedelta(seconds=1)


class GiveBack(StrEnum):
    """What to do with the grant now."""

    RELEASE = "Release"
    """The act was carried out, and the validator is back."""

    TAKE_BACK = "TakeBack"
    """The act was not carried out and is not wanted any more."""

    KEEP = "Keep"


def plan_give_back(act: Act, granted_pod: str | None, pod: PodView, *, follows: bool, wanted: bool) -> GiveBack:
    """The grant for ``act``, given while ``granted_pod`` (UID, None: there was none) was the validator's pod.

    ``pod``: the validator's pod now, read live after its StatefulSet's controller had seen the newest spec; before that
    a pod may be about to be ended by what was asked of the controller earlier. ``follows``: a reading from after it
    became ready says that it follows the chain. ``wanted``: whether the act is still asked for.
    """
    if pod.deleting:
        return GiveBack.KEEP
    if pod.uid != granted_pod:
        return GiveBack.RELEASE if pod.ready and follows else GiveBack.KEEP
    if act in (Act.STOP, Act.DRAIN) and not wanted:
        return GiveBack.TAKE_BACK
    return GiveBack.KEEP


def has_left(
    address: str, facts: NetworkFacts, *, now_ms: int, policy: chain.ReadingPolicy = chain.DEFAULT_READING_POLICY
) -> bool:
    """Whether the validator is no part of its network any more, so that nothing is away that could come back: nobody
    declares its key, and the nodes of an advancing chain say that it neither votes nor is about to.

    A member here whose key is not known may be just this one.
    """
    if any(member.address == address or (member.local and member.address is None) for member in facts.members):
        return False
    good = chain.usable(facts.readings, facts.chain_id, policy, now_ms)
    return chain.speaks_for_now(good, policy, now_ms) and not facts.in_the_set(address)


def follows_the_chain(reading: HealthReading | None, pod: PodView, now: datetime) -> bool:
    """Whether this reading is fresh, was made after the pod became ready, and says that the chain is followed."""
    if reading is None or not reading.fresh(now) or reading.chain is None or pod.ready_since is None:
        return False
    if reading.at < pod.ready_since + _WHOLE_SECOND:
        return False
    return reading.chain.ok and not reading.chain.catching_up
