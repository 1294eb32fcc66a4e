"""Options that several commands share, each with its help and its environment variable."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from jil.api.trust import Track
from jil.cli.exits import Exit, Stop


class Format(StrEnum):
    """Forms of output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


_REGISTRY, _POLICY, _KEY = "Registry", "Policy", "Key"

Image = Annotated[str, typer.Argument(help="REPOSITORY:TAG or REPOSITORY@sha256:DIGEST.", show_default=False)]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]
TrackOption = Annotated[
    Track | None,
    typer.Option("--track", help="Track that counts; that of the network when unset.", show_default=False),
]
Release = Annotated[
    str | None,
    typer.Option("--release", help="JILRelease that it is for; approvals are for one release.", show_default=False),
]
Platform = Annotated[
    str | None,
    typer.Option("--platform", help="Of the nodes, such as linux/amd64; any when unset.", show_default=False),
]
KeyName = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="JIL_KEY",
        help="PATH, env:VARIABLE, secret:NAMESPACE/NAME or pkcs11:token=LABEL;object=LABEL.",
        rich_help_panel=_KEY,
        show_default=False,
    ),
]

AuditLog = Annotated[
    str | None,
    typer.Option(
        "--audit-log",
        envvar="JIL_AUDIT_LOG",
        help="Append one JSON line per step, also per refused one; where that cannot be, nothing is signed.",
        show_default=False,
    ),
]

PolicyFile = Annotated[
    str | None,
    typer.Option(
        "--policy",
        envvar="JIL_POLICY",
        help="File with a JILNetwork or its spec.trust.",
        rich_help_panel=_POLICY,
        show_default=False,
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        envvar="JIL_NETWORK",
        help="JILNetwork in the cluster whose policy counts.",
        rich_help_panel=_POLICY,
        show_default=False,
    ),
]
Kubeconfig = Annotated[
    str | None, typer.Option("--kubeconfig", help="Kubeconfig file.", rich_help_panel=_POLICY, show_default=False)
]
Context = Annotated[
    str | None, typer.Option("--context", help="Context of it.", rich_help_panel=_POLICY, show_default=False)
]

RegistryConfig = Annotated[
    str | None,
    typer.Option(
        "--registry-config",
        envvar="JIL_REGISTRY_CONFIG",
        help="Credentials in docker's config.json or a pull secret's form.",
        rich_help_panel=_REGISTRY,
        show_default=False,
    ),
]
Ca = Annotated[
    list[str] | None,
    typer.Option(
        "--ca",
        envvar="JIL_REGISTRY_CA",
        help="CA of the registry (PEM).",
        rich_help_panel=_REGISTRY,
        show_default=False,
    ),
]
ClientCertificate = Annotated[
    str | None,
    typer.Option("--client-certificate", help="For mutual TLS (PEM).", rich_help_panel=_REGISTRY, show_default=False),
]
ClientKey = Annotated[
    str | None, typer.Option("--client-key", help="Its key (PEM).", rich_help_panel=_REGISTRY, show_default=False)
]
Endpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        help="REGISTRY=URL: reach the registry of image names under another address; beside JIL_REGISTRY_ENDPOINTS.",
        rich_help_panel=_REGISTRY,
        show_default=False,
    ),
]
PlainHttp = Annotated[
    list[str] | None,
    typer.Option(
        "--plain-http",
        help="REGISTRY that has no TLS: for tests on one machine.",
        rich_help_panel=_REGISTRY,
        show_default=False,
    ),
]
TokenHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--token-host",
        help="Token server of another name that may see the registry's credentials.",
        rich_help_panel=_REGISTRY,
        show_default=False,
    ),
]

_SPAN = re.compile(r"([0-9]{1,6})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, now: datetime | None = None) -> datetime:
    """The time that ``30d``, ``12h``, ``4w`` (from now) or an RFC 3339 time with a zone means. Raises Stop (USAGE)."""
    match = _SPAN.fullmatch(text)
    try:
        if match:
            return (now or datetime.now(UTC)) + timedelta(**{_UNITS[match[2]]: int(match[1])})
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        when = None
    if when is None or when.tzinfo is None:
        raise Stop(f"{text!r} is no time: 30d, 12h, 4w, or such as 2026-12-31T00:00:00Z", Exit.USAGE)
    return when
