"""Signing, promoting, approving and verifying one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jil.api.trust import Track
from jil.cli.exits import Stop
from jil.cli.keystore.opening import NamedKey
from jil.cli.steps import attach, provenance
from jil.cli.steps.attach import Form
from jil.cli.steps.bench import BEFORE, NO_RELEASE, Bench, check_approver, check_signer, known, refused, why
from jil.observe.registry import Reference
from jil.trust import sign
from jil.trust.claim import Claim
from jil.trust.content import platforms
from jil.trust.decide import allows, decide
from jil.trust.evidence import Evidence
from jil.trust.faults import Fault
from jil.trust.gather import gather
from jil.trust.verdict import RefusalReason, Refused, Verified


@dataclass(frozen=True)
class Signed:
    """What a step added, and what the image is now."""

    image: str
    track: Track
    key: str
    commit: str | None
    attached: tuple[str, ...]
    verdict: Verified | Refused


async def sign_image(
    bench: Bench,
    image: str,
    key: NamedKey,
    *,
    track: Track,
    commit: str | None,
    release: str | None,
    statements: Sequence[bytes],
    form: Form,
) -> Signed:
    """The first signature, for devnet. Raises Stop: without provenance, by a key that may not, or for a later track."""
    if track is not Track.DEVNET:
        raise Stop(
            f"an image begins on {Track.DEVNET} and is promoted from there: `jilctl image sign {image}`, then "
            f"`jilctl image promote {image} --to {Track.TESTNET}`",
            reason=RefusalReason.WRONG_TRACK,
        )
    check_signer(key.entry, bench.policy, track, bench.now)
    pinned = await bench.pin(image)
    evidence = await _read(bench, pinned)
    return await _sign(bench, evidence, key, track, commit, release, statements, form, Reference.parse(image).tag)


async def promote(
    bench: Bench,
    image: str,
    key: NamedKey,
    *,
    to: Track,
    release: str | None,
    statements: Sequence[bytes],
    form: Form,
) -> Signed:
    """A signature for the next track, of an image that is verified on the one before. Raises Stop naming the step."""
    before = BEFORE.get(to)
    if before is None:
        raise Stop(f"{to} is the first track, nothing is promoted to it: `jilctl image sign {image}`")
    check_signer(key.entry, bench.policy, to, bench.now)
    pinned = await bench.pin(image)
    evidence = await _read(bench, pinned)
    verdict = known(
        decide(
            pinned, evidence, bench.policy, track=before, release=release or NO_RELEASE, platform=None, now=bench.now
        )
    )
    if isinstance(verdict, Refused):
        raise Stop(
            f"{pinned} cannot go to {to}: it is not verified on {before}. Missing: "
            f"{_missing_step(bench, evidence, before, verdict, release)} ({verdict.reason}: {why(verdict)})",
            reason=verdict.reason,
        )
    commits = {claim.commit for claim in _claims(bench, evidence, before) if claim.commit}
    commit = commits.pop() if len(commits) == 1 else None
    return await _sign(bench, evidence, key, to, commit, release, statements, form, None)


async def approve(bench: Bench, image: str, key: NamedKey, *, track: Track, release: str, expires: datetime) -> Signed:
    """An approval by somebody who did not sign. Raises Stop when it would not count, or nothing is there to approve."""
    check_approver(key.entry, track, bench.now)
    if expires <= bench.now:
        raise Stop(
            f"an approval until {expires:%Y-%m-%dT%H:%M:%SZ} would have expired already: choose a later --expires"
        )
    pinned = await bench.pin(image)
    evidence = await _read(bench, pinned)
    claims = gather(evidence, bench.policy).claims
    owners = {claim.key.owner for claim in claims if evidence.digest in claim.digests}
    if key.entry.owner in owners:
        raise Stop(
            f"{key.entry.owner} signed {pinned} and cannot approve it too: somebody else has to",
            reason=RefusalReason.APPROVER_IS_SIGNER,
        )
    if not _claims(bench, evidence, track):
        raise Stop(
            f"{pinned} is not signed for {track}, so there is nothing to approve. Missing: {_signing_step(pinned, track)}",
            reason=RefusalReason.WRONG_TRACK,
        )
    envelope = sign.approve_image(
        key,
        repository=evidence.repository,
        digest=evidence.digest,
        track=track,
        release=release,
        expires=expires,
        now=bench.now,
    )
    added = await attach.envelope(bench.push, pinned, envelope)
    verdict = await verify(bench, pinned, track=track, release=release, platform=None)
    return Signed(pinned, track, key.key_id, None, (added,), verdict)


async def verify(bench: Bench, image: str, *, track: Track, release: str, platform: str | None) -> Verified | Refused:
    """The verdict, by exactly what the operator decides by."""
    pinned = await bench.pin(image)
    evidence = await bench.client.evidence(pinned)
    return decide(pinned, evidence, bench.policy, track=track, release=release, platform=platform, now=bench.now)


async def _sign(
    bench: Bench,
    evidence: Evidence,
    key: NamedKey,
    track: Track,
    commit: str | None,
    release: str | None,
    statements: Sequence[bytes],
    form: Form,
    tag: str | None,
) -> Signed:
    pinned = f"{evidence.repository}@{evidence.digest}"
    proof, commit = provenance.check(bench, evidence, statements, commit=commit, tag=tag)
    added = [await attach.envelope(bench.push, pinned, raw) for raw in statements if raw not in evidence.envelopes]
    added.append(
        await attach.signature(
            bench.client,
            pinned,
            key,
            form,
            track=track,
            commit=commit,
            release=release,
            proof=proof.digest,
            now=bench.now,
        )
    )
    verdict = await verify(bench, pinned, track=track, release=release or NO_RELEASE, platform=None)
    return Signed(pinned, track, key.key_id, commit, tuple(added), verdict)


async def _read(bench: Bench, pinned: str) -> Evidence:
    """The evidence of something that is an image and may run at all."""
    evidence = await bench.client.evidence(pinned)
    try:
        platforms(evidence, None)
    except Fault as fault:
        raise refused(fault, f"{pinned} is not signed") from None
    everywhere = [*bench.policy.repositories, *(name for rule in bench.policy.tracks for name in rule.repositories)]
    if not allows(everywhere, evidence.repository):
        raise Stop(
            f"the policy lets no image of {evidence.repository} run: push it to one of {', '.join(everywhere)[:300]}",
            reason=RefusalReason.REPOSITORY_NOT_ALLOWED,
        )
    return evidence


def _claims(bench: Bench, evidence: Evidence, track: Track) -> list[Claim]:
    return [
        claim
        for claim in gather(evidence, bench.policy).claims
        if claim.track is track and evidence.digest in claim.digests
    ]


def _signing_step(pinned: str, track: Track) -> str:
    return f"jilctl image sign {pinned}" if track is Track.DEVNET else f"jilctl image promote {pinned} --to {track}"


def _missing_step(bench: Bench, evidence: Evidence, track: Track, verdict: Refused, release: str | None) -> str:
    """The command that comes next on ``track``."""
    pinned = f"{evidence.repository}@{evidence.digest}"
    if verdict.reason is RefusalReason.TRACK_NOT_CONFIGURED:
        return f"a rule for {track} in spec.trust.tracks of the JILNetwork"
    if not _claims(bench, evidence, track):
        return f"`{_signing_step(pinned, track)}`"
    approved = sorted(
        {str(one.statement.release) for one in gather(evidence, bench.policy).approvals if one.statement.track is track}
    )
    if release is None and approved:
        names = ", ".join(approved[:5])
        return (
            f"`--release {approved[0]}` here: an approval is for one release, and on {track} there are some for {names}"
        )
    if verdict.rule.endswith(".approvals"):
        return f"`jilctl image approve {pinned} --track {track} --release {release or 'RELEASE'}`"
    return f"what `jilctl image inspect {pinned}` shows"
