"""Verdicts about the images of releases: asked for, remembered, and known again after a restart without asking anybody.

What is decided is pure (`jil.trust`); here is when to ask. A verdict holds while policy and track are the same: Verified
until one of its signatures or approvals ends, Refused until the next look (somebody may have signed since), Unknown
until its back-off is over. Verified and Refused are kept in the JILImageAllowList, which the operator alone writes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from jil.api.allowlist import AllowListSpec, CachedVerdict, VerdictWord
from jil.api.network import JILNetwork
from jil.api.objects import InvalidObject
from jil.api.release import JILRelease
from jil.api.trust import Track
from jil.cluster.allowlist import AllowLists
from jil.cluster.clock import Clock
from jil.observe.registry import Reference, RegistryLied, RegistryUnknown
from jil.trust.decide import decide, decide_release, policy_hash, policy_of, refused, refused_by_name
from jil.trust.evidence import Evidence
from jil.trust.faults import LIMITS, Fault, malformed
from jil.trust.policy import Policy
from jil.trust.verdict import RefusalReason, Refused, Unknown, Verdict, Verified

log = logging.getLogger(__name__)

REFUSED_AGAIN = timedelta(minutes=2)
"""How often a refused image is looked at again: attaching a signature to it is no event of the API server."""
BACK_OFF = (timedelta(seconds=5), timedelta(minutes=10))
"""First and longest time until a registry that gave no answer is asked again."""
AT_ONCE = 8
"""Images that are asked about at the same time."""
PATIENCE = 60.0
"""Seconds that one look at a release may take; what is not known by then is Unknown, or asked for in the next look."""


class EvidenceSource(Protocol):
    """The part of the registry client that verdicts need."""

    async def evidence(self, image: str) -> Evidence:
        """Raises RegistryUnknown and RegistryLied."""


@dataclass(frozen=True)
class Terms:
    """By what is judged: the network's policy on its track."""

    network: str
    track: Track
    policy: Policy
    policy_hash: str


@dataclass(frozen=True)
class Known:
    """A verdict with its circumstances."""

    verdict: Verdict
    policy_hash: str
    track: Track
    checked_at: datetime
    #: Generation of the release at which it was asked; None when that was before this process.
    generation: int | None = None
    #: Since when it is this very verdict.
    since: datetime | None = None
    #: Of an Unknown: how often in a row, and when to ask again.
    failures: int = 0
    next_try: datetime | None = None

    def due(self, now: datetime, generation: int) -> bool:
        """Whether it has to be asked for again."""
        return now >= self.due_at() or (
            isinstance(self.verdict, Refused) and self.generation is not None and self.generation != generation
        )

    def due_at(self) -> datetime:
        """When it has to be asked for again at the latest."""
        match self.verdict:
            case Verified():
                return self.verdict.valid_until or _NEVER
            case Refused():
                return self.checked_at + REFUSED_AGAIN
            case Unknown():
                return self.next_try or self.checked_at


_NEVER = datetime.max.replace(tzinfo=UTC)
_Name = tuple[str, str, str]  # network, release, image
_Entry = tuple[str, str, str]  # release, image, policy hash


def terms_of(network: JILNetwork) -> Terms | None:
    """By what the network judges; None when it has no policy. Raises InvalidPolicy."""
    trust = network.spec.trust
    if trust is None:
        return None
    policy = policy_of(trust)
    return Terms(network.name, network.spec.track, policy, policy_hash(policy))


class Verdicts:
    """``namespaces`` of a network are those whose lists may hold its verdicts."""

    def __init__(
        self,
        registry: EvidenceSource,
        lists: AllowLists,
        clock: Clock,
        *,
        namespaces: Callable[[str], Iterable[str]],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._registry = registry
        self._lists = lists
        self._clock = clock
        self._namespaces = namespaces
        self._jitter = jitter
        self._known: dict[_Name, Known] = {}
        self._releases: dict[tuple[str, str, int, str], Verified | Refused] = {}
        self._indexes: dict[str, tuple[AllowListSpec, Mapping[_Entry, CachedVerdict]]] = {}
        self._bugs: defaultdict[str, list[Exception]] = defaultdict(list)
        self._gate = asyncio.Semaphore(AT_ONCE)

    # -- what is known -----------------------------------------------------------------------------------------------
    def image(self, terms: Terms, release: str, image: str) -> Known | None:
        """The verdict that is known by these terms, also when it is due again; None when nobody asked yet."""
        name = (terms.network, release, image)
        known = self._known.get(name)
        if known is None or not _by(known, terms):
            known = self._stored(terms, release, image)
            if known is not None:
                self._known[name] = known
        return known if known is not None and _by(known, terms) else None

    def release(self, terms: Terms, release: JILRelease) -> Verified | Refused:
        """The verdict about the release as a whole; its envelopes are in its spec, so nobody has to be asked."""
        now = self._clock.now()
        key = (terms.network, release.metadata.uid, release.metadata.generation, terms.policy_hash)
        known = self._releases.get(key)
        if known is None or isinstance(known, Refused) or (known.valid_until and now >= known.valid_until):
            known = decide_release(
                release.name, release.spec, release.spec.envelopes, terms.policy, track=terms.track, now=now
            )
            self._releases = {k: v for k, v in self._releases.items() if k[:2] != key[:2]} | {key: known}
        return known

    def to_keep(self, terms: Terms, releases: Sequence[JILRelease]) -> list[CachedVerdict]:
        """What the allow-list remembers of these releases' images."""
        found = []
        for release in releases:
            for image in sorted(set(release.spec.all_images.values())):
                known = self.image(terms, release.name, image)
                if known is not None and not isinstance(known.verdict, Unknown):
                    found.append(_to_stored(release.name, image, known))
        return found

    # -- asking ------------------------------------------------------------------------------------------------------
    async def ask(self, terms: Terms, release: JILRelease) -> dict[str, Known]:
        """Asks for what is not known or due, and returns what is known now, by image; nothing for what is still to do.

        An image whose asking fails by a fault of this program is Unknown and keeps no other back; see `bugs`.
        """
        images = sorted(set(release.spec.all_images.values()))
        now, generation = self._clock.now(), release.metadata.generation
        todo = [
            image
            for image in images
            if (known := self.image(terms, release.name, image)) is None or known.due(now, generation)
        ]
        started: set[str] = set()
        tasks = [asyncio.create_task(self._one(terms, release, image, started)) for image in todo]
        if tasks:
            try:
                _, late = await asyncio.wait(tasks, timeout=PATIENCE)
            except asyncio.CancelledError:
                late = set(tasks)
                raise
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for image, task in zip(todo, tasks, strict=True):
                if task in late and image in started:
                    said = f"the registry did not give everything about {image} within {PATIENCE:.0f} s"
                    self._unknown(terms, release, image, said, None)
                elif not task.cancelled() and (bug := task.exception()) is not None:
                    if not isinstance(bug, Exception):
                        raise bug
                    self._failed(terms, release, image, bug)
        found = {image: self.image(terms, release.name, image) for image in images}
        return {image: known for image, known in found.items() if known is not None}

    def bugs(self, release: str) -> list[Exception]:
        """What went wrong in asking for the release since the last call: to be raised when its pass is done."""
        return self._bugs.pop(release, [])

    async def _one(self, terms: Terms, release: JILRelease, image: str, started: set[str]) -> None:
        async with self._gate:
            started.add(image)
            # Before anybody is asked: what the policy forbids is not spoken to.
            by_name = _by_name(terms, release.name, image)
            if by_name is not None:
                self._remember(terms, release, image, by_name)
                return
            try:
                evidence = await self._registry.evidence(image)
            except RegistryUnknown as error:
                self._unknown(terms, release, image, str(error), error.retry_after)
                return
            except RegistryLied as error:
                lie = Fault(error.reason, LIMITS, str(error)[:400])
                self._remember(terms, release, image, refused(image, lie, track=terms.track, release=release.name))
                return
            # In a thread: what strangers attach may cost seconds of arithmetic, and the loop has other things to do.
            verdict = await asyncio.to_thread(
                decide,
                image,
                evidence,
                terms.policy,
                track=terms.track,
                release=release.name,
                platform=None,
                now=self._clock.now(),
            )
            if isinstance(verdict, Refused) and verdict.in_doubt:
                self._unknown(terms, release, image, verdict.in_doubt, None)
                return
            self._remember(terms, release, image, verdict)

    def _remember(self, terms: Terms, release: JILRelease, image: str, verdict: Verified | Refused) -> None:
        now, before = self._clock.now(), self.image(terms, release.name, image)
        since = before.since if before is not None and before.verdict == verdict else None
        self._known[terms.network, release.name, image] = Known(
            verdict, terms.policy_hash, terms.track, now, release.metadata.generation, since or now
        )

    def _unknown(self, terms: Terms, release: JILRelease, image: str, message: str, retry_after: float | None) -> None:
        now, before = self._clock.now(), self.image(terms, release.name, image)
        again = before if before is not None and isinstance(before.verdict, Unknown) else None
        failures = again.failures + 1 if again else 1
        pause = min(BACK_OFF[1], BACK_OFF[0] * 2 ** min(failures - 1, 10)) * (1 + self._jitter() / 4)
        pause = max(pause, timedelta(seconds=retry_after or 0))
        self._known[terms.network, release.name, image] = Known(
            Unknown(image.partition("@")[2], message),
            terms.policy_hash,
            terms.track,
            now,
            release.metadata.generation,
            since=(again.since if again else None) or now,
            failures=failures,
            next_try=now + pause,
        )

    def _failed(self, terms: Terms, release: JILRelease, image: str, bug: Exception) -> None:
        log.error("checking %s for release %s failed", image, release.name, exc_info=bug)
        self._bugs[release.name].append(bug)
        said = f"checking {image} failed by a fault of the operator itself ({type(bug).__name__}): its log has more"
        self._unknown(terms, release, image, said, None)

    def _stored(self, terms: Terms, release: str, image: str) -> Known | None:
        for namespace in self._namespaces(terms.network):
            try:
                spec = self._lists.read(namespace)
            except InvalidObject:
                continue
            if spec is None or spec.network != terms.network:
                continue
            entry = self._index(namespace, spec).get((release, image, terms.policy_hash))
            known = _from_stored(entry) if entry is not None else None
            if known is not None and _by(known, terms):
                return known
        return None

    def _index(self, namespace: str, spec: AllowListSpec) -> Mapping[_Entry, CachedVerdict]:
        """The list's verdicts by name, made once per list: a release has hundreds of images, a network many lists."""
        made = self._indexes.get(namespace)
        if made is None or made[0] is not spec:
            index = {(entry.release, entry.image, entry.policy_hash): entry for entry in spec.verdicts}
            made = self._indexes[namespace] = (spec, index)
        return made[1]


def _by(known: Known, terms: Terms) -> bool:
    return (known.policy_hash, known.track) == (terms.policy_hash, terms.track)


def _by_name(terms: Terms, release: str, image: str) -> Refused | None:
    """The refusal of an image that no evidence can change; None when the registry has to be asked."""
    by_policy = refused_by_name(image, terms.policy, track=terms.track, release=release)
    if by_policy is not None:
        return by_policy
    try:
        Reference.parse(image)
    except ValueError as error:
        return refused(image, malformed(str(error)[:400]), track=terms.track, release=release)
    return None


def _to_stored(release: str, image: str, known: Known) -> CachedVerdict:
    base = CachedVerdict(
        release=release,
        image=image,
        policy_hash=known.policy_hash,
        track=known.track,
        verdict=VerdictWord.VERIFIED,
        # Not the last look: the same refusal every two minutes is nothing to write down.
        checked_at=(known.since or known.checked_at).replace(microsecond=0),
    )
    match known.verdict:
        case Verified() as verified:
            update: Mapping[str, object] = {
                "keys": verified.keys[:64],
                "approvers": verified.approvers[:64],
                "formats": verified.formats[:8],
                "platforms": verified.platforms[:32],
                "signed_at": verified.signed_at,
                "valid_until": verified.valid_until,
            }
        case Refused() as refused:
            update = {
                "verdict": VerdictWord.REFUSED,
                "reason": refused.reason.value,
                "rule": refused.rule,
                "message": refused.message[:1024],
            }
        case Unknown():
            raise ValueError("what is unknown is not kept")
    return base.model_copy(update=dict(update))


def _from_stored(entry: CachedVerdict) -> Known | None:
    digest = entry.image.partition("@")[2]
    verdict: Verdict
    if entry.verdict is VerdictWord.VERIFIED:
        verdict = Verified(
            digest, entry.keys, entry.approvers, entry.formats, entry.signed_at, entry.valid_until, entry.platforms
        )
    else:
        try:
            reason = RefusalReason(entry.reason or "")
        except ValueError:
            return None  # of another version of this operator: asked for again
        verdict = Refused(digest, reason, entry.rule or "", entry.message)
    return Known(verdict, entry.policy_hash, entry.track, entry.checked_at, since=entry.checked_at)
