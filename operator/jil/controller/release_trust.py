"""May nodes take up a release, and which digests may their namespaces run? Made of verdicts, without asking anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jil.api import kinds, labels
from jil.api.allowlist import VERDICTS_MAX, AllowedImage, AllowListSpec, CachedVerdict, VerdictWord
from jil.api.conditions import ConditionType, Finding, Reason, false, true, unknown
from jil.api.labels import Component
from jil.api.network import JILNetwork
from jil.api.objects import InvalidObject
from jil.api.release import JILRelease
from jil.cluster.allowlist import AllowLists, ReleasePart
from jil.cluster.client import Manifest
from jil.controller.deps import Deps
from jil.controller.release_verdicts import Known, Terms, Verdicts, terms_of
from jil.engine.store import Store
from jil.trust.formats.release_manifest import manifest_digest
from jil.trust.policy import InvalidPolicy
from jil.trust.verdict import Refused, Verified

RELEASES_PER_DIGEST = 16


def namespaces_of(store: Store, network: str) -> list[str]:
    """Namespaces of the network that have a jurisdiction of it, or a list from the time when they had one; each once.

    Which network a namespace belongs to says its label, which is guarded; a JILJurisdiction is written by whoever has
    rights inside the namespace, and one that names another network brings nothing in. A list of another network, from
    before the label counted, is brought right: deleted, it would let everything in.
    """
    return sorted(
        space["metadata"]["name"]
        for space in store.list(kinds.NAMESPACE)
        if (space["metadata"].get("labels") or {}).get(labels.NETWORK) == network
        and _speaks(store, space["metadata"]["name"], network)
    )


def _speaks(store: Store, namespace: str, network: str) -> bool:
    if store.get(kinds.JIL_IMAGE_ALLOW_LIST, None, namespace) is not None:
        return True
    return any(one["spec"].get("network") == network for one in store.list(kinds.JIL_JURISDICTION, namespace))


def nodes_by_trust(store: Store) -> Counter[str]:
    """JILNodes by the state of their condition ImageTrust, in the words of the metric."""
    found: Counter[str] = Counter()
    for node in store.list(kinds.JIL_NODE):
        conditions = (node.get("status") or {}).get("conditions") or ()
        trust: Mapping[str, object] = next((c for c in conditions if c.get("type") == ConditionType.IMAGE_TRUST), {})
        match trust.get("status"), trust.get("reason"):
            case "True", _:
                found["verified"] += 1
            case "False", Reason.NO_POLICY:
                found["no_policy"] += 1
            case "False", _:
                found["refused"] += 1
            case _:
                found["unknown"] += 1
    return found


class Trust(StrEnum):
    """How a release stands with a network."""

    NO_POLICY = "NoPolicy"
    VERIFIED = "Verified"
    REFUSED = "Refused"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Standing:
    """The word, and the condition ``ImageTrust`` that says why."""

    trust: Trust
    finding: Finding

    @property
    def admits(self) -> bool:
        """Whether a node may take the release up."""
        return self.trust in (Trust.NO_POLICY, Trust.VERIFIED)


class ReleaseTrust:
    """Reads the store, the verdicts and the allow-lists."""

    def __init__(self, deps: Deps, verdicts: Verdicts, lists: AllowLists) -> None:
        self._deps = deps
        self._verdicts = verdicts
        self._lists = lists

    # -- one release -------------------------------------------------------------------------------------------------
    def standing(self, network: JILNetwork, release: JILRelease) -> Standing:
        """By what is known now. An image that nobody asked about yet is as unknown as one whose registry is away."""
        type_ = ConditionType.IMAGE_TRUST
        try:
            terms = terms_of(network)
        except InvalidPolicy as error:
            message = f"JILNetwork {network.name}: {error}; correct it, until then no node takes up a release"
            return Standing(Trust.UNKNOWN, unknown(type_, Reason.TRUST_UNKNOWN, message))
        if terms is None:
            message = f"JILNetwork {network.name} has no spec.trust: images run on the digests of the release alone"
            return Standing(Trust.NO_POLICY, false(type_, Reason.NO_POLICY, message))
        whole = self._verdicts.release(terms, release)
        images = sorted(set(release.spec.all_images.values()))
        found = {image: self._verdicts.image(terms, release.name, image) for image in images}
        now = self._deps.clock.now()
        refused = [whole] if isinstance(whole, Refused) else []
        refused += [known.verdict for known in found.values() if known and isinstance(known.verdict, Refused)]
        if refused:
            more = (
                f" ({len(refused) - 1} more are refused: kubectl describe jrel {release.name})" if refused[1:] else ""
            )
            return Standing(Trust.REFUSED, false(type_, Reason.IMAGE_REFUSED, refused[0].message + more))
        open_ = {image: known for image, known in found.items() if not _holds(known, now)}
        if open_:
            return Standing(Trust.UNKNOWN, _open(open_, len(images)))
        return Standing(
            Trust.VERIFIED,
            true(type_, Reason.VERIFIED, f"{len(images)} images and the release are verified for {network.spec.track}"),
        )

    def admitted_before(self, namespace: str, release: JILRelease, *, validator: bool) -> bool:
        """Whether the namespace's list still lets run what a node needs of exactly this release.

        ``validator``: whether the node has one. True also where there is no list yet: the node is older than the policy.
        """
        try:
            spec = self._lists.read(namespace)
        except InvalidObject:
            return False  # whatever it lets run, nobody here knows
        if spec is None:
            return True
        if content_name(release) not in {entry.image for entry in spec.verdicts}:
            return False
        needed = dict(release.spec.all_images)
        if not validator:
            needed.pop(Component.VALIDATOR.value)
        entries = [spec.digests.get(_digest(image)) for image in needed.values()]
        return all(entry is not None and release.name in entry.releases for entry in entries)

    def find(self, name: str) -> JILRelease | None:
        """The release of that name; None when there is none that this operator can read."""
        raw = self._deps.store.get(kinds.JIL_RELEASE, None, name)
        try:
            return JILRelease.parse(raw) if raw is not None else None
        except InvalidObject:
            return None

    # -- one namespace -----------------------------------------------------------------------------------------------
    def releases_of(self, namespace: str) -> set[str]:
        """Names of the releases that the namespace wants, runs or still has in its list."""
        spec = self._list(namespace)
        listed = {name for entry in spec.digests.values() for name in entry.releases} if spec else set()
        return self._wanted(namespace) | self._running(namespace).keys() | listed

    def part(self, namespace: str, network: JILNetwork, terms: Terms) -> ReleasePart:
        """What the releases let run in the namespace.

        The digests of every wanted or running release that is verified. Of a release that is not (any more): those
        that its nodes run, so that their pods may come back; no node takes it up. So it is with what stood in the list
        and is in the workloads of nodes that are between two releases.
        """
        running, wanted = self._running(namespace, network.name), self._wanted(namespace)
        before = self._list(namespace)
        if before is not None and before.network != network.name:
            before = None  # what another network's policy let in
        now = self._deps.clock.now().replace(microsecond=0)
        digests: dict[str, AllowedImage] = {}
        verdicts: list[CachedVerdict] = []
        judged: list[JILRelease] = []
        for name in sorted(self.releases_of(namespace)):
            release = self.find(name)
            if release is not None and name in wanted | running.keys():
                judged.append(release)
                if self.standing(network, release).admits:
                    _add(digests, release.spec.all_images.values(), name, None)
                    verdicts.append(_content(release, terms, VerdictWord.VERIFIED, now, before))
                    continue
            if name in running or (name in wanted and self._has_workloads(namespace)):
                listed = {e.image for e in (before.digests.values() if before else ()) if name in e.releases}
                # A policy may be newer than the nodes: then what they run stands in the operator's own records alone.
                _add(digests, {*listed, *running.get(name, ())}, name, _since(before, name) or now)
                verdicts += [v for v in (before.verdicts if before else ()) if v.release == name and _is_content(v)]
                if before is None and release is not None:
                    verdicts.append(_content(release, terms, VerdictWord.UNKNOWN, now, before))
        for digest in sorted(self._carried(namespace) - digests.keys()):
            # Of a release that was on its way when another one was wanted, or whose jurisdiction is gone.
            if before is not None and digest in before.digests:
                entry = before.digests[digest]
                digests[digest] = entry.model_copy(update={"kept_since": entry.kept_since or now})
        return ReleasePart(
            network=network.name,
            policy_hash=terms.policy_hash,
            digests=digests,
            verdicts=[*verdicts, *self._verdicts.to_keep(terms, judged)][:VERDICTS_MAX],
        )

    # -- inside ------------------------------------------------------------------------------------------------------
    def _list(self, namespace: str) -> AllowListSpec | None:
        try:
            return self._lists.read(namespace)
        except InvalidObject:
            return None

    def _wanted(self, namespace: str) -> set[str]:
        return {
            str(jurisdiction["spec"].get("release"))
            for jurisdiction in self._deps.store.list(kinds.JIL_JURISDICTION, namespace)
        }

    def _running(self, namespace: str, network: str | None = None) -> Mapping[str, set[str]]:
        """Release -> images, as the records of the namespace's nodes have them; only the operator writes records.

        ``network``: of this network's nodes alone. What a node of another network runs came by another policy.
        """
        found: dict[str, set[str]] = {}
        for record in self._deps.store.list(kinds.JIL_NODE_RECORD, self._deps.system_namespace):
            spec = record["spec"]
            owner = spec.get("owner") or {}
            if owner.get("namespace") != namespace or not spec.get("releases"):
                continue
            if network is not None and spec.get("network") != network:
                continue
            if self._deps.store.get(kinds.JIL_NODE, namespace, str(owner.get("name"))) is None:
                continue
            newest = spec["releases"][0]
            found.setdefault(str(newest["release"]), set()).update((newest.get("images") or {}).values())
        return found

    def _carried(self, namespace: str) -> set[str]:
        return {
            digest
            for node in self._deps.store.list(kinds.JIL_NODE, namespace)
            for kind in (kinds.STATEFUL_SET, kinds.DEPLOYMENT)
            for workload in self._deps.store.children(kind, namespace, node["metadata"]["name"])
            for digest in carried(workload)
        }

    def _has_workloads(self, namespace: str) -> bool:
        return any(self._deps.store.list(kind, namespace) for kind in (kinds.STATEFUL_SET, kinds.DEPLOYMENT))


def carried(workload: Manifest) -> set[str]:
    """Digests in the template of a StatefulSet or Deployment."""
    spec = workload["spec"]["template"]["spec"]
    return {_digest(one["image"]) for one in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))}


def _holds(known: Known | None, now: datetime) -> bool:
    return known is not None and isinstance(known.verdict, Verified) and now < known.due_at()


def _open(open_: Mapping[str, Known | None], total: int) -> Finding:
    """Images without a verdict: asked about right now, or their registry says nothing."""
    image, known = next(iter(sorted(open_.items(), key=lambda item: item[1] is None)))
    if known is None or isinstance(known.verdict, Verified):
        message = f"{len(open_)} of {total} images are being checked, among them {image}"
        return unknown(ConditionType.IMAGE_TRUST, Reason.VERIFYING, message)
    # No times here: a condition or an Event that is another one with every try would be written with every try.
    message = (
        f"{len(open_)} of {total} images cannot be checked: {known.verdict.message}. What runs keeps running, nothing new "
        "starts"
    )
    return unknown(ConditionType.IMAGE_TRUST, Reason.TRUST_UNKNOWN, message)


def _add(digests: dict[str, AllowedImage], images: Iterable[str], release: str, kept_since: datetime | None) -> None:
    for image in sorted(images):
        digest = _digest(image)
        before = digests.get(digest)
        releases = tuple(sorted({release, *(before.releases if before else ())}))[:RELEASES_PER_DIGEST]
        # A digest that any release is verified with is not merely kept.
        since = kept_since if before is None else (kept_since and before.kept_since)
        digests[digest] = AllowedImage(image=image, releases=releases, kept_since=since)


def _since(spec: AllowListSpec | None, release: str) -> datetime | None:
    return next(
        (e.kept_since for e in (spec.digests.values() if spec else ()) if release in e.releases and e.kept_since), None
    )


def content_name(release: JILRelease) -> str:
    """How a list names the content of a release: one that is made anew under the same name is another one."""
    return f"{release.name}@{manifest_digest(release.name, release.spec)}"


def _content(
    release: JILRelease, terms: Terms, word: VerdictWord, now: datetime, before: AllowListSpec | None
) -> CachedVerdict:
    """The list's note that nodes of the namespace may have taken up exactly this release; once made, it stays."""
    name = content_name(release)
    stored = next((verdict for verdict in (before.verdicts if before else ()) if verdict.image == name), None)
    return stored or CachedVerdict(
        release=release.name,
        image=name,
        policy_hash=terms.policy_hash,
        track=terms.track,
        verdict=word,
        checked_at=now,
    )


def _is_content(verdict: CachedVerdict) -> bool:
    return verdict.image.startswith(f"{verdict.release}@")


def _digest(image: str) -> str:
    return image.partition("@")[2]
