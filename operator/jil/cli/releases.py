"""``jilctl release``: create, sign, verify, diff."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from jil.api.release import JILRelease
from jil.cli import audit, cluster, options, output, policies
from jil.cli.exits import Exit, Stop
from jil.cli.keystore.opening import NamedKey
from jil.cli.options import Format
from jil.cli.output import escape
from jil.cli.steps import release
from jil.cli.steps.bench import bench
from jil.cli.world import OFFLINE, REGISTRY, World, command
from jil.trust.formats.release_manifest import manifest_digest
from jil.trust.policy import Policy
from jil.trust.verdict import Verified

app = typer.Typer(no_args_is_help=True, help="Make, sign, verify and compare releases.")

Name = Annotated[str | None, typer.Argument(help="JILRelease in the cluster; else give --file.", show_default=False)]
File = Annotated[
    str | None, typer.Option("--file", "-f", help="File with the JILRelease; - is standard input.", show_default=False)
]


@command(app, "create", *REGISTRY)
def create(
    world: World,
    name: Annotated[str, typer.Argument(help="Name of the new JILRelease, such as jil-1-4-0.", show_default=False)],
    draft: Annotated[
        str | None,
        typer.Option(
            "--from", help="Draft: a JILRelease whose images may be tags; - is standard input.", show_default=False
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Version for people; the draft's when unset.", show_default=False)
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image", help="COMPONENT_OR_SERVICE=REPOSITORY:TAG, in place of the draft's.", show_default=False
        ),
    ] = None,
) -> None:
    """Print a JILRelease with every image by digest: each tag is resolved once, and one that moves meanwhile is refused."""
    document = policies.document(draft) if draft else {"spec": {}}
    spec = dict(document.get("spec") or {}) | ({"version": version} if version else {})
    document = {"metadata": {"name": name}, "spec": spec}
    where = draft or "the command line"
    named = release.wanted(document, dict(_pair(text) for text in image or ()), where)

    async def act() -> dict[str, Any]:
        async with bench(world.access(*named.values()), Policy((), (), ())) as at:
            return await release.create(at, document, named, where)

    _print(world, asyncio.run(act()))


@command(app, "sign", *REGISTRY)
def sign(
    world: World,
    key: options.KeyName,
    name: Name = None,
    file: File = None,
    track: options.TrackOption = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve what somebody else signed, instead of signing.")
    ] = False,
    expires: Annotated[str, typer.Option("--expires", help="Of an approval: 30d, 12h, 4w, or a time.")] = "90d",
    write: Annotated[bool, typer.Option("--write", help="Write it back into --file instead of printing it.")] = False,
    audit_log: options.AuditLog = None,
) -> None:
    """Add a signature (or approval) of the whole content to a release: no service can be added or swapped after it."""
    if write and file in (None, "-"):
        raise Stop("--write needs --file FILE", Exit.USAGE)
    on, document = world.track(track), _document(world, name, file)
    found = release.parse(document, file or f"JILRelease {name}")

    async def act(mine: NamedKey, policy: Policy) -> dict[str, Any]:
        async with bench(world.access(*found.spec.all_images.values()), policy) as at:
            until = options.moment(expires, at.now) if approve else None
            return await release.sign_release(at, document, mine, track=on, approve_until=until)

    action = "release.approve" if approve else "release.sign"
    with audit.step(
        audit_log, action, release=found.name, manifest=manifest_digest(found.name, found.spec), track=on
    ) as line:
        policy = world.policy()
        mine = world.key(key, policy)
        line.by(mine.entry)
        made = asyncio.run(act(mine, policy))
        if write:
            Path(str(file)).expanduser().write_text(output.text(world.output, made))
        else:
            _print(world, made)


@command(app, "verify", *REGISTRY)
def verify(
    world: World,
    name: Name = None,
    file: File = None,
    track: options.TrackOption = None,
    platform: options.Platform = None,
) -> Exit:
    """Decide about the release and each of its images as the operator does: exit code 0 when all may run."""
    on, where = world.track(track), file or f"JILRelease {name}"
    found = release.parse(_document(world, name, file), where)

    async def act() -> release.Judged:
        async with bench(world.access(*found.spec.all_images.values()), world.policy()) as at:
            return await release.verify(at, found, track=on, platform=platform)

    judged = asyncio.run(act())
    data = {
        "release": found.name,
        "track": on,
        "good": judged.good,
        "envelopes": output.verdict(judged.release),
        "images": {part: output.verdict(one) for part, one in judged.images.items()},
    }

    def people(console: Console) -> None:
        rows = [[found.name, output.verdict_line(judged.release)]]
        rows += [[escape(part), output.verdict_line(one)] for part, one in judged.images.items()]
        console.print(output.table(("what", f"on {on}"), rows))
        bad = sum(not isinstance(one, Verified) for one in judged.images.values())
        if not judged.good:
            console.print(f"[red]{found.name} may not run on {on}[/]: {bad} of {len(judged.images)} images are refused")

    output.show(world.output, data, people)
    return Exit.OK if judged.good else Exit.REFUSED


@command(app, "diff", *OFFLINE)
def diff(
    world: World,
    old: Annotated[str, typer.Argument(help="File, or name of a JILRelease in the cluster.", show_default=False)],
    new: Annotated[str, typer.Argument(help="The one to compare with it.", show_default=False)],
) -> Exit:
    """Say what differs between two releases: exit code 0 when nothing does, 1 when something does."""
    entries = release.diff(_release(world, old), _release(world, new))

    def people(console: Console) -> None:
        rows = [[entry["what"] or "", _side(entry["old"], "red"), _side(entry["new"], "green")] for entry in entries]
        console.print(output.table(("what", "old", "new"), rows) if rows else "no difference")

    output.show(world.output, {"old": old, "new": new, "differences": entries}, people)
    return Exit.REFUSED if entries else Exit.OK


def _side(value: str | None, colour: str) -> str:
    return f"[{colour}]{escape(value)}[/]" if value is not None else "[dim]-[/]"


def _release(world: World, text: str) -> JILRelease:
    """A path when there is a file of that name, or it looks like one."""
    if text == "-" or "/" in text or text.endswith((".yaml", ".yml", ".json")) or Path(text).exists():
        return release.parse(policies.document(text), text)
    return release.parse(cluster.release(world.choice, text), f"JILRelease {text}")


def _document(world: World, name: str | None, file: str | None) -> dict[str, Any]:
    if (name is None) == (file is None):
        raise Stop("which release? give one of NAME (in the cluster) and --file FILE", Exit.USAGE)
    if file is not None:
        return policies.document(file)
    found = cluster.release(world.choice, str(name))
    kept = {key: found["metadata"][key] for key in ("name", "labels") if key in found["metadata"]}
    return {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": kept, "spec": found["spec"]}


def _print(world: World, document: Mapping[str, Any]) -> None:
    """A manifest: YAML also where a table was asked for, so that `kubectl apply -f -` reads it."""
    form = Format.YAML if world.output is Format.TABLE else world.output
    typer.echo(output.text(form, document), nl=False)


def _pair(text: str) -> tuple[str, str]:
    name, equals, reference = text.partition("=")
    if not equals or not name or not reference:
        raise Stop(f"--image {text}: wanted is COMPONENT_OR_SERVICE=REPOSITORY:TAG", Exit.USAGE)
    return name, reference
