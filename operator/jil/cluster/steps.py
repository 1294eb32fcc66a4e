"""At which height a step is booked, and from which height on the blocks since the last one count."""

from __future__ import annotations

from dataclasses import dataclass

from jil.cluster.ledger import Ledger
from jil.plan import chain
from jil.plan.voting import NetworkFacts


@dataclass(frozen=True)
class Steps:
    """The chain's height as it is seen now, at ``now_ms``, and what that makes of the last step."""

    facts: NetworkFacts
    policy: chain.ReadingPolicy
    now_ms: int

    @property
    def height(self) -> int | None:
        """The height that evidence gives now; what a record once saw is not the height of this step.

        The higher middle one: no single node can move it up, where the step would hold back all others for good, and of
        two that differ a node that lies low cannot make the blocks since the step look more than they are.
        """
        middle = chain.middle_heights(self._good())
        return middle[1] if middle else None

    def believed(self, ledger: Ledger) -> Ledger:
        """A step that is booked at a height that this chain never had (half of the nodes heard lied, or the chain began
        anew) is a step at an unknown height: the blocks after it count from the present one, and not never."""
        step = ledger.last_step
        if step is None or step.height is None:
            return ledger
        if not chain.out_of_reach(step.height, self._good(), self.policy, self.now_ms):
            return ledger
        return ledger.stepped(step.grant, None)

    def with_baseline(self, ledger: Ledger) -> Ledger:
        """A step at an unknown height is pinned to the first height that is seen afterwards: M blocks count from there."""
        step, height = ledger.last_step, self.height
        if step is None or step.height is not None or height is None:
            return ledger
        return ledger.stepped(step.grant, height)

    def _good(self) -> tuple[chain.ChainReading, ...]:
        return chain.usable(self.facts.readings, self.facts.chain_id, self.policy, self.now_ms)
