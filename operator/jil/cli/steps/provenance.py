"""Where did this image come from? Nothing is signed without an answer by a builder that the policy knows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jil.cli.exits import Stop
from jil.cli.steps.bench import Bench
from jil.trust import provenance, votes
from jil.trust.evidence import Evidence
from jil.trust.faults import Fault
from jil.trust.formats import bundle, dsse
from jil.trust.formats.statement import is_commit
from jil.trust.policy import Role
from jil.trust.provenance import Provenance

_HEX = re.compile(r"[0-9a-f]{7,64}")


def check(
    bench: Bench, evidence: Evidence, files: Sequence[bytes], *, commit: str | None, tag: str | None
) -> tuple[Provenance, str]:
    """The provenance that holds, and its commit.

    Looked for in ``files`` (DSSE envelopes or sigstore bundles) and among what is attached. A ``tag`` that looks like
    a commit must be that of the provenance. Raises Stop (REFUSED) that says what each statement lacks.
    """
    image = f"{evidence.repository}@{evidence.digest}"
    if commit is not None and not is_commit(commit):
        raise Stop(
            f"--commit {commit[:80]!r} is not a whole git commit: 40 or 64 hex digits, as `git rev-parse HEAD` prints"
        )
    builders = tuple(key for key in bench.policy.keys if Role.BUILDER in key.roles)
    if not builders:
        raise Stop(
            "the policy has no key with role builder: add the key that your builds are signed with",
            reason="NoProvenance",
        )
    faults: list[str] = []
    for raw in [*files, *evidence.envelopes, *evidence.bundles]:
        try:
            found = provenance.verify(_envelope(raw), builders, repository=evidence.repository, digest=evidence.digest)
            votes.key_until(found.key, found.finished, bench.now)
            return found, _commit(found, commit, tag)
        except Fault as fault:
            faults.append(fault.text)
    text = "; ".join(dict.fromkeys(faults)) or "none was given and none is attached"
    raise Stop(
        f"{image} has no provenance that counts, so it is not signed: {text[:600]}. Let the build sign one (SLSA v1, by a "
        "key with role builder) and attach it, or give it with --provenance FILE",
        reason="NoProvenance",
    )


def _envelope(raw: bytes) -> dsse.Envelope:
    try:
        return dsse.parse(raw)
    except Fault:
        return bundle.parse(raw).envelope


def _commit(found: Provenance, wanted: str | None, tag: str | None) -> str:
    names = ", ".join(sorted(found.commits))
    if wanted is not None and wanted not in found.commits:
        raise Stop(
            f"the provenance is about commit {names}, not {wanted}: this is not the image of that commit",
            reason="NoProvenance",
        )
    candidates = {wanted} if wanted else set(found.commits)
    if tag is not None and _HEX.fullmatch(tag):
        candidates = {commit for commit in candidates if commit.startswith(tag)}
        if not candidates:
            raise Stop(
                f"the tag {tag} names another commit than the provenance does ({names}): retag, or use the digest",
                reason="NoProvenance",
            )
    if len(candidates) > 1:
        raise Stop(f"the provenance names several commits ({names}): say which with --commit")
    return candidates.pop()
