"""Where a node of a test is declared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Home:
    """One node of a network: its namespace and its name."""

    network: str
    namespace: str
    name: str
    node_id: str
