"""JILRelease: may its images run? Verdict per image and network, the namespaces' allow-lists, and who is told."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from jil.api import kinds
from jil.api.conditions import RELEASE_CONDITIONS, ConditionType, Finding, Reason, false, merge, true, unknown
from jil.api.network import JILNetwork
from jil.api.objects import InvalidObject
from jil.api.release import IMAGE_VERDICTS_MAX, ImageVerdict, JILRelease
from jil.cluster.allowlist import AllowLists
from jil.cluster.client import Manifest
from jil.cluster.errors import ApiError, NotFound
from jil.controller.deps import Deps
from jil.controller.node_audit import audit
from jil.controller.release_trust import ReleaseTrust, Standing, Trust, namespaces_of
from jil.controller.release_verdicts import Known, Terms, Verdicts, terms_of
from jil.engine.outcome import DependencyDown
from jil.engine.queue import Key
from jil.engine.runtime import Result
from jil.trust.policy import InvalidPolicy
from jil.trust.verdict import Refused, Unknown, Verdict, Verified

log = logging.getLogger(__name__)

SOONEST, LATEST = 1.0, 600.0
"""Bounds of the time until the next look, in seconds."""
TOGETHER = timedelta(seconds=30)
"""Tries that are due this soon after another one, and no later than twice its pause, are made with it."""
WHOLE = "release"
"""How the release's own signature is called among the images."""


class ReleaseReconciler:
    """observe (registry) -> decide (jil.trust) -> write (status, allow-lists), for one JILRelease."""

    def __init__(self, deps: Deps, verdicts: Verdicts, trust: ReleaseTrust, lists: AllowLists) -> None:
        self._deps = deps
        self._verdicts = verdicts
        self._trust = trust
        self._lists = lists
        # Publishing is computing and writing: whoever computes later has seen more, so nobody may be overtaken.
        self._publishing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._told: dict[tuple[str, str, str], tuple[str, str]] = {}

    async def __call__(self, key: Key) -> Result:
        raw = self._deps.store.get(kinds.JIL_RELEASE, None, key.name)
        networks = self._networks(key.name)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            _raise_first(await self._publish(networks))
            return Result()
        try:
            release = JILRelease.parse(raw)
        except InvalidObject as error:
            await self._write(raw, [false(ConditionType.SPEC_VALID, Reason.SPEC_UNREADABLE, str(error))], ())
            return Result()
        terms = {network.name: one for network in networks if (one := self._terms(network)) is not None}
        if any(self._has_to_ask(judged, release) for judged in terms.values()):
            # A registry may hang for a minute: what a new policy takes out of the lists does not wait for it.
            await self._publish(networks)  # what went wrong goes wrong again below
        answers = await self._ask(terms, release)
        rows: list[ImageVerdict] = []
        standings: dict[str, Standing] = {}
        tries: list[datetime] = []
        ends: list[datetime] = []
        for network in networks:
            judged = terms.get(network.name)
            if judged is not None:
                found = answers[network.name]
                rows += self._rows(judged, release, found)
                for known in found.values():
                    (ends if isinstance(known.verdict, Verified) else tries).append(known.due_at())
                if len(found) < len(set(release.spec.all_images.values())):
                    ends.append(self._deps.clock.now())
                whole = self._verdicts.release(judged, release)
                if isinstance(whole, Verified) and whole.valid_until:
                    ends.append(whole.valid_until)
            standings[network.name] = self._trust.standing(network, release)
        wrong = [*self._verdicts.bugs(release.name), *await self._publish(networks)]
        live = self._deps.store.get(kinds.JIL_RELEASE, None, key.name) or raw
        self._tell(live, release, standings)
        await self._write(live, [true(ConditionType.SPEC_VALID, Reason.VALID), _overall(release, standings)], rows)
        _raise_first(wrong)
        return Result(_pause(self._deps.clock.now(), ends, tries))

    # -- inside ------------------------------------------------------------------------------------------------------
    def _networks(self, release: str) -> list[JILNetwork]:
        """Networks that want, run or list the release somewhere, by name; those that cannot be read say so themselves."""
        found = []
        for raw in self._deps.store.list(kinds.JIL_NETWORK):
            namespaces = namespaces_of(self._deps.store, raw["metadata"]["name"])
            try:
                if any(release in self._trust.releases_of(namespace) for namespace in namespaces):
                    found.append(JILNetwork.parse(raw))
            except InvalidObject:
                continue
        return found

    @staticmethod
    def _terms(network: JILNetwork) -> Terms | None:
        try:
            return terms_of(network)
        except InvalidPolicy:
            return None  # the standing says so; what runs keeps running by the list as it is

    def _has_to_ask(self, terms: Terms, release: JILRelease) -> bool:
        now, generation = self._deps.clock.now(), release.metadata.generation
        known = [self._verdicts.image(terms, release.name, image) for image in release.spec.all_images.values()]
        return any(one is None or one.due(now, generation) for one in known)

    async def _ask(self, terms: Mapping[str, Terms], release: JILRelease) -> dict[str, dict[str, Known]]:
        """The verdicts by network. Side by side: one after the other, a few registries that hang outlast a reconcile."""
        asked = [self._verdicts.ask(one, release) for one in terms.values()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found: dict[str, dict[str, Known]] = {}
        for network, answer in zip(terms, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            found[network] = answer
        return found

    async def _publish(self, networks: Iterable[JILNetwork]) -> list[Exception]:
        """The lists of all namespaces of these networks, as they follow from all that is known now.

        A list that cannot be written keeps no other back; what went wrong is returned, for whoever wants to try again.
        """
        wrong: list[Exception] = []
        for network in networks:
            terms = self._terms(network)
            if terms is None:
                continue
            for namespace in namespaces_of(self._deps.store, network.name):
                try:
                    await self._publish_one(namespace, network, terms)
                except ApiError as error:
                    log.warning("the allow-list of namespace %s is not what it should be: %s", namespace, error)
                    wrong.append(error)
                except ValueError as error:  # unreadable, or more than a list can hold
                    message = f"the allow-list of namespace {namespace} is not what it should be: {error}"
                    log.warning("%s", message)
                    wrong.append(DependencyDown(message))
        return wrong

    async def _publish_one(self, namespace: str, network: JILNetwork, terms: Terms) -> None:
        async with self._publishing[namespace]:
            space = self._deps.store.get(kinds.NAMESPACE, None, namespace)
            if space is None or space["metadata"].get("deletionTimestamp"):
                return
            part = self._trust.part(namespace, network, terms)
            await self._lists.publish_releases(namespace, namespace_uid=space["metadata"]["uid"], part=part)

    def _rows(self, terms: Terms, release: JILRelease, found: dict[str, Known]) -> list[ImageVerdict]:
        whole = self._verdicts.release(terms, release)
        rows = [_row(terms.network, WHOLE, whole.digest, whole, None, None)]
        self._audit(terms, release, whole.digest, whole)
        for service, image in sorted(release.spec.all_images.items()):
            name = f"{service} service" if service == WHOLE else service
            known = found.get(image)
            if known is None:
                verdict: Verdict = Unknown(image.partition("@")[2], "being checked")
                rows.append(_row(terms.network, name, image, verdict, None, None))
                continue
            rows.append(_row(terms.network, name, image, known.verdict, known.since, known.next_try))
            self._audit(terms, release, image, known.verdict)
        return rows

    def _audit(self, terms: Terms, release: JILRelease, image: str, verdict: Verdict) -> None:
        """One line when a verdict is another one than before, also than before a restart."""
        match verdict:
            case Verified():
                said = ("image.verify", "Verified")
            case Refused():
                said = ("image.reject", verdict.reason.value)
            case Unknown():
                return  # nothing was found out
        key = (terms.network, release.name, image)
        before = self._told.get(key) or _told(release, terms.network, image)
        self._told[key] = said
        if before == said:
            return
        facts: dict[str, Any] = {
            "network": terms.network,
            "track": terms.track.value,
            "release": release.name,
            "image": image,
            "policyHash": terms.policy_hash,
        }
        if isinstance(verdict, Verified):
            facts |= {"keys": list(verdict.keys), "approvers": list(verdict.approvers)}
        elif isinstance(verdict, Refused):
            facts |= {"reason": verdict.reason.value, "rule": verdict.rule, "message": verdict.message}
        audit(said[0], **facts)

    def _tell(self, raw: Manifest, release: JILRelease, standings: dict[str, Standing]) -> None:
        """An Event for what is refused and for what cannot be checked; repetitions become a series."""
        for standing in standings.values():
            finding = standing.finding
            if standing.trust in (Trust.REFUSED, Trust.UNKNOWN) and finding.reason is not Reason.VERIFYING:
                self._deps.events.warning(raw, finding.reason, finding.message, action="Verify")

    async def _write(self, raw: Manifest, findings: list[Finding], rows: Iterable[ImageVerdict]) -> None:
        stored = JILRelease.parse(raw).status.conditions if findings[0].status == "True" else ()
        worst = next((f for f in findings if f.status != "True" and f.reason is not Reason.NO_POLICY), None)
        if worst is None:
            ready = true(ConditionType.READY, Reason.READY, "nodes may take the release up")
        elif worst.status == "Unknown":
            ready = unknown(ConditionType.READY, worst.reason, worst.message)
        else:
            ready = false(ConditionType.READY, worst.reason, worst.message)
        generation = raw["metadata"].get("generation", 0)
        status: Manifest = {
            "observedGeneration": generation,
            "conditions": [
                c.wire()
                for c in merge(
                    stored,
                    [*findings, ready],
                    full_set=RELEASE_CONDITIONS,
                    generation=generation,
                    now=self._deps.clock.now(),
                )
            ],
        }
        shown = [row.wire() for row in rows][:IMAGE_VERDICTS_MAX]
        if shown:
            status["images"] = shown
        try:
            await self._deps.statuses.write(kinds.JIL_RELEASE, raw, status)
        except NotFound:
            return  # deleted meanwhile


def _pause(now: datetime, ends: Sequence[datetime], tries: Sequence[datetime]) -> float | None:
    """Seconds until the next look: exactly when a verdict ends; tries that are near each other are one look."""
    looks = list(ends)
    if tries:
        first = min(tries)
        together = min(TOGETHER, max(first - now, timedelta()))
        looks.append(max(moment for moment in tries if moment <= first + together))
    return min(LATEST, max(SOONEST, (min(looks) - now).total_seconds())) if looks else None


def _raise_first(wrong: Sequence[Exception]) -> None:
    if wrong:
        raise wrong[0]


def _overall(release: JILRelease, standings: dict[str, Standing]) -> Finding:
    """One condition for all networks: the worst of them, named."""
    order = (Trust.REFUSED, Trust.UNKNOWN, Trust.VERIFIED, Trust.NO_POLICY)
    found = sorted(standings.items(), key=lambda item: (order.index(item[1].trust), item[0]))
    if not found:
        message = f"no JILJurisdiction wants release {release.name}, so no policy was asked"
        return false(ConditionType.IMAGE_TRUST, Reason.NO_POLICY, message)
    return found[0][1].finding


def _row(
    network: str, name: str, image: str, verdict: Verdict, since: datetime | None, next_try: datetime | None
) -> ImageVerdict:
    since = since and since.replace(microsecond=0)
    match verdict:
        case Verified():
            return ImageVerdict(
                network=network,
                name=name,
                image=image,
                verdict="Verified",
                keys=verdict.keys[:64],
                approvers=verdict.approvers[:64],
                since=since,
            )
        case Refused():
            return ImageVerdict(
                network=network,
                name=name,
                image=image,
                verdict="Refused",
                reason=verdict.reason.value,
                rule=verdict.rule,
                message=verdict.message[:1024],
                since=since,
            )
        case Unknown():
            again = None if next_try is None else (next_try + timedelta(seconds=1)).replace(microsecond=0)
            message = verdict.message[:1024]
            return ImageVerdict(
                network=network, name=name, image=image, verdict="Unknown", message=message, since=since, next_try=again
            )


def _told(release: JILRelease, network: str, image: str) -> tuple[str, str] | None:
    """What the stored status says: a restart writes no audit line again."""
    for row in release.status.images:
        if (row.network, row.image) == (network, image):
            if row.verdict == "Verified":
                return ("image.verify", "Verified")
            if row.verdict == "Refused":
                return ("image.reject", row.reason or "")
    return None
