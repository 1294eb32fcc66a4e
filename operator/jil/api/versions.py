"""Kubernetes versions that this API and what it relies on need, and which of them were tested.

The floor is the newest feature in use that has no substitute: ``persistentVolumeClaimRetentionPolicy`` of StatefulSets
(GA in 1.32). Below it would come ValidatingAdmissionPolicy (GA 1.30) and ``unhealthyPodEvictionPolicy`` of disruption
budgets (GA 1.31); the CEL that the CRDs use (``quantity()``, ``isQuantity()``, ``messageExpression``) is older.
"""

from __future__ import annotations

#: Kubernetes minors that are supported, oldest first.
SUPPORTED_MINORS: tuple[tuple[int, int], ...] = ((1, 32), (1, 33), (1, 34), (1, 35), (1, 36))
#: The minors that the project's own tests run on.
TESTED_MINORS: tuple[tuple[int, int], ...] = ((1, 36),)


def is_supported(major: str, minor: str) -> bool:
    """Whether a server that reports these (``GET /version``; providers append ``+`` to the minor) is supported.

    A newer one is: Kubernetes keeps GA APIs. Raises ValueError when the server reports no number.
    """
    digits = minor.rstrip("+")
    if not (major.isdigit() and digits.isdigit()):
        raise ValueError(f"the API server reports version {major!r}.{minor!r}: expected numbers such as 1 and 36")
    return (int(major), int(digits)) >= SUPPORTED_MINORS[0]
