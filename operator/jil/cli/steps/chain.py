"""The chain of signatures of an image: who stated what on which track, and what is missing for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from jil.api.trust import Track
from jil.cli.steps.bench import NO_RELEASE, Bench
from jil.trust import votes
from jil.trust.decide import decide
from jil.trust.evidence import Evidence, LeftOut
from jil.trust.faults import Fault
from jil.trust.formats import bundle, dsse, in_toto, statement
from jil.trust.formats.statement import Kind
from jil.trust.gather import Gathered, gather
from jil.trust.policy import Key
from jil.trust.verdict import Refused, Verified


@dataclass(frozen=True)
class Link:
    """One statement. ``problem`` is why it does not count; None: it does, or (``checked`` False) nobody looked."""

    kind: str
    """``signature``, ``approval`` or ``provenance``."""
    key: str
    format: str
    owner: str | None = None
    track: Track | None = None
    release: str | None = None
    commit: str | None = None
    signed_at: datetime | None = None
    expires: datetime | None = None
    problem: str | None = None
    checked: bool = True


@dataclass(frozen=True)
class Standing:
    """The verdict for one track and release."""

    track: Track
    release: str | None
    verdict: Verified | Refused


@dataclass(frozen=True)
class Chain:
    """Everything that is attached to an image, and what follows from it."""

    image: str
    media_type: str
    platforms: tuple[str, ...]
    links: tuple[Link, ...]
    standings: tuple[Standing, ...]
    others: tuple[str, ...]
    """What is attached and counts for nothing, one line each."""
    checked: bool
    left_out: tuple[LeftOut, ...] = ()
    """What is attached and broken, so that it was not even looked at."""
    missing: tuple[str, ...] = ()
    """What is attached and not in the registry."""


async def inspect(bench: Bench, image: str, *, release: str | None) -> Chain:
    """Read an image's attachments. With an empty policy (no key at all) they are shown and not checked."""
    pinned = await bench.pin(image)
    evidence = await bench.client.evidence(pinned)
    if not bench.policy.keys:
        links, others = _unchecked(evidence)
        return Chain(
            pinned,
            evidence.media_type,
            tuple(evidence.children),
            links,
            (),
            others,
            checked=False,
            left_out=evidence.left_out,
            missing=evidence.missing,
        )
    found = gather(evidence, bench.policy)
    faults = (*found.claim_faults, *found.approval_faults, *found.provenance_faults)
    broken = {one.text for one in evidence.left_out}
    return Chain(
        image=pinned,
        media_type=evidence.media_type,
        platforms=tuple(evidence.children),
        links=tuple(_links(found, evidence, bench.now)),
        standings=tuple(_standings(bench, pinned, evidence, found, release)),
        others=tuple(dict.fromkeys(fault.text for fault in faults if fault.text not in broken)),
        checked=True,
        left_out=evidence.left_out,
        missing=evidence.missing,
    )


def _links(found: Gathered, evidence: Evidence, now: datetime) -> Iterator[Link]:
    for item in found.provenances:
        commit = ", ".join(sorted(item.commits))
        problem = _problem(lambda key=item.key, at=item.finished: votes.key_until(key, at, now))  # type: ignore[misc]
        yield Link("provenance", item.key.id, "slsa", item.key.owner, None, None, commit, item.finished, None, problem)
    for claim in found.claims:
        problem = (
            _wrong_image(evidence, claim.repository, claim.digests)
            or _problem(lambda key=claim.key, track=claim.track: votes.check_role(key, track))  # type: ignore[misc]
            or _problem(lambda key=claim.key, at=claim.signed_at: votes.key_until(key, at, now))  # type: ignore[misc]
        )
        yield Link(
            "signature",
            claim.key.id,
            claim.format,
            claim.key.owner,
            claim.track,
            claim.release,
            claim.commit,
            claim.signed_at,
            None,
            problem,
        )
    for approval in found.approvals:
        stated = approval.statement
        expired = stated.expires is not None and stated.expires <= now
        problem = (
            _wrong_image(evidence, stated.image, frozenset({str(stated.digest)}))
            or _problem(lambda key=approval.key: votes.check_approver(key))  # type: ignore[misc]
            or _problem(lambda key=approval.key, at=stated.timestamp: votes.key_until(key, at, now))  # type: ignore[misc]
            or ("it has expired" if expired else None)
        )
        yield Link(
            "approval",
            approval.key.id,
            "jil",
            approval.key.owner,
            stated.track,
            stated.release,
            None,
            stated.timestamp,
            stated.expires,
            problem,
        )


def _standings(
    bench: Bench, pinned: str, evidence: Evidence, found: Gathered, release: str | None
) -> Iterator[Standing]:
    """For every track of the policy; without ``release``, for each release that somebody approved."""
    for rule in bench.policy.tracks:
        approved = sorted({str(a.statement.release) for a in found.approvals if a.statement.track is rule.track})
        names: list[str | None] = [release] if release else [*approved] or [None]
        for name in names:
            verdict = decide(
                pinned,
                evidence,
                bench.policy,
                track=rule.track,
                release=name or NO_RELEASE,
                platform=None,
                now=bench.now,
            )
            yield Standing(rule.track, name, verdict)


def _problem(check: Callable[[], object]) -> str | None:
    try:
        check()
    except Fault as fault:
        return fault.text
    return None


def _wrong_image(evidence: Evidence, repository: str | None, digests: frozenset[str]) -> str | None:
    if evidence.digest not in digests:
        return "it is about another digest"
    if repository not in (None, evidence.repository):
        return f"it is about the repository {repository}"
    return None


def _unchecked(evidence: Evidence) -> tuple[tuple[Link, ...], tuple[str, ...]]:
    """What is attached as it calls itself: nothing of it is verified."""
    links: list[Link] = []
    others: list[str] = []
    for raw in evidence.envelopes:
        try:
            links.append(_claimed(dsse.parse(raw), "jil"))
        except Fault as fault:
            others.append(fault.text)
    for raw in evidence.bundles:
        try:
            links.append(_claimed(bundle.parse(raw).envelope, "bundle"))
        except Fault as fault:
            others.append(fault.text)
    links += [Link("signature", "?", "cosign", checked=False) for _ in evidence.simple]
    return tuple(links), tuple(others)


def _claimed(envelope: dsse.Envelope, form: str) -> Link:
    key = envelope.key_id or "?"
    if envelope.payload_type == in_toto.PAYLOAD_TYPE:
        kind = "provenance" if "provenance" in in_toto.parse(envelope.payload).predicate_type else "signature"
        return Link(kind, key, form, checked=False)
    try:
        kind_of = Kind(envelope.payload_type)
    except ValueError:
        return Link("signature", key, form, checked=False)
    stated = statement.parse(kind_of, envelope.payload)
    return Link(
        "approval" if kind_of is Kind.APPROVAL else "signature",
        stated.key_id,
        form,
        None,
        stated.track,
        stated.release,
        stated.commit,
        stated.timestamp,
        stated.expires,
        checked=False,
    )


def state(key: Key, now: datetime) -> str:
    """What becomes of a signature that ``key`` makes now, in a word."""
    if key.revoked_at is not None and key.revoked_at <= now:
        return "revoked"
    if key.not_before is not None and now < key.not_before:
        return "not yet valid"
    if key.not_after is not None and now > key.not_after:
        return "expired"
    return "valid"
