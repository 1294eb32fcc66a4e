"""What no CEL rule can see: does everything that a JILNode refers to exist, and is the nodeId really its own?

Each refusal is one clear reason with the remedy. It harms nothing: what runs keeps running.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jil.api import labels
from jil.api.conditions import Reason
from jil.api.jurisdiction import JILJurisdiction
from jil.api.network import JILNetwork, Member
from jil.api.node import JILNode
from jil.api.record import JILNodeRecord
from jil.api.release import JILRelease
from jil.api.trust import Track


@dataclass(frozen=True)
class SpecProblem:
    """Why a node cannot be reconciled as declared, and what to do about it."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Resolved:
    """Everything that a node's spec refers to."""

    jurisdiction: JILJurisdiction
    network: JILNetwork
    release: JILRelease
    member: Member


def namespace_problem(
    namespace: str, namespace_labels: Mapping[str, str], jurisdictions: Sequence[JILJurisdiction]
) -> SpecProblem | None:
    """A JIL namespace has its labels and exactly one JILJurisdiction: the namespace IS the isolation boundary."""
    names = sorted(j.name for j in jurisdictions)
    if not names:
        return SpecProblem(
            Reason.JURISDICTION_NOT_FOUND,
            f"namespace {namespace} has no JILJurisdiction; create one (kubectl apply -n {namespace} -f jurisdiction.yaml)"
            " or move this JILNode to the namespace of its jurisdiction",
        )
    if len(names) > 1:
        return SpecProblem(
            Reason.SECOND_JURISDICTION,
            f"namespace {namespace} has {len(names)} JILJurisdictions ({', '.join(names)}); a namespace holds exactly one:"
            f" delete the wrong one (kubectl delete -n {namespace} jj NAME) or give it a namespace of its own",
        )
    jurisdiction = jurisdictions[0]
    wanted = {labels.NETWORK: jurisdiction.spec.network, labels.JURISDICTION: jurisdiction.name}
    wrong = {k: v for k, v in wanted.items() if namespace_labels.get(k) != v}
    if wrong:
        assignments = " ".join(f"{k}={v}" for k, v in sorted(wanted.items()))
        return SpecProblem(
            Reason.NAMESPACE_NOT_LABELLED,
            f"namespace {namespace} lacks the label(s) {', '.join(f'{k}={v}' for k, v in sorted(wrong.items()))}, so it is"
            f" not set up for JIL; install the chart jil-jurisdiction into it, or mend the labels:"
            f" kubectl label namespace {namespace} {assignments} --overwrite",
        )
    return None


def trust_problem(namespace: str, namespace_labels: Mapping[str, str], network: JILNetwork) -> SpecProblem | None:
    """On testnet and mainnet nothing may run before its signatures were found good: the namespace must be set up so.

    The label comes with the binding that makes admission refuse everything while there is no allow-list.
    """
    if network.spec.track is Track.DEVNET or namespace_labels.get(labels.IMAGE_TRUST) == labels.IMAGE_TRUST_REQUIRED:
        return None
    return SpecProblem(
        Reason.TRUST_NOT_ENFORCED,
        f"JILNetwork {network.name} is on track {network.spec.track}, and namespace {namespace} is not set up to admit"
        f" signed images only (label {labels.IMAGE_TRUST}={labels.IMAGE_TRUST_REQUIRED}): upgrade its release of chart"
        " jil-jurisdiction with --set imageTrust=required",
    )


def resolve(
    node: JILNode,
    *,
    namespace_labels: Mapping[str, str],
    jurisdictions: Sequence[JILJurisdiction],
    networks: Mapping[str, JILNetwork],
    releases: Mapping[str, JILRelease],
) -> Resolved | SpecProblem:
    """Follows the references of a JILNode. The first fault is the answer: they build on one another."""
    namespace = node.metadata.namespace or ""
    if len(node.name) > labels.NODE_NAME_MAX:
        return SpecProblem(
            Reason.NAME_TOO_LONG,
            f"the name {node.name} has {len(node.name)} characters; at most {labels.NODE_NAME_MAX} leave room for the names"
            f" of its children: create the node as {node.spec.node_id.lower()}",
        )
    problem = namespace_problem(namespace, namespace_labels, jurisdictions)
    if problem:
        return problem
    jurisdiction = jurisdictions[0]
    network = networks.get(jurisdiction.spec.network)
    if network is None:
        return SpecProblem(
            Reason.NETWORK_NOT_FOUND,
            f"JILJurisdiction {jurisdiction.name} names JILNetwork {jurisdiction.spec.network}, which does not exist;"
            " create it (kubectl get jnet lists those that do)",
        )
    problem = trust_problem(namespace, namespace_labels, network)
    if problem:
        return problem
    release = releases.get(jurisdiction.spec.release)
    if release is None:
        known = ", ".join(sorted(releases)[:5]) or "none"
        return SpecProblem(
            Reason.RELEASE_NOT_FOUND,
            f"JILJurisdiction {jurisdiction.name} wants JILRelease {jurisdiction.spec.release}, which does not exist"
            f" (existing: {known}); apply it, or set spec.release of the jurisdiction to one of them",
        )
    member = network.spec.member(node.spec.node_id)
    if member is None:
        return SpecProblem(
            Reason.NODE_ID_NOT_MEMBER,
            f"nodeId {node.spec.node_id} is not listed in spec.members of JILNetwork {network.name}; the platform team"
            f" admits it by adding {{nodeId: {node.spec.node_id}, namespace: {namespace}, zone: {jurisdiction.spec.zone}}}",
        )
    if member.namespace != namespace or member.zone != jurisdiction.spec.zone:
        home = f"namespace {member.namespace}" if member.namespace else "another cluster"
        return SpecProblem(
            Reason.NODE_ID_NOT_MEMBER,
            f"JILNetwork {network.name} lists nodeId {node.spec.node_id} for {home} and zone {member.zone}, not for"
            f" {namespace} and {jurisdiction.spec.zone}; apply this node in {home}, or use the nodeId that is meant for here",
        )
    unknown = sorted({o.name for o in node.spec.services} - {s.name for s in release.spec.services})
    if unknown:
        return SpecProblem(
            Reason.UNKNOWN_SERVICE,
            f"spec.services overrides {', '.join(unknown)}, which JILRelease {release.name} does not contain"
            f" (it has: {', '.join(sorted(s.name for s in release.spec.services)[:10]) or 'no services'}); correct the name",
        )
    return Resolved(jurisdiction, network, release, member)


def claim_problem(node: JILNode, record: JILNodeRecord, *, owner_exists: bool) -> SpecProblem | None:
    """The record's name is the uniqueness claim of a nodeId. ``owner_exists``: the JILNode that the record names is
    still there under the recorded UID."""
    owner = record.spec.owner
    same = (owner.namespace, owner.name) == (node.metadata.namespace, node.name)
    if owner.uid == node.metadata.uid or same:
        return None  # itself, or deleted and applied again
    if owner.namespace == node.metadata.namespace and not owner_exists:
        return None  # renamed within its jurisdiction: the old object is gone
    return SpecProblem(
        Reason.NODE_ID_CLAIMED,
        f"nodeId {node.spec.node_id} belongs to JILNode {owner.namespace}/{owner.name}; every node needs a nodeId of its"
        " own: choose another, or apply this node under that namespace and name",
    )
