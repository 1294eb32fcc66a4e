"""Facts of a node's record that come out of a reconcile: its keys, and the releases it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jil.api.record import (
    RELEASES_MAX,
    CredentialsFacts,
    JILNodeRecord,
    Keys,
    NodeKeyFacts,
    ReleaseFacts,
    ValidatorKeyFacts,
)
from jil.cluster.client import Manifest
from jil.cluster.keys import KeyRole, PublicFacts
from jil.cluster.record import whole_seconds
from jil.controller.deps import Deps
from jil.plan.lifecycle import Goal, Workload
from jil.render.context import NodeContext


def keys_of(recorded: Keys, found: Mapping[KeyRole, PublicFacts]) -> Keys:
    """The record's ``keys`` with what was just made; what is recorded already is never rewritten."""
    validator, node, credentials = recorded.validator, recorded.node, recorded.credentials
    facts = found.get(KeyRole.VALIDATOR)
    if validator is None and facts and facts.public_key and facts.address:
        validator = ValidatorKeyFacts(public_key=facts.public_key, address=facts.address, fingerprint=facts.fingerprint)
    facts = found.get(KeyRole.NODE)
    if node is None and facts and facts.peer_id:
        node = NodeKeyFacts(peer_id=facts.peer_id, fingerprint=facts.fingerprint)
    facts = found.get(KeyRole.CREDENTIALS)
    if credentials is None and facts:
        credentials = CredentialsFacts(fingerprint=facts.fingerprint)
    return Keys(validator=validator, node=node, credentials=credentials)


def ran_before(node: Manifest, record: JILNodeRecord) -> bool:
    """The node was Ready once, and was not stopped since: what is amiss is no step of a start."""
    return bool(record.spec.releases) and node.get("status", {}).get("state") != "Stopped"


def release_images(ctx: NodeContext) -> dict[str, str]:
    """Component or service -> image by digest, as the release says now."""
    images = ctx.release.images
    found = {
        "database": images.database.image,
        "cache": images.cache.image,
        "broker": images.broker.image,
        "health": images.health.image,
    }
    if ctx.node.validator.enabled:
        found["validator"] = images.validator.image
    found.update({s.name: s.image.image for s in ctx.release.services})
    return found


async def with_release(
    deps: Deps,
    record: JILNodeRecord,
    ctx: NodeContext,
    goal: Goal,
    workloads: Sequence[Workload],
    *,
    ready: bool,
) -> JILNodeRecord:
    """Once everything runs the release, it becomes the newest entry of the history (the last five, snapshotted).

    The first entry waits until the node is ``ready``: pods answer their probes before the health endpoint can tell
    that they work, and a node with a history is one that has worked.
    """
    history = record.spec.releases
    if not history and not ready:
        return record
    if goal is not Goal.RUNNING or not all(w.ready for w in workloads if w.declared > 0):
        return record
    if history and history[0].release == ctx.release_name:
        return record
    images = release_images(ctx)
    if not all(w.runs(images.get(w.component, "")) for w in workloads if w.declared > 0):
        return record  # a StatefulSet is armed with the new template: its pod still runs the old release
    entry = ReleaseFacts(release=ctx.release_name, since=whole_seconds(deps.clock.now()), images=images)
    return await deps.records.change(record, releases=(entry, *history)[:RELEASES_MAX])
