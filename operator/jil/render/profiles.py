"""Resource profiles: what each component requests. Memory limits equal requests; no CPU limits anywhere.

``dev`` keeps the operator and a whole node with two services within 800m CPU of requests, so that a two-core machine
can hold them beside a control plane (the control plane of kind asks for 850m itself).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resources:
    """CPU in Kubernetes quantities ("100m"), memory in binary quantities ("256Mi")."""

    cpu: str
    memory: str

    def as_requirements(self) -> dict[str, Any]:
        return {"requests": {"cpu": self.cpu, "memory": self.memory}, "limits": {"memory": self.memory}}


@dataclass(frozen=True)
class Profile:
    database: Resources
    cache: Resources
    broker: Resources
    validator: Resources
    health: Resources
    service: Resources
    shared_buffers_mb: int  # PostgreSQL: about a quarter of the database's memory
    cache_max_memory_mb: int  # Redis: below its limit, because a background save forks
    broker_heap_mb: int  # JVM heap of the kafka flavour
    require_host_spread: bool  # two validators of one network never on one host


_PROFILES = {
    "dev": Profile(
        database=Resources("50m", "256Mi"),
        cache=Resources("20m", "64Mi"),
        broker=Resources("100m", "512Mi"),
        validator=Resources("100m", "256Mi"),
        health=Resources("20m", "128Mi"),
        service=Resources("30m", "160Mi"),
        shared_buffers_mb=64,
        cache_max_memory_mb=32,
        broker_heap_mb=192,
        require_host_spread=False,
    ),
    "small": Profile(
        database=Resources("500m", "1Gi"),
        cache=Resources("100m", "256Mi"),
        broker=Resources("500m", "2Gi"),
        validator=Resources("500m", "1Gi"),
        health=Resources("50m", "128Mi"),
        service=Resources("100m", "256Mi"),
        shared_buffers_mb=256,
        cache_max_memory_mb=160,
        broker_heap_mb=1024,
        require_host_spread=False,
    ),
    "prod": Profile(
        database=Resources("2", "8Gi"),
        cache=Resources("500m", "2Gi"),
        broker=Resources("2", "8Gi"),
        validator=Resources("2", "4Gi"),
        health=Resources("100m", "256Mi"),
        service=Resources("250m", "512Mi"),
        shared_buffers_mb=2048,
        cache_max_memory_mb=1400,
        broker_heap_mb=4096,
        require_host_spread=True,
    ),
}


def profile_for(name: str) -> Profile:
    """The profile of that name; the schema admits no other (KeyError is a bug)."""
    return _PROFILES[name]
