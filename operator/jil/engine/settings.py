"""Settings of the operator: environment variables with the prefix JIL_, checked at the start."""

from __future__ import annotations

import os
import socket
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jil.api import labels
from jil.cluster.lease import LeaseTimes


class Settings(BaseSettings):
    """``JIL_SYSTEM_NAMESPACE`` and so on. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="JIL_", frozen=True, extra="ignore")

    system_namespace: str = Field(default=labels.SYSTEM_NAMESPACE, min_length=1, max_length=63)
    pod_name: str = Field(default_factory=socket.gethostname, min_length=1)
    kubeconfig: str | None = Field(default=None, description="Path of a kubeconfig file; unset inside a pod.")
    kube_context: str | None = Field(default=None, description="Context in that file; unset for its current one.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    http_host: str = "0.0.0.0"
    http_port: int = Field(default=8080, ge=0, le=65535, description="/livez, /readyz, /metrics; 0 picks a free port.")

    health_url: str = Field(
        default="http://{address}:8081/v1/health",
        description="Health endpoint of a JILNode; {address} (of its health Service), {name} and {namespace} are filled in.",
    )
    health_interval: float = Field(
        default=5.0,
        gt=0,
        description="Seconds between two readings of a node's health (one that is not well: 1, for two minutes).",
    )

    image_mirror: str | None = Field(default=None, description="Host[:port][/path] that nodes' images are pulled from.")
    image_pull_secrets: tuple[str, ...] = Field(default=(), description="Pull secrets of nodes' pods, as a JSON list.")
    priority_classes: bool = Field(default=False, description="Set the chart's PriorityClasses on nodes' pods.")

    registry_config: str | None = Field(
        default=None, description="Path of a Docker configuration (config.json) with credentials of registries."
    )
    registry_ca: str | None = Field(
        default=None, description="Path of CA certificates in PEM that registries are trusted by, beside the system's."
    )
    registry_endpoints: dict[str, str] = Field(
        default_factory=dict,
        description="Where registries are reached if not at https://NAME: name in images -> base URL, as JSON.",
    )

    node_login_registry: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$",
        description="Host[:port] that nodes pull from with a login of their own; unset for no such logins.",
    )
    node_login_key: str | None = Field(
        default=None, description="Path of the Ed25519 key (PEM) that these logins are signed with."
    )
    node_login_lifetime: int = Field(default=3600, ge=10, le=86400, description="Seconds that such a login holds.")

    orphan_grace: float = Field(
        default=60.0, ge=0, description="Children whose JILNode is gone are left alone for this long."
    )

    workers: int = Field(default=16, ge=1, le=256, description="Reconciles at the same time.")
    reconcile_timeout: float = Field(default=120.0, gt=0, description="A reconcile that takes longer is broken off.")
    resync: float = Field(default=600.0, gt=0, description="Every object is looked at about this often, spread evenly.")
    sweep: float = Field(default=300.0, gt=0, description="Time between two comparisons of the store with the server.")
    sweep_grace: float = Field(
        default=5.0, ge=0, description="What the watch may be behind before it counts as missed."
    )
    heartbeat_limit: float = Field(
        default=90.0, gt=0, description="A Lease renewal must come back by watch within this."
    )
    loop_lag_limit: float = Field(default=15.0, gt=0, description="An event loop later than this is not alive.")
    shutdown: float = Field(default=20.0, gt=0, description="What reconciles under way get to end at shutdown.")

    lease_name: str = "jil-operator"
    lease_duration: float = 15.0
    lease_renew_deadline: float = 10.0
    lease_retry: float = 2.0

    @model_validator(mode="after")
    def _lease_times_fit(self) -> Self:
        self.lease_times()
        return self

    @model_validator(mode="after")
    def _node_logins_can_be_used(self) -> Self:
        if (self.node_login_registry is None) != (self.node_login_key is None):
            raise ValueError("node logins need both: JIL_NODE_LOGIN_REGISTRY and JIL_NODE_LOGIN_KEY")
        mirror = (self.image_mirror or "").partition("/")[0]
        if mirror and self.node_login_registry and mirror != self.node_login_registry:
            raise ValueError(
                f"nodes pull from the mirror {mirror} (JIL_IMAGE_MIRROR), so a login at {self.node_login_registry} would open"
                " nothing: JIL_NODE_LOGIN_REGISTRY must be the mirror's host[:port]"
            )
        return self

    def lease_times(self) -> LeaseTimes:
        """The three lease settings together. Raises ValueError when they cannot work."""
        return LeaseTimes(self.lease_duration, self.lease_renew_deadline, self.lease_retry)

    def identity(self) -> str:
        """Who holds the lease: the pod, and this process of it."""
        return f"{self.pod_name}_{os.urandom(4).hex()}"
