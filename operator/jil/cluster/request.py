"""What is asked of the gate: one act on one object, for one node and one reason."""

from __future__ import annotations

from dataclasses import dataclass

from jil.api import kinds, labels
from jil.cluster.grant import TargetRef
from jil.plan.acts import VALIDATOR, Act, stops_a_validator
from jil.plan.verdict import Deny, DenyReason
from jil.plan.voting import NO_CONSENSUS_KEY, PodState, Subject


@dataclass(frozen=True, slots=True)
class Disruption:
    """What is to be done to whom, and why.

    ``node``: ``namespace/name`` of the JILNode. ``consensus_address``: from its record; NO_CONSENSUS_KEY when the
    record says that no key was ever made; None when it is not known. ``pod``: the validator's pod as read live, when
    ``target`` is it or its StatefulSet, and ``pod_uid`` its UID, None when there is none. ``target``: at the version
    that the decision was made from.
    """

    act: Act
    network: str
    node: str
    component: str
    target: TargetRef
    consensus_address: str | None
    reason: str
    pod: PodState = PodState.UNKNOWN
    pod_uid: str | None = None
    requested_by: str = "jil-operator"

    def __post_init__(self) -> None:
        name = self.node.rsplit("/", 1)[-1]
        validator = {
            kinds.STATEFUL_SET: labels.child_name(name, VALIDATOR),
            kinds.POD: labels.pod_name(name, VALIDATOR),
        }
        if self.component != VALIDATOR and self.target.name == validator.get(self.target.kind):
            raise ValueError(f"{self.target} is the validator of {self.node}, not its {self.component!r}")

    @property
    def holds(self) -> bool:
        """Whether the grant stays open until the validator is back."""
        return stops_a_validator(self.act, self.component) and self.consensus_address != NO_CONSENSUS_KEY

    @property
    def address(self) -> str | None:
        """The consensus address, if there is one and it is known."""
        return None if self.consensus_address == NO_CONSENSUS_KEY else self.consensus_address


def subject(disruption: Disruption) -> Subject:
    """What the quorum decision is about."""
    return Subject(disruption.node, disruption.act, disruption.component, disruption.consensus_address, disruption.pod)


def changed(disruption: Disruption) -> Deny:
    """The answer when the target is not what was decided about."""
    return Deny(
        DenyReason.TARGET_CHANGED,
        f"{disruption.target} is no longer at version {disruption.target.resource_version} that was decided about",
        "it is read again",
    )


def asked(disruption: Disruption) -> str:
    """For the audit log."""
    return f"{disruption.act} {disruption.target} of JILNode {disruption.node}"
