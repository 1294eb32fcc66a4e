"""``jilctl image``: sign, promote, approve, verify, inspect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from jil.api.trust import Track
from jil.cli import audit, chain_view, options, output
from jil.cli.exits import Exit, Stop
from jil.cli.keystore.opening import NamedKey
from jil.cli.steps import chain, image
from jil.cli.steps.attach import Form
from jil.cli.steps.bench import NO_RELEASE, bench, known
from jil.cli.world import REGISTRY, World, command
from jil.trust.policy import Policy
from jil.trust.verdict import Refused, Verified

app = typer.Typer(no_args_is_help=True, help="Sign, promote, approve, verify and inspect images.")

Statements = Annotated[
    list[Path] | None,
    typer.Option(
        "--provenance", help="File with the build's SLSA provenance (DSSE or sigstore bundle).", show_default=False
    ),
]
FormOption = Annotated[
    Form, typer.Option("--format", help="jil, or one that cosign verifies: bundle (3.x), cosign (.sig tag, 2.x).")
]


@command(app, "sign", *REGISTRY)
def sign(
    world: World,
    name: options.Image,
    key: options.KeyName,
    track: Annotated[
        Track, typer.Option("--track", help="The first track; later ones come by promotion.")
    ] = Track.DEVNET,
    commit: Annotated[
        str | None,
        typer.Option("--commit", help="Git commit; taken from the provenance when it names one.", show_default=False),
    ] = None,
    provenance: Statements = None,
    release: options.Release = None,
    form: FormOption = Form.JIL,
    audit_log: options.AuditLog = None,
) -> Exit:
    """Sign an image for devnet, once its build's provenance holds."""

    async def act(mine: NamedKey, policy: Policy) -> image.Signed:
        async with bench(world.access(name), policy) as at:
            return await image.sign_image(
                at,
                name,
                mine,
                track=track,
                commit=commit,
                release=release,
                statements=_read(provenance),
                form=form,
            )

    done = _step(world, key, act, audit_log, "image.sign", image=name, track=track, release=release)
    return _signed(world, done, "signed")


ApprovedIn = Annotated[
    str | None,
    typer.Option(
        "--release",
        help="JILRelease that it was approved in on the track before; needed where that track asks for approvals. The "
        "new signature is for that release alone.",
        show_default=False,
    ),
]


@command(app, "promote", *REGISTRY)
def promote(
    world: World,
    name: options.Image,
    key: options.KeyName,
    to: Annotated[Track, typer.Option("--to", help="The next track.", show_default=False)],
    provenance: Statements = None,
    release: ApprovedIn = None,
    form: FormOption = Form.JIL,
    audit_log: options.AuditLog = None,
) -> Exit:
    """Sign an image for the next track. It must be verified on the one before; nothing is taken away from it."""

    async def act(mine: NamedKey, policy: Policy) -> image.Signed:
        async with bench(world.access(name), policy) as at:
            return await image.promote(
                at,
                name,
                mine,
                to=to,
                release=release,
                statements=_read(provenance),
                form=form,
            )

    done = _step(world, key, act, audit_log, "image.promote", image=name, track=to, release=release)
    return _signed(world, done, "promoted")


@command(app, "approve", *REGISTRY)
def approve(
    world: World,
    name: options.Image,
    key: options.KeyName,
    track: Annotated[Track, typer.Option("--track", help="Track that it is approved for.", show_default=False)],
    release: Annotated[str, typer.Option("--release", help="JILRelease that it is approved in.", show_default=False)],
    expires: Annotated[str, typer.Option("--expires", help="30d, 12h, 4w, or a time.")] = "90d",
    audit_log: options.AuditLog = None,
) -> Exit:
    """Approve a signed image for one track and one release. Whoever signed it cannot."""

    async def act(mine: NamedKey, policy: Policy) -> image.Signed:
        async with bench(world.access(name), policy) as at:
            return await image.approve(
                at,
                name,
                mine,
                track=track,
                release=release,
                expires=options.moment(expires, at.now),
            )

    done = _step(world, key, act, audit_log, "image.approve", image=name, track=track, release=release)
    return _signed(world, done, "approved")


@command(app, "verify", *REGISTRY)
def verify(
    world: World,
    name: options.Image,
    track: options.TrackOption = None,
    release: options.Release = None,
    platform: options.Platform = None,
) -> Exit:
    """Decide as the operator does: exit code 0 when the image may run on the track, 1 when not."""

    on = world.track(track)

    async def act() -> Verified | Refused:
        async with bench(world.access(name), world.policy()) as at:
            return known(await image.verify(at, name, track=on, release=release or NO_RELEASE, platform=platform))

    found = asyncio.run(act())
    data = {"image": name, "track": on, "release": release} | output.verdict(found)
    output.show(world.output, data, lambda console: console.print(output.verdict_line(found)))
    return Exit.OK if isinstance(found, Verified) else Exit.REFUSED


@command(app, "inspect", *REGISTRY)
def inspect(world: World, name: options.Image, release: options.Release = None) -> None:
    """Show the chain of signatures: who stated what for which track, and what is missing."""

    async def act() -> chain.Chain:
        async with bench(world.access(name), world.policy_or_none()) as at:
            return await chain.inspect(at, name, release=release)

    found = asyncio.run(act())
    output.show(world.output, chain_view.data(found), lambda console: chain_view.show(console, found))


def _step(
    world: World,
    key: str,
    act: Callable[[NamedKey, Policy], Coroutine[Any, Any, image.Signed]],
    audit_log: str | None,
    action: str,
    **facts: Any,
) -> image.Signed:
    """Opens the key, acts, and writes the line."""
    with audit.step(audit_log, action, **{name: value for name, value in facts.items() if value}) as line:
        policy = world.policy()
        mine = world.key(key, policy)
        line.by(mine.entry)
        done = asyncio.run(act(mine, policy))
        line.facts |= {"image": done.image, "attached": list(done.attached), "now": output.verdict(done.verdict)}
        if done.commit:
            line.facts["commit"] = done.commit
        return done


def _signed(world: World, done: image.Signed, what: str) -> Exit:
    data: dict[str, Any] = {
        "image": done.image,
        "track": done.track,
        "key": done.key,
        "commit": done.commit,
        "attached": done.attached,
        "now": output.verdict(done.verdict),
    }

    def people(console: Console) -> None:
        console.print(f"[green]{what}[/] {done.image} for {done.track} by {done.key}")
        console.print(f"{done.track} now: {output.standing(done.verdict)}")

    output.show(world.output, data, people)
    return Exit.OK


def _read(paths: list[Path] | None) -> list[bytes]:
    try:
        return [path.expanduser().read_bytes().strip() for path in paths or ()]
    except OSError as error:
        raise Stop(f"--provenance: cannot read {error.filename}: {error.strerror}", Exit.USAGE) from None
