"""From raw evidence to what was really signed: claims, approvals, provenance, and the faults of everything else.

Anybody who may push to a repository may attach anything, so what is broken or foreign does not spoil what is good: it
becomes a fault, which is told only when something is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from jil.trust import cosign, provenance
from jil.trust.claim import Claim, verify_named
from jil.trust.evidence import Evidence
from jil.trust.faults import LIMITS, Fault, malformed
from jil.trust.formats import bundle, dsse, in_toto, statement
from jil.trust.formats.statement import Kind, Statement
from jil.trust.policy import Key, Policy, Role
from jil.trust.provenance import Provenance
from jil.trust.verdict import RefusalReason

T = TypeVar("T")

#: Envelopes, signatures and bundles together: forty releases of an image with two approvals each are well below it.
SIGNATURES_MAX = 512
#: Signatures of cosign name no key, so each may have to be tried with all of them.
COSIGN_MAX = 64


@dataclass(frozen=True)
class Approval:
    """One approval whose signature is good; whether it counts is another question."""

    key: Key
    statement: Statement


@dataclass
class Gathered:
    """What the evidence holds."""

    claims: list[Claim] = field(default_factory=list)
    approvals: list[Approval] = field(default_factory=list)
    provenances: list[Provenance] = field(default_factory=list)
    claim_faults: list[Fault] = field(default_factory=list)
    approval_faults: list[Fault] = field(default_factory=list)
    provenance_faults: list[Fault] = field(default_factory=list)


def check_count(count: int, limit: int = SIGNATURES_MAX) -> None:
    """Raises Fault (TooManySignatures)."""
    if count > limit:
        text = f"{count} signatures are attached, and {limit} are looked at: remove those that nobody needs"
        raise Fault(RefusalReason.TOO_MANY_SIGNATURES, LIMITS, text)


def gather(evidence: Evidence, policy: Policy) -> Gathered:
    """Everything that is signed by keys of the policy. Raises Fault (TooManySignatures) only."""
    check_count(len(evidence.envelopes) + len(evidence.simple) + len(evidence.bundles))
    check_count(len(evidence.simple) + len(evidence.bundles), COSIGN_MAX)
    # Nobody knows what it would have been, so each count hears of it.
    broken = [Fault(one.reason, LIMITS, one.text) for one in evidence.left_out]
    result = Gathered(claim_faults=broken.copy(), approval_faults=broken.copy(), provenance_faults=broken.copy())
    signers = tuple(key for key in policy.keys if key.roles & {Role.SIGNER, Role.CI})
    for raw in evidence.envelopes:
        _envelope(raw, evidence, policy, result)
    for simple in evidence.simple:
        _attempt(result.claims, result.claim_faults, partial(cosign.simple_claim, simple, signers))
    for raw in evidence.bundles:
        _bundle(raw, evidence, policy, signers, result)
    return result


def verify_statement(envelope: dsse.Envelope, kind: Kind, policy: Policy) -> tuple[Key, Statement]:
    """The statement of a JIL envelope and the key that signed it. Raises Fault."""
    stated = statement.parse(kind, envelope.payload)
    if envelope.key_id != stated.key_id:
        raise malformed("the envelope's keyid and the statement's key_id differ")
    key = policy.key(stated.key_id)
    return verify_named(key, stated.key_id, stated.algorithm, envelope.signed_bytes, envelope.signature), stated


def _envelope(raw: bytes, evidence: Evidence, policy: Policy, result: Gathered) -> None:
    try:
        envelope = dsse.parse(raw)
    except Fault as fault:
        result.claim_faults.append(fault)
        return
    match envelope.payload_type:
        case Kind.IMAGE:
            _attempt(result.claims, result.claim_faults, lambda: _claim(envelope, policy))
        case Kind.APPROVAL:
            _attempt(
                result.approvals,
                result.approval_faults,
                lambda: Approval(*verify_statement(envelope, Kind.APPROVAL, policy)),
            )
        case in_toto.PAYLOAD_TYPE:
            _provenance(envelope, evidence, policy, result)
        case other:
            result.claim_faults.append(malformed(f"an envelope of the unknown type {other[:100]!a} is attached"))


def _claim(envelope: dsse.Envelope, policy: Policy) -> Claim:
    key, stated = verify_statement(envelope, Kind.IMAGE, policy)
    return Claim(
        key=key,
        format="jil",
        digests=frozenset({str(stated.digest)}),
        track=stated.track,
        repository=stated.image,
        release=stated.release,
        commit=stated.commit,
        provenance=stated.provenance,
        signed_at=stated.timestamp,
    )


def _bundle(raw: bytes, evidence: Evidence, policy: Policy, signers: Sequence[Key], result: Gathered) -> None:
    try:
        parsed = bundle.parse(raw)
        # An unverified look at the type decides only where the envelope is tried; each way verifies for itself.
        is_signature = in_toto.parse(parsed.envelope.payload).predicate_type != provenance.PREDICATE
    except Fault as fault:
        result.claim_faults.append(fault)
        return
    if is_signature:
        _attempt(result.claims, result.claim_faults, lambda: cosign.bundle_claim(parsed, evidence.digest, signers))
    else:
        _provenance(parsed.envelope, evidence, policy, result)


def _provenance(envelope: dsse.Envelope, evidence: Evidence, policy: Policy, result: Gathered) -> None:
    builders = tuple(key for key in policy.keys if Role.BUILDER in key.roles)
    _attempt(
        result.provenances,
        result.provenance_faults,
        lambda: provenance.verify(envelope, builders, repository=evidence.repository, digest=evidence.digest),
    )


def _attempt(results: list[T], faults: list[Fault], make: Callable[[], T]) -> None:
    try:
        results.append(make())
    except Fault as fault:
        faults.append(fault)
