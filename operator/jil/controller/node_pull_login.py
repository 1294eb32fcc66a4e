"""A node's login at the registry, as its reconcile sees it: there before its pods, renewed in time, told when it is not.

Nothing else depends on it. A login that cannot be made takes nothing from what runs: pods go on, and those that are made
anew run from images that their machine has.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jil.api import kinds, labels
from jil.api.conditions import ConditionType, Finding, Reason, false, true
from jil.api.node import JILNode
from jil.api.record import JILNodeRecord
from jil.cluster.client import Manifest
from jil.cluster.errors import Forbidden, Invalid, NotOurs, ServerUnavailable, TooManyRequests
from jil.cluster.login_key import LoginKey, LoginKeyError
from jil.cluster.pull_login import LoginOf, PullLogins
from jil.controller.deps import Deps
from jil.controller.node_audit import audit
from jil.engine.queue import Key
from jil.engine.settings import Settings
from jil.engine.store import Store
from jil.plan.pull_login import LoginTerms, renewal

log = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 30.0
"""After a read or write that got no answer."""
CHECK_SECONDS: Final = 300.0
"""Secrets are not watched: at most this long what somebody else did to one goes unseen, and a tenth of a login's life."""

_FOREGROUND: Final = "foregroundDeletion"


@dataclass(frozen=True)
class _Known:
    """What the last look found; ``look_again`` is a time of the monotonic clock, in seconds."""

    whose: LoginOf
    finding: Finding
    look_again: float


def nodes_by_login(store: Store) -> Counter[str]:
    """JILNodes by the state of their condition PullLoginReady, in the words of the metric; those without logins, or that
    are stopped, are in neither. From status: a standby knows it too."""
    found: Counter[str] = Counter()
    for node in store.list(kinds.JIL_NODE):
        for condition in (node.get("status") or {}).get("conditions") or ():
            if condition.get("type") == ConditionType.PULL_LOGIN_READY:
                found["fresh"] += (condition.get("status"), condition.get("reason")) == ("True", Reason.READY)
                found["failed"] += condition.get("status") == "False"
    return found


class NodePullLogin:
    """The logins of all nodes of this cluster; ``settings`` without a registry for them means that there are none."""

    def __init__(self, deps: Deps, settings: Settings | None) -> None:
        self._deps = deps
        self._known: dict[Key, _Known] = {}
        self._logins: PullLogins | None = None
        if settings is not None and settings.node_login_registry and settings.node_login_key:
            terms = LoginTerms(settings.node_login_registry, settings.node_login_lifetime)
            self._logins = PullLogins(deps.client, LoginKey(Path(settings.node_login_key)), terms)

    async def ensure(self, node: JILNode, raw: Manifest, record: JILNodeRecord) -> Finding:
        """The login is there and young enough, or the finding says why not. Raises Conflict and NotLeader; every other
        trouble is a finding, also an API server that does not answer about Secrets alone: nothing else depends on it."""
        if self._logins is None:
            return true(ConditionType.PULL_LOGIN_READY, Reason.DISABLED, "no registry for node logins is set")
        key = Key(kinds.JIL_NODE.kind, node.metadata.namespace, node.name)
        whose = LoginOf(
            node=node.name,
            namespace=node.metadata.namespace or "",
            uid=node.metadata.uid,
            node_id=record.spec.node_id,
            network=record.spec.network,
            # A foreground deletion takes what it owns at once, while pods may still have to be started elsewhere.
            owned=_FOREGROUND not in node.metadata.finalizers,
        )
        known, now = self._known.get(key), self._deps.clock.monotonic()
        if known is not None and known.whose == whose and now < known.look_again:
            return known.finding
        finding, seconds = await self._look(self._logins, whose, self._deps.clock.now())
        if finding.status != "True":
            log.error("no pull login for JILNode %s: %s", key, finding.message)
            self._deps.events.warning(raw, finding.reason, finding.message, action="PullLogin")
        self._known[key] = _Known(whose, finding, now + seconds)
        return finding

    def due_in(self, key: Key) -> float | None:
        """Seconds until the login wants to be looked at; None when there is none, or when this pass did not come to it
        (asking again at once would not change that)."""
        known = self._known.get(key)
        left = known.look_again - self._deps.clock.monotonic() if known else 0.0
        return left if left > 0 else None

    def forget(self, key: Key) -> None:
        """The node is gone, or runs nothing: its login is renewed no more, and ends by itself."""
        self._known.pop(key, None)

    async def _look(self, logins: PullLogins, whose: LoginOf, now: datetime) -> tuple[Finding, float]:
        """The finding, and in how many seconds the next look is due."""
        name = f"{whose.namespace}/{labels.pull_secret(whose.node)}"
        check = min(CHECK_SECONDS, logins.terms.lifetime / 10)
        try:
            ensured = await logins.ensure(whose, now)
        except LoginKeyError as error:
            return _failed(Reason.LOGIN_KEY_UNREADABLE, str(error)), check
        except NotOurs:
            remedy = f"kubectl delete secret -n {whose.namespace} {labels.pull_secret(whose.node)}"
            why = f"Secret {name} exists and is not the operator's: it is left alone. Delete it ({remedy}), and it is made"
            return _failed(Reason.NAME_TAKEN, why), check
        except (Forbidden, Invalid) as error:
            why = (
                f"the API server refuses to write Secret {name}: {error}. Bring the release of chart jil-operator up to date"
                " for the right to do so; if the Secret is immutable, delete it"
            )
            return _failed(Reason.FORBIDDEN, why), check
        except (ServerUnavailable, TooManyRequests) as error:
            # A webhook for Secrets that fails closed says this for ever, and says nothing about what else is to be done.
            why = f"Secret {name} could not be read or written, it is tried again: {error}"
            return _failed(Reason.LOGIN_UNWRITTEN, why), min(check, AGAIN_SECONDS)
        login = ensured.login
        if ensured.written:
            audit(
                "pull_login.issued",
                node=f"{whose.namespace}/{whose.node}",
                nodeId=whose.node_id,
                registry=login.registry,
                id=login.id,
                until=datetime.fromtimestamp(login.expires, UTC).isoformat(),
            )
        # No times in the message: a renewal is no news, and would be a write of the status.
        secret = labels.pull_secret(whose.node)
        message = f"Secret {secret} is the node's own login at {login.registry}, and is renewed in time"
        until_renewal = renewal(login) - now.timestamp()
        return true(ConditionType.PULL_LOGIN_READY, Reason.READY, message), max(1.0, min(check, until_renewal))


def _failed(reason: Reason, why: str) -> Finding:
    consequence = "Pods run on, and start from images that their machine has; nothing new can be pulled"
    return false(ConditionType.PULL_LOGIN_READY, reason, f"{why}. {consequence}"[:1000])
