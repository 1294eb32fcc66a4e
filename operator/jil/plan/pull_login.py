"""A node's login at the registry: what it says, and when it is made anew.

A login is a JSON Web Token (RFC 7519) that the registry checks without asking anybody (images/registry): so it cannot be
called back, and holds for a short time instead. Times are whole seconds since 1970, as in the token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

USER_PREFIX: Final = "node/"
"""Begins the user name of every node login; what follows is the node id."""
TYPE: Final = "jil-pull+jwt"
"""``typ`` of the token: what else the issuer's key may sign one day is no login."""
ISSUER: Final = "jil-operator"

BACKDATED: Final = 60
"""Seconds that a login holds before it is made: for a registry whose clock is behind."""
LEFT: Final = 1 / 3
"""Part of its life that is left when a login is made anew: the time for which an operator may be away unnoticed."""
SPREAD: Final = 1 / 10
"""Part of its life by which a node's renewal may come earlier: a thousand nodes do not renew in one second."""


@dataclass(frozen=True)
class LoginTerms:
    """What every login is made by. ``registry``: ``host[:port]`` as images are named by; ``lifetime`` in seconds."""

    registry: str
    lifetime: int = 3600


@dataclass(frozen=True)
class PullLogin:
    """The claims of one login. ``id`` tells it from every other, for the audit log."""

    node_id: str
    registry: str
    issued: int
    expires: int
    id: str

    @property
    def user(self) -> str:
        """The user name that goes with the token."""
        return USER_PREFIX + self.node_id

    def claims(self) -> dict[str, str | int]:
        """The token's payload."""
        return {
            "iss": ISSUER,
            "sub": self.node_id,
            "aud": self.registry,
            "iat": self.issued,
            "nbf": self.issued - BACKDATED,
            "exp": self.expires,
            "jti": self.id,
        }


def new_login(terms: LoginTerms, node_id: str, now: datetime, id_: str) -> PullLogin:
    """A login that begins now."""
    issued = int(now.timestamp())
    return PullLogin(node_id, terms.registry, issued, issued + terms.lifetime, id_)


def read_login(payload: Mapping[str, object]) -> PullLogin | None:
    """The login with exactly these claims, None when there is none: nothing is believed of a foreign token."""
    texts = [payload.get(name) for name in ("sub", "aud", "jti")]
    times = [payload.get(name) for name in ("iat", "exp")]
    if not all(isinstance(text, str) for text in texts) or not all(type(time) is int for time in times):
        return None
    node_id, registry, id_ = (str(text) for text in texts)
    issued, expires = (time for time in times if isinstance(time, int))
    login = PullLogin(node_id, registry, issued, expires, id_)
    return login if login.claims() == payload else None


def renewal(login: PullLogin) -> int:
    """When the login is made anew: with a third of its life left, and up to a tenth of it earlier, by the node."""
    life = login.expires - login.issued
    chance = int.from_bytes(hashlib.sha256(login.node_id.encode()).digest()[:4]) / 2**32
    return int(login.expires - life * (LEFT + SPREAD * chance))


def keeps(login: PullLogin, terms: LoginTerms, node_id: str, now: datetime) -> bool:
    """Whether the login is as it would be made, and young enough. One from the future is neither: a clock was wrong."""
    moment = now.timestamp()
    return (
        (login.node_id, login.registry, login.expires - login.issued) == (node_id, terms.registry, terms.lifetime)
        and login.issued <= moment + BACKDATED
        and moment < renewal(login)
    )
