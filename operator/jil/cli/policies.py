"""The policy that jilctl decides by: the one of a network in the cluster, or of a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from jil.api.trust import Track, TrustSpec
from jil.cli import cluster
from jil.cli.exits import Exit, Stop
from jil.trust.policy import InvalidPolicy, Policy, policy_of


@dataclass(frozen=True)
class Loaded:
    """A policy, and the track of the network that it is from (None: it came alone)."""

    policy: Policy
    track: Track | None


def load(file: str | None, network: str | None, choice: cluster.Choice) -> Loaded:
    """From ``file`` (a JILNetwork, or its spec.trust alone; ``-`` is standard input) or from ``network``. Raises Stop."""
    if (file is None) == (network is None):
        raise Stop(
            "which policy? give one of --network NAME (in the cluster) and --policy FILE (or JIL_NETWORK, JIL_POLICY)",
            Exit.USAGE,
        )
    where = file or f"JILNetwork {network}"
    found = document(file) if file else cluster.network(choice, str(network))
    body: object = found
    track: Track | None = None
    if found.get("kind") == "JILNetwork":
        spec = found.get("spec") or {}
        body = spec.get("trust")
        track = Track(spec["track"]) if spec.get("track") in tuple(Track) else None
        if body is None:
            raise Stop(f"{where} has no spec.trust: nothing can be verified or refused by it", Exit.USAGE)
    try:
        return Loaded(policy_of(TrustSpec.model_validate(body)), track)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more faults)" if error.error_count() > 1 else ""
        raise Stop(f"{where} is no trust policy: {path}: {first['msg']}{more}", Exit.USAGE) from None
    except InvalidPolicy as error:
        raise Stop(f"{where}: {error}", Exit.USAGE) from None


def document(file: str) -> dict[str, Any]:
    """The one YAML or JSON object in a file; ``-`` is standard input. Raises Stop (USAGE)."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).expanduser().read_text()
        body = yaml.safe_load(text)
    except OSError as error:
        raise Stop(f"cannot read {file}: {error.strerror}", Exit.USAGE) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise Stop(f"{file} is not YAML{f', line {line + 1}' if line is not None else ''}", Exit.USAGE) from None
    if not isinstance(body, Mapping):
        raise Stop(f"{file} is empty or no object", Exit.USAGE)
    return dict(body)
