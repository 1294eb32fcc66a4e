"""The chain of signatures as a tree for people, and as an object for scripts."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.tree import Tree

from jil.api.trust import Track
from jil.cli import output
from jil.cli.output import escape
from jil.cli.steps.chain import Chain, Link
from jil.trust.formats.statement import write_time

_MARKS = {"good": "[green]✔[/]", "bad": "[red]✘[/]", "unchecked": "[yellow]?[/]"}


def data(chain: Chain) -> dict[str, Any]:
    """For scripts."""
    return {
        "image": chain.image,
        "mediaType": chain.media_type,
        "platforms": chain.platforms,
        "checked": chain.checked,
        "statements": [
            {key: value for key, value in output.as_mapping(link).items() if value is not None} for link in chain.links
        ],
        "verdicts": [
            {"track": one.track, "release": one.release} | output.verdict(one.verdict) for one in chain.standings
        ],
        "ignored": chain.others,
        "leftOut": [{"reason": one.reason, "message": one.text} for one in chain.left_out],
        "missing": chain.missing,
    }


def show(console: Console, chain: Chain) -> None:
    """For people: the build, then each track with its signatures and approvals, and what is missing there."""
    root = Tree(f"[bold]{escape(chain.image)}[/]  [dim]{chain.media_type}[/]")
    if not chain.checked:
        root.add("[yellow]no policy was given: nothing below is checked[/] (--network NAME or --policy FILE)")
    origin = [link for link in chain.links if link.kind == "provenance"]
    if origin:
        branch = root.add("build")
        for link in origin:
            branch.add(_line(link))
    for track in Track:
        _track(root, chain, track)
    rest = [link for link in chain.links if link.kind != "provenance" and link.track is None]
    for link in rest:
        root.add(_line(link))
    if not chain.links:
        root.add("[red]nothing is signed here[/]")
    if chain.others:
        branch = root.add("[dim]attached, and counted for nothing[/]")
        for text in chain.others:
            branch.add(f"[dim]{escape(text)}[/]")
    if chain.left_out:
        branch = root.add("[yellow]attached, broken, and left out[/]")
        for one in chain.left_out:
            branch.add(f"[yellow]{one.reason}[/]  {escape(one.text)}")
    if chain.missing:
        branch = root.add("[yellow]attached, and not in the registry (yet)[/]")
        for text in chain.missing:
            branch.add(escape(text))
    console.print(root)


def _track(root: Tree, chain: Chain, track: Track) -> None:
    links = [link for link in chain.links if link.track is track]
    standings = [one for one in chain.standings if one.track is track]
    if not links and not standings:
        return
    branch = root.add(f"[bold]{track}[/]")
    for link in links:
        branch.add(_line(link))
    for one in standings:
        release = f"release {one.release}: " if one.release else ""
        branch.add(f"→ {release}{output.standing(one.verdict)}")


def _line(link: Link) -> str:
    mark = _MARKS["unchecked" if not link.checked else "bad" if link.problem else "good"]
    owner = f" ({escape(link.owner)})" if link.owner else ""
    parts = [f"{mark} {link.kind} by [cyan]{escape(link.key)}[/]{owner}"]
    if link.kind != "provenance":
        parts.append(f"[dim]{link.format}[/]")
    if link.commit:
        parts.append(f"commit {escape(link.commit[:12])}")
    if link.release:
        parts.append(f"release {escape(link.release)}")
    if link.signed_at:
        parts.append(write_time(link.signed_at))
    if link.expires:
        parts.append(f"until {write_time(link.expires)}")
    if link.problem:
        parts.append(f"[red]{escape(link.problem)}[/]")
    return "  ".join(parts)
