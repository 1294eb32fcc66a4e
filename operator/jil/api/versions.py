"""Kubernetes versions that this API needs, and which of them were tested how.

All features in use are GA at the floor: ``persistentVolumeClaimRetentionPolicy`` of StatefulSets (1.32),
``unhealthyPodEvictionPolicy`` of disruption budgets (1.31), ValidatingAdmissionPolicy (1.30), ReadWriteOncePod and the
CEL of the CRDs (``quantity()``, ``isQuantity()``, ``messageExpression``; 1.29). The floor is the oldest minor that the
tested API server can emulate, so that nothing is promised that was not tried.
"""

from __future__ import annotations

#: Kubernetes minors that are supported, oldest first.
SUPPORTED_MINORS: tuple[tuple[int, int], ...] = ((1, 33), (1, 34), (1, 35), (1, 36))
#: The minor of the binaries that all tests run on; the older ones are that API server with ``--emulated-version``.
TESTED_MINOR: tuple[int, int] = (1, 36)


def is_supported(major: str, minor: str) -> bool:
    """Whether a server that reports these (``GET /version``; providers append ``+`` to the minor) is supported.

    A newer one is: Kubernetes keeps GA APIs. Raises ValueError when the server reports no number.
    """
    digits = minor.rstrip("+")
    if not (major.isdigit() and digits.isdigit()):
        raise ValueError(f"the API server reports version {major!r}.{minor!r}: expected numbers such as 1 and 36")
    return (int(major), int(digits)) >= SUPPORTED_MINORS[0]
