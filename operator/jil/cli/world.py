"""What surrounds a command: its shared options, and how it ends. Commands themselves take a `World` and their own."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import typer
from pydantic import ValidationError

from jil.api.trust import Track
from jil.cli import cluster, options, output, policies, registries
from jil.cli.exits import Exit, Stop
from jil.cli.keystore import opening, source
from jil.cli.options import Format
from jil.observe.registry import Access
from jil.trust.faults import Fault
from jil.trust.policy import Policy

_CLUSTER = {"kubeconfig": options.Kubeconfig, "context": options.Context}
_POLICY = {"policy": options.PolicyFile, "network": options.Network}
_REGISTRY = {
    "registry_config": options.RegistryConfig,
    "ca": options.Ca,
    "client_certificate": options.ClientCertificate,
    "client_key": options.ClientKey,
    "endpoint": options.Endpoints,
    "plain_http": options.PlainHttp,
    "token_host": options.TokenHosts,
}
OFFLINE = (_CLUSTER,)
POLICY = (_POLICY, _CLUSTER)
REGISTRY = (_REGISTRY, _POLICY, _CLUSTER)


@dataclass(frozen=True)
class World:
    """The shared options of one command."""

    values: dict[str, Any]
    output: Format

    @property
    def choice(self) -> cluster.Choice:
        """Which cluster."""
        return cluster.Choice(self.values.get("kubeconfig"), self.values.get("context"))

    def policy(self) -> Policy:
        """The policy to decide by. Raises Stop."""
        return self._loaded.policy

    def track(self, given: Track | None) -> Track:
        """``given``, else the track of the network. Raises Stop (USAGE) when there is neither."""
        found = given or self._loaded.track
        if found is None:
            raise Stop(f"which track? add --track ({', '.join(Track)}): the policy file does not name one", Exit.USAGE)
        return found

    def policy_or_none(self) -> Policy:
        """As `policy`, or an empty one when none was named."""
        if self.values.get("policy") or self.values.get("network"):
            return self.policy()
        return Policy((), (), ())

    @cached_property
    def _loaded(self) -> policies.Loaded:
        return policies.load(self.values.get("policy"), self.values.get("network"), self.choice)

    def key(self, text: str, policy: Policy) -> opening.NamedKey:
        """The private key that ``text`` names, which the policy must know. Raises Stop."""
        return opening.named(opening.open_key(source.parse(text), self.choice), policy)

    def access(self, *images: str) -> Access:
        """How to reach the registries of ``images``. Raises Stop, ValueError."""
        wishes = registries.Wishes(
            config=self.values.get("registry_config"),
            ca=tuple(self.values.get("ca") or ()),
            certificate=self.values.get("client_certificate"),
            key=self.values.get("client_key"),
            endpoints=tuple(self.values.get("endpoint") or ()),
            plain_http=tuple(self.values.get("plain_http") or ()),
            token_hosts=tuple(self.values.get("token_host") or ()),
        )
        return registries.access(wishes, images)


def command(app: typer.Typer, name: str, *groups: dict[str, Any]) -> Callable[[Callable[..., Exit | None]], Any]:
    """Register a command that takes ``world`` and its own parameters; the options of ``groups`` and --output come by
    themselves. What it returns is the exit code, None being 0."""
    shared = {key: annotation for group in groups for key, annotation in group.items()}

    def register(function: Callable[..., Exit | None]) -> Callable[..., None]:
        def run(**values: Any) -> None:
            mine = {key: values.pop(key) for key in shared}
            world = World(mine, values.pop("output"))
            raise typer.Exit(_ended(lambda: function(world, **values), world.output))

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        kind = inspect.Parameter.KEYWORD_ONLY
        # Click lists options in this order, and arguments by theirs.
        parameters = [parameter.replace(kind=kind) for parameter in own]
        parameters.append(inspect.Parameter("output", kind, default=Format.TABLE, annotation=options.Output))
        parameters += [inspect.Parameter(key, kind, default=None, annotation=shared[key]) for key in shared]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__, run.__name__ = function.__doc__, function.__name__
        app.command(name)(run)
        return run

    return register


def _ended(act: Callable[[], Exit | None], form: Format) -> int:
    """The exit code; what went wrong is said in one line on standard error, for scripts also on standard output."""
    try:
        return int(act() or Exit.OK)
    except Stop as stop:
        error = stop
    except Fault as fault:
        error = Stop(fault.text, Exit.REFUSED, fault.reason)
    except ValidationError as problem:
        first = problem.errors()[0]
        error = Stop(f"{'.'.join(map(str, first['loc']))}: {first['msg']} (got {first['input']!r:.80})", Exit.USAGE)
    except ValueError as problem:
        error = Stop(str(problem), Exit.USAGE)
    except KeyboardInterrupt:
        error = Stop("interrupted", Exit.FAULT)
    except Exception as problem:
        if os.environ.get("JIL_DEBUG"):
            raise
        error = Stop(
            f"a fault in jilctl itself: {type(problem).__name__}: {problem}; JIL_DEBUG=1 shows where", Exit.FAULT
        )
    output.error(error, form, sys.stderr)
    return int(error.code)
