"""The environment of a container in a node, as typed settings.

The operator sets the variables: the three of identity always, those of a component when the service's ``needs`` name
it. A variable that is missing or wrong stops the program at its start with its name and where it comes from; no
message ever repeats the value of a secret.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """The environment does not say what this program needs to start; the text names every variable and the remedy."""


class _FromEnvironment(BaseSettings):
    #: What to do when a variable of this group is missing.
    remedy: ClassVar[str]
    #: The variable without which the whole group counts as not configured (see ``load_optional``).
    presence: ClassVar[str]

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    def secrets(self) -> tuple[str, ...]:
        """Every secret value of this group, for redaction."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(value.get_secret_value() for value in values if isinstance(value, SecretStr))


class Identity(_FromEnvironment):
    """Which node this is: the only three values that differ between two nodes."""

    remedy: ClassVar[str] = "the operator sets it in every container of a node"
    presence: ClassVar[str] = "node_id"
    model_config = SettingsConfigDict(env_prefix="JIL_")

    node_id: str = Field(min_length=1, max_length=63)
    region: str = Field(min_length=1, max_length=63)
    jurisdiction: str = Field(min_length=1, max_length=63)


class Listen(_FromEnvironment):
    """How the program serves HTTP."""

    remedy: ClassVar[str] = "unset it to use the default, or correct the number"
    presence: ClassVar[str] = "port"
    model_config = SettingsConfigDict(env_prefix="JIL_")

    host: str = "0.0.0.0"
    port: int = Field(ge=1, le=65535)
    #: After SIGTERM: seconds during which it still accepts requests while /readyz already refuses (endpoints need a
    #: moment to forget a pod), then seconds that requests under way may still take.
    drain_seconds: float = Field(default=1.0, ge=0, le=60)
    stop_seconds: float = Field(default=15.0, ge=0, le=300)


class DatabaseSettings(_FromEnvironment):
    """The node's own PostgreSQL."""

    remedy: ClassVar[str] = "the operator sets it for a service whose `needs` in the JILRelease include `database`"
    presence: ClassVar[str] = "host"
    model_config = SettingsConfigDict(env_prefix="JIL_DATABASE_")

    host: str = Field(min_length=1)
    port: int = Field(default=5432, ge=1, le=65535)
    name: str = Field(min_length=1)
    user: str = Field(min_length=1)
    password: SecretStr


class CacheSettings(_FromEnvironment):
    """The node's own Redis."""

    remedy: ClassVar[str] = "the operator sets it for a service whose `needs` in the JILRelease include `cache`"
    presence: ClassVar[str] = "host"
    model_config = SettingsConfigDict(env_prefix="JIL_CACHE_")

    host: str = Field(min_length=1)
    port: int = Field(default=6379, ge=1, le=65535)
    user: str = Field(min_length=1)
    password: SecretStr


class BrokerSettings(_FromEnvironment):
    """The node's own broker, reached through the Kafka protocol."""

    remedy: ClassVar[str] = "the operator sets it for a service whose `needs` in the JILRelease include `broker`"
    presence: ClassVar[str] = "seeds"
    model_config = SettingsConfigDict(env_prefix="JIL_BROKER_")

    #: Comma-separated host:port.
    seeds: str = Field(min_length=1)

    @field_validator("seeds")
    @classmethod
    def _each_seed_is_host_and_port(cls, value: str) -> str:
        for seed in value.split(","):
            host, _, port = seed.strip().rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError("must be host:port, or several of them separated by commas, such as node-broker:9092")
        return value

    def addresses(self) -> list[tuple[str, int]]:
        """The seeds as (host, port)."""
        parts = (seed.strip().rpartition(":") for seed in self.seeds.split(","))
        return [(host, int(port)) for host, _, port in parts]


class ChainSettings(_FromEnvironment):
    """The RPC address of the node's own validator."""

    remedy: ClassVar[str] = (
        "the operator sets it for a service whose `needs` in the JILRelease include `chain`, on a node with "
        "spec.validator.enabled"
    )
    presence: ClassVar[str] = "url"
    model_config = SettingsConfigDict(env_prefix="JIL_RPC_")

    url: str = Field(pattern=r"^https?://[^/\s]+/?$")


class ComplianceSettings(_FromEnvironment):
    """Where the compliance config that the jurisdiction pushes is mounted; unset where there is none."""

    remedy: ClassVar[str] = "the operator sets it in every service container"
    presence: ClassVar[str] = "file"
    model_config = SettingsConfigDict(env_prefix="JIL_COMPLIANCE_")

    file: Path | None = None


Settings = TypeVar("Settings", bound=_FromEnvironment)


def load(kind: type[Settings], **defaults: object) -> Settings:
    """Read one group of settings from the environment; ``defaults`` hold where the environment is silent.

    Raises SettingsError with one line for each variable that is missing or wrong.
    """
    prefix = kind.model_config.get("env_prefix", "")
    given = {name: value for name, value in defaults.items() if not _is_set(kind, name)}
    try:
        return kind(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = []
        for item in error.errors(include_input=False, include_url=False):
            variable = prefix + "_".join(str(part) for part in item["loc"]).upper()
            problem = "is not set" if item["type"] == "missing" else f"is wrong: {item['msg']}"
            lines.append(f"environment variable {variable} {problem} ({kind.remedy})")
        raise SettingsError("; ".join(lines)) from None


def load_optional(kind: type[Settings]) -> Settings | None:
    """Like ``load``, but None when the group's main variable is not set at all."""
    return load(kind) if _is_set(kind, kind.presence) else None


def _is_set(kind: type[_FromEnvironment], name: str) -> bool:
    return bool(os.environ.get(f"{kind.model_config.get('env_prefix', '')}{name}".upper()))
