"""The disruptive acts: everything the operator does that takes something away which runs. There are no others.

Creating, growing, re-arming and starting are not in the list: they take nothing away.
"""

from __future__ import annotations

from enum import StrEnum


class Act(StrEnum):
    """What is done to a target. Every one of them needs a grant (architecture: the one gate)."""

    STOP = "Stop"
    """Scale a workload to zero."""

    DRAIN = "Drain"
    """Delete a pod because its Kubernetes node is being emptied."""

    DELETE_POD = "DeletePod"
    """Delete a pod gracefully: a stuck one, or one that must take up a new template."""

    DELETE_WORKLOAD = "DeleteWorkload"
    """Delete a StatefulSet or Deployment, and with it its pods."""

    DISARM = "Disarm"
    """Lower a StatefulSet's rolling-update partition from 1 to 0, so that its pod is replaced."""

    SERVING_OFF = "ServingOff"
    """Take a pod out of its Service by its label."""

    PRUNE = "Prune"
    """Delete an orphaned child that is no workload (Service, ConfigMap, ...)."""


#: The component whose pod signs blocks.
VALIDATOR = "validator"

#: The acts that end the process in the target's pod.
ENDS_THE_POD = frozenset({Act.STOP, Act.DRAIN, Act.DELETE_POD, Act.DELETE_WORKLOAD, Act.DISARM})


def stops_a_validator(act: Act, component: str) -> bool:
    """Whether the act can cost consensus power: exactly the acts that end the pod of a validator.

    Databases, brokers, caches and services sign nothing: a validator goes on without them. Taking a validator out of
    its Service stops requests, not votes.
    """
    return component == VALIDATOR and act in ENDS_THE_POD
