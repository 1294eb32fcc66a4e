"""Releases: made from tags that are asked about once, signed as a whole, verified, compared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jil.api.labels import API_VERSION, Component
from jil.api.objects import InvalidObject
from jil.api.release import JILRelease
from jil.api.trust import Track
from jil.cli.exits import Exit, Stop
from jil.cli.keystore.opening import NamedKey
from jil.cli.steps.bench import Bench, check_approver, check_signer, known
from jil.observe.registry import Reference
from jil.trust import sign
from jil.trust.decide import decide, decide_release
from jil.trust.formats.statement import is_release
from jil.trust.verdict import RefusalReason, Refused, Verified


@dataclass(frozen=True)
class Judged:
    """A release and its images, each with its verdict."""

    release: Verified | Refused
    images: Mapping[str, Verified | Refused]
    """By component or service."""

    @property
    def good(self) -> bool:
        """Whether all of it is verified."""
        return all(isinstance(one, Verified) for one in (self.release, *self.images.values()))


def parse(document: Mapping[str, Any], where: str) -> JILRelease:
    """A JILRelease whose images are digests. Raises Stop (USAGE)."""
    if document.get("kind") != "JILRelease":
        raise Stop(f"{where} is no JILRelease (its kind is {document.get('kind')!r:.60})", Exit.USAGE)
    for name, entry in _entries(document.get("spec") or {}):
        if "@" not in str(entry.get("image") or "@"):
            raise Stop(
                f"{where}: the image of {name} is a tag, {entry['image']}: `jilctl release create` turns tags into digests",
                Exit.USAGE,
            )
    try:
        return JILRelease.parse(document)
    except InvalidObject as error:
        raise Stop(f"{where}: {error}", Exit.USAGE) from None


def wanted(document: Mapping[str, Any], images: Mapping[str, str], where: str) -> dict[str, str]:
    """Component or service -> image reference, of a draft; ``images`` take the place of what it says. Raises Stop."""
    parts = dict(_entries(document.get("spec") or {}))
    unknown = sorted(set(images) - set(parts) - {str(component) for component in Component})
    if unknown:
        raise Stop(f"--image {unknown[0]}: {where} has no component or service of that name", Exit.USAGE)
    named = {str(component): "" for component in Component}
    named |= {name: str(entry.get("image") or "") for name, entry in parts.items()} | dict(images)
    missing = sorted(name for name, text in named.items() if not text)
    if missing:
        raise Stop(
            f"{where}: no image for {', '.join(missing)}: write one, or give --image {missing[0]}=REPOSITORY:TAG",
            Exit.USAGE,
        )
    return named


async def create(bench: Bench, document: Mapping[str, Any], named: Mapping[str, str], where: str) -> dict[str, Any]:
    """The JILRelease of a draft: every image of ``named`` by the digest that its tag has now, and the tag beside it.

    All tags are asked about once more at the end: one that moved meanwhile would make a release of two builds.
    Raises Stop.
    """
    metadata = dict(document.get("metadata") or {})
    if not is_release(str(metadata.get("name"))):
        raise Stop(
            f"{metadata.get('name')!r:.80} is no name of a JILRelease: at most 63 lower-case letters, digits and "
            "hyphens, such as jil-1-4-0",
            Exit.USAGE,
        )
    found = await _resolve(bench, named)
    again = await _resolve(bench, named)
    moved = sorted(name for name in found if found[name] != again[name])
    if moved:
        name = moved[0]
        raise Stop(
            f"the tag {named[name]} moved while the release was made ({found[name]}, then {again[name]}): somebody "
            "pushes there; run it again when the build is done, or name the digest",
            reason="TagMoved",
        )
    spec = dict(document.get("spec") or {})
    _place(spec, named, found)
    spec.pop("envelopes", None)  # those of the draft were about something else
    made = {"apiVersion": API_VERSION, "kind": "JILRelease", "metadata": metadata, "spec": spec}
    parse(made, where)
    return made


async def sign_release(
    bench: Bench, document: Mapping[str, Any], key: NamedKey, *, track: Track, approve_until: datetime | None
) -> dict[str, Any]:
    """The same JILRelease with one envelope more: a signature, or an approval until ``approve_until``.

    Every image must be verified on the track first. Raises Stop (REFUSED) naming the first one that is not.
    """
    release = parse(document, "the release")
    if approve_until is None:
        check_signer(key.entry, bench.policy, track, bench.now)
    else:
        check_approver(key.entry, track, bench.now)
    judged = await verify(bench, release, track=track, platform=None)
    bad = [(name, one) for name, one in judged.images.items() if isinstance(one, Refused)]
    if bad:
        name, verdict = bad[0]
        more = f", and {len(bad) - 1} more images are not verified" if len(bad) > 1 else ""
        raise Stop(f"{release.name} is not signed: {name}: {verdict.message}{more}", reason=verdict.reason)
    if approve_until is None:
        made = sign.sign_release(key, name=release.name, spec=release.spec, track=track, now=bench.now)
    else:
        _check_approvable(bench, release, judged.release, key)
        made = sign.approve_release(
            key, name=release.name, spec=release.spec, track=track, expires=approve_until, now=bench.now
        )
    spec = dict(document["spec"])
    spec["envelopes"] = [*(spec.get("envelopes") or []), made.decode("ascii")]
    return {**document, "spec": spec}


async def verify(bench: Bench, release: JILRelease, *, track: Track, platform: str | None) -> Judged:
    """The verdicts of the operator: of the release's own envelopes and of every image."""
    whole = decide_release(release.name, release.spec, release.spec.envelopes, bench.policy, track=track, now=bench.now)
    images = release.spec.all_images

    async def judge(image: str) -> Verified | Refused:
        evidence = await bench.client.evidence(image)
        return known(
            decide(image, evidence, bench.policy, track=track, release=release.name, platform=platform, now=bench.now)
        )

    distinct = sorted(set(images.values()))
    verdicts = dict(zip(distinct, await _gather([judge(image) for image in distinct]), strict=True))
    return Judged(whole, {name: verdicts[image] for name, image in images.items()})


def diff(old: JILRelease, new: JILRelease) -> list[dict[str, str | None]]:
    """What differs, one entry per component, service or field: ``what``, ``old``, ``new`` (None: not there)."""
    found: list[dict[str, str | None]] = []
    before, after = dict(_facts(old)), dict(_facts(new))
    for what in sorted(before.keys() | after.keys()):
        if before.get(what) != after.get(what):
            found.append({"what": what, "old": before.get(what), "new": after.get(what)})
    return found


def _check_approvable(bench: Bench, release: JILRelease, verdict: Verified | Refused, key: NamedKey) -> None:
    if isinstance(verdict, Refused) and verdict.reason in (RefusalReason.UNSIGNED, RefusalReason.RELEASE_CHANGED):
        raise Stop(
            f"{release.name} is not signed as it is, so there is nothing to approve. Missing: `jilctl release sign` "
            f"without --approve ({verdict.reason})",
            reason=verdict.reason,
        )
    signers = {entry.owner for entry in bench.policy.keys if isinstance(verdict, Verified) and entry.id in verdict.keys}
    if key.entry.owner in signers:
        raise Stop(
            f"{key.entry.owner} signed {release.name} and cannot approve it too: somebody else has to",
            reason=RefusalReason.APPROVER_IS_SIGNER,
        )


def _facts(release: JILRelease) -> Iterator[tuple[str, str]]:
    spec = release.spec
    yield "version", spec.version
    yield "broker.flavour", spec.broker.flavour
    for name, image in spec.all_images.items():
        yield f"{name}.image", image
    for service in spec.services:
        for field, value in service.wire().items():
            if field not in ("name", "image"):
                yield f"{service.name}.{field}", str(value)
    yield "envelopes", str(len(spec.envelopes))


def _entries(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Component or service -> its image entry, of a draft that nobody checked yet."""
    try:
        yield from ((str(name), dict(entry or {})) for name, entry in (spec.get("images") or {}).items())
        for service in spec.get("services") or ():
            yield str(service["name"]), dict(service.get("image") or {})
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Stop(
            "the draft has not the shape of a JILRelease: spec.images.COMPONENT.image and spec.services[].{name, "
            "image.image}, see docs/jilctl.md",
            Exit.USAGE,
        ) from None


def _place(spec: dict[str, Any], named: Mapping[str, str], found: Mapping[str, str]) -> None:
    def entry(name: str) -> dict[str, str]:
        reference = Reference.parse(named[name])
        made = {"image": reference.at(found[name])}
        return made | ({"tag": reference.tag} if reference.tag else {})

    spec["images"] = {str(component): entry(component) for component in Component}
    if spec.get("services"):
        spec["services"] = [{**service, "image": entry(str(service["name"]))} for service in spec["services"]]


async def _resolve(bench: Bench, named: Mapping[str, str]) -> dict[str, str]:
    distinct = sorted(set(named.values()))
    digests = dict(zip(distinct, await _gather([bench.client.resolve(image) for image in distinct]), strict=True))
    return {name: digests[image] for name, image in named.items()}


async def _gather(parts: list[Any]) -> list[Any]:
    """All of them; the first failure is raised bare and ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
    except ExceptionGroup as error:
        raise error.exceptions[0] from None
    return [task.result() for task in tasks]
