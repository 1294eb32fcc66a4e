"""The decision: may this image, this release run on this track, by this policy, now?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from jil.api.release import ReleaseSpec
from jil.api.trust import Track
from jil.trust import content
from jil.trust.claim import Claim
from jil.trust.evidence import Evidence
from jil.trust.faults import FORMAT, Fault, malformed
from jil.trust.formats import dsse, statement
from jil.trust.formats.release_manifest import manifest_digest
from jil.trust.formats.statement import Kind, Statement
from jil.trust.gather import Approval, Gathered, check_count, gather, verify_statement
from jil.trust.policy import Policy, TrackRule, policy_hash, policy_of
from jil.trust.verdict import RefusalReason, Refused, Verified
from jil.trust.votes import (
    Vote,
    check_approver,
    check_role,
    earliest,
    enough,
    key_ids,
    key_until,
    signature_until,
)

_MESSAGE_MAX = 960
_INCOMPLETE = timedelta(minutes=10)
"""How long a verdict holds that was made without an attachment which the registry lists and does not have."""
__all__ = ["allows", "decide", "decide_release", "policy_hash", "policy_of", "refused", "refused_by_name"]


def decide(
    image: str,
    evidence: Evidence,
    policy: Policy,
    *,
    track: Track,
    release: str,
    platform: str | None,
    now: datetime,
) -> Verified | Refused:
    """Whether ``image`` (``REPOSITORY@sha256:...``) may run on ``track`` as part of the JILRelease ``release``.

    ``platform`` is that of the nodes (``linux/amd64``); None when it does not matter which child of an index runs.
    Every refusal names the image, the rule and the command that shows more.
    """
    repository, _, digest = image.partition("@")
    try:
        rule = _rule_for(image, policy, track)
        if (evidence.repository, evidence.digest) != (repository, digest):
            text = f"what was read is {evidence.repository}@{evidence.digest}"
            raise Fault(RefusalReason.REGISTRY_LIED, FORMAT, text)
        platforms = content.platforms(evidence, platform)
        found = gather(evidence, policy)
    except Fault as fault:
        return refused(image, fault, track=track, release=release)
    try:
        verdict = _verified(image, rule, found, platforms, release, now)
        if evidence.missing and rule.approvals:
            # What is not there may be a signature of an approver, who then would be none: look again soon.
            soon = now + _INCOMPLETE
            return replace(verdict, valid_until=min(verdict.valid_until or soon, soon))
        return verdict
    except Fault as fault:
        # Too little counts: one signature more might be what is not there.
        return replace(refused(image, fault, track=track, release=release), in_doubt=_in_doubt(image, evidence, fault))


def _in_doubt(image: str, evidence: Evidence, fault: Fault) -> str:
    if not evidence.missing:
        return ""
    more = f" and {len(evidence.missing) - 1} more" if len(evidence.missing) > 1 else ""
    gone = f"the registry does not have all that is attached to it ({evidence.missing[0]}{more})"
    return f"{image}: {gone}, and without it {fault.text}"


def refused_by_name(image: str, policy: Policy, *, track: Track, release: str) -> Refused | None:
    """The refusal that `decide` gives whatever the evidence is; None when that has to be read.

    Whoever reads evidence asks this first: a registry that nothing may come from is not even spoken to.
    """
    try:
        _rule_for(image, policy, track)
    except Fault as fault:
        return refused(image, fault, track=track, release=release)
    return None


def refused(image: str, fault: Fault, *, track: Track, release: str) -> Refused:
    """The refusal of an image because of ``fault``, in the words of all refusals."""
    head = f"image {image} is refused on {track} for release {release}"
    return _refused(image.partition("@")[2], fault, head, f"jilctl image inspect {image}")


def decide_release(
    name: str, spec: ReleaseSpec, envelopes: Sequence[str], policy: Policy, *, track: Track, now: datetime
) -> Verified | Refused:
    """Whether the JILRelease ``name`` is what was signed and approved as a whole: no service added, no image swapped.

    ``envelopes`` are DSSE envelopes in JSON. Needs as many signatures and approvals as an image on the track.
    """
    digest = manifest_digest(name, spec)
    try:
        rule = _rule(policy, track)
        check_count(len(envelopes))
        return _verified_release(name, digest, envelopes, rule, policy, now)
    except Fault as fault:
        command = f"jilctl release verify {name}"
        return _refused(digest, fault, f"release {name} is refused on {track}", command)


def allows(repositories: Sequence[str], repository: str) -> bool:
    """Whether ``repository`` is one of ``repositories``, or below one of them that ends with ``/``."""
    return any(repository.startswith(entry) if entry.endswith("/") else repository == entry for entry in repositories)


def _rule_for(image: str, policy: Policy, track: Track) -> TrackRule:
    """The rule of the track, which lets the image's repository be. Raises Fault."""
    repository, _, digest = image.partition("@")
    if not statement.is_repository(repository) or not statement.is_digest(digest):
        raise malformed("it is not REPOSITORY@sha256:DIGEST")
    rule = _rule(policy, track)
    if not allows(rule.repositories or policy.repositories, repository):
        path = f"tracks[{track}].repositories" if rule.repositories else "repositories"
        text = f"the repository {repository} is not among those that images may come from"
        raise Fault(RefusalReason.REPOSITORY_NOT_ALLOWED, path, text)
    return rule


def _rule(policy: Policy, track: Track) -> TrackRule:
    rule = policy.rule(track)
    if rule is None:
        text = f"the policy has no rule for {track}: add one to spec.trust.tracks of the JILNetwork"
        raise Fault(RefusalReason.TRACK_NOT_CONFIGURED, f"tracks[{track}]", text)
    return rule


def _refused(digest: str, fault: Fault, head: str, command: str) -> Refused:
    # Events and status hold 1024 characters, and the command at the end must not be what is cut off.
    text = fault.text[: max(100, _MESSAGE_MAX - len(head) - len(command) - len(fault.rule))]
    return Refused(digest, fault.reason, fault.rule, f"{head}: {text} (rule {fault.rule}). To see why: {command}")


def _verified(
    image: str, rule: TrackRule, found: Gathered, platforms: tuple[str, ...], release: str, now: datetime
) -> Verified:
    repository, _, digest = image.partition("@")
    votes: list[Vote] = []
    for claim in found.claims:
        try:
            votes.append(_vote(claim, rule, found, repository, digest, release, now))
        except Fault as fault:
            found.claim_faults.append(fault)
    if not found.claims and not found.claim_faults:
        text = "no signature is attached to it"
        raise Fault(RefusalReason.UNSIGNED, f"tracks[{rule.track}].signatures", text)
    # Whoever vouched for these bytes on any track, at any time, is no independent judge of them.
    authors = {claim.key.owner for claim in found.claims if digest in claim.digests}
    approvals: list[Vote] = []
    for approval in found.approvals:
        try:
            _check_subject(approval.statement, repository, digest)
            approvals.append(_approval(approval, rule, release, authors, now))
        except Fault as fault:
            found.approval_faults.append(fault)
    found.approval_faults.extend(_twice(approvals, rule))
    until = earliest(
        _enough_signatures(votes, found.claim_faults, rule), _enough_approvals(approvals, found.approval_faults, rule)
    )
    return _verdict(digest, votes, approvals, until, platforms)


def _verified_release(
    name: str, digest: str, envelopes: Sequence[str], rule: TrackRule, policy: Policy, now: datetime
) -> Verified:
    votes: list[Vote] = []
    approvals: list[Vote] = []
    faults: list[Fault] = []
    approval_faults: list[Fault] = []
    signed: list[Approval] = []
    approved: list[Approval] = []
    for raw in envelopes:
        where = faults
        try:
            envelope = dsse.parse(raw.encode("utf-8", "replace"))
            if envelope.payload_type == Kind.RELEASE_APPROVAL:
                where = approval_faults
                approved.append(Approval(*verify_statement(envelope, Kind.RELEASE_APPROVAL, policy)))
            elif envelope.payload_type == Kind.RELEASE:
                signed.append(Approval(*verify_statement(envelope, Kind.RELEASE, policy)))
            else:
                raise malformed(f"an envelope of the type {envelope.payload_type[:100]!a} is no part of a release")
        except Fault as fault:
            where.append(fault)
    if not envelopes:
        text = "it carries no signature (spec.envelopes)"
        raise Fault(RefusalReason.UNSIGNED, f"tracks[{rule.track}].signatures", text)
    for item in signed:
        try:
            _check_manifest(item.statement, name, digest)
            check_role(item.key, item.statement.track)
            _check_track(item.statement.track, item.key.id, rule)
            moment = item.statement.timestamp
            votes.append(Vote(item.key, "jil", moment, signature_until(item.key, rule, moment, now)))
        except Fault as fault:
            faults.append(fault)
    authors = {item.key.owner for item in signed if item.statement.manifest == digest}
    for item in approved:
        try:
            _check_manifest(item.statement, name, digest)
            approvals.append(_approval(item, rule, name, authors, now))
        except Fault as fault:
            approval_faults.append(fault)
    approval_faults.extend(_twice(approvals, rule))
    until = earliest(_enough_signatures(votes, faults, rule), _enough_approvals(approvals, approval_faults, rule))
    return _verdict(digest, votes, approvals, until, ())


def _vote(
    claim: Claim, rule: TrackRule, found: Gathered, repository: str, digest: str, release: str, now: datetime
) -> Vote:
    """The claim as a vote. Raises Fault with the first thing that is wrong, from the subject to the circumstances."""
    who = claim.key.id
    if digest not in claim.digests:
        text = f"{who} signed another digest, {', '.join(sorted(claim.digests))[:160]}"
        raise Fault(RefusalReason.WRONG_SUBJECT, FORMAT, text)
    if claim.repository is not None and claim.repository != repository:
        text = f"{who} signed it for the repository {claim.repository[:160]!a}"
        raise Fault(RefusalReason.WRONG_REPOSITORY, FORMAT, text)
    check_role(claim.key, claim.track)
    _check_track(claim.track, who, rule)
    if claim.release is not None and claim.release != release:
        raise Fault(RefusalReason.WRONG_RELEASE, FORMAT, f"{who} signed it for release {claim.release[:63]!a}")
    until = signature_until(claim.key, rule, claim.signed_at, now)
    if rule.provenance:
        until = earliest(until, _provenance_until(claim, rule, found, now))
    return Vote(claim.key, claim.format, claim.signed_at, until)


def _provenance_until(claim: Claim, rule: TrackRule, found: Gathered, now: datetime) -> datetime | None:
    """Until when a builder's statement backs the claim; None: for ever. Raises Fault (NoProvenance)."""
    path, reasons = f"tracks[{rule.track}].provenance", [fault.text for fault in found.provenance_faults]
    for item in found.provenances:
        try:
            until = key_until(item.key, item.finished, now)
        except Fault as fault:
            reasons.append(fault.text)
            continue
        if claim.commit is not None and claim.commit not in item.commits:
            reasons.append(
                f"it says commit {', '.join(sorted(item.commits))}, and {claim.key.id} signed {claim.commit[:64]!a}"
            )
        elif (claim.format == "jil" or claim.provenance is not None) and claim.provenance != item.digest:
            reasons.append(f"{claim.key.id} signed another provenance, {claim.provenance or 'none'}")
        else:
            return until
    text = "; ".join(dict.fromkeys(reasons)) or "none is attached"
    raise Fault(RefusalReason.NO_PROVENANCE, path, f"no provenance backs the signature of {claim.key.id}: {text}")


def _approval(item: Approval, rule: TrackRule, release: str, authors: set[str], now: datetime) -> Vote:
    """The approval as a vote, when its subject is right. Raises Fault with the first other thing that is wrong."""
    stated, who = item.statement, item.key.id
    check_approver(item.key)
    _check_track(stated.track, who, rule)
    if stated.release != release:
        raise Fault(RefusalReason.WRONG_RELEASE, FORMAT, f"{who} approved it for release {stated.release}")
    until = key_until(item.key, stated.timestamp, now)
    path = f"tracks[{rule.track}].approvals"
    if stated.expires is not None and stated.expires <= now:
        text = f"the approval of {who} expired at {stated.expires:%Y-%m-%dT%H:%M:%SZ}"
        raise Fault(RefusalReason.APPROVAL_EXPIRED, path, text)
    if item.key.owner in authors:
        text = f"{item.key.owner} ({who}) signed it and cannot approve it too"
        raise Fault(RefusalReason.APPROVER_IS_SIGNER, path, text)
    return Vote(item.key, "jil", stated.timestamp, earliest(until, stated.expires))


def _twice(approvals: Sequence[Vote], rule: TrackRule) -> list[Fault]:
    """One fault per owner who approved more than once: a renewed approval is nothing wrong, but it counts once."""
    faults = []
    for owner in sorted({vote.key.owner for vote in approvals}):
        by_owner = [vote.key.id for vote in approvals if vote.key.owner == owner]
        if len(by_owner) > 1:
            text = f"{owner} approved it {len(by_owner)} times ({', '.join(sorted(set(by_owner)))}), which counts once"
            faults.append(Fault(RefusalReason.SAME_APPROVER, f"tracks[{rule.track}].approvals", text))
    return faults


def _check_subject(stated: Statement, repository: str, digest: str) -> None:
    if stated.digest != digest:
        text = f"{stated.key_id} approved another digest, {stated.digest}"
        raise Fault(RefusalReason.WRONG_SUBJECT, FORMAT, text)
    if stated.image != repository:
        text = f"{stated.key_id} approved it for the repository {stated.image}"
        raise Fault(RefusalReason.WRONG_REPOSITORY, FORMAT, text)


def _check_manifest(stated: Statement, name: str, digest: str) -> None:
    if stated.release != name:
        text = f"{stated.key_id} signed the release {stated.release}"
        raise Fault(RefusalReason.WRONG_RELEASE, FORMAT, text)
    if stated.manifest != digest:
        text = f"{stated.key_id} signed the content {stated.manifest}, and the content is {digest} now"
        raise Fault(RefusalReason.RELEASE_CHANGED, FORMAT, text)


def _check_track(track: Track, who: str, rule: TrackRule) -> None:
    if track is not rule.track:
        raise Fault(RefusalReason.WRONG_TRACK, FORMAT, f"what {who} signed is for {track}")


def _enough_signatures(votes: Sequence[Vote], faults: Sequence[Fault], rule: TrackRule) -> datetime | None:
    return enough(
        votes,
        faults,
        needed=rule.signatures,
        what="signatures",
        rule=f"tracks[{rule.track}].signatures",
        too_few=RefusalReason.TOO_FEW_SIGNATURES,
    )


def _enough_approvals(votes: Sequence[Vote], faults: Sequence[Fault], rule: TrackRule) -> datetime | None:
    return enough(
        votes,
        faults,
        needed=rule.approvals,
        what="approvals",
        rule=f"tracks[{rule.track}].approvals",
        too_few=RefusalReason.TOO_FEW_APPROVALS,
    )


def _verdict(
    digest: str, votes: Sequence[Vote], approvals: Sequence[Vote], until: datetime | None, platforms: tuple[str, ...]
) -> Verified:
    return Verified(
        digest=digest,
        keys=key_ids(votes),
        approvers=tuple(sorted({vote.key.owner for vote in approvals})),
        formats=tuple(sorted({vote.format for vote in votes})),
        signed_at=earliest(*(vote.signed_at for vote in votes)),
        valid_until=until,
        platforms=platforms,
    )
