"""The Secret with a node's login at the registry: made, compared, renewed in place.

It is the only Secret that the operator ever changes, and it holds no identity: what is lost with it is made anew. So it is
not applied like other children (force would take over a Secret of somebody else, I5) but created by POST and replaced by
PUT, a compare-and-swap of the very version that was looked at; and it keeps its UID, by which a kubelet knows that the
new login belongs to whoever pulled an image with the old one.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from jil.api import kinds, labels
from jil.api.kinds import Kind
from jil.cluster.client import Manifest
from jil.cluster.errors import AlreadyExists, NotFound, NotOurs
from jil.cluster.login_key import LoginKey
from jil.plan.pull_login import LoginTerms, PullLogin, keeps, new_login, read_login

SECRET_TYPE: Final = "kubernetes.io/dockerconfigjson"  # noqa: S105  (the name of a type)
CONFIG: Final = ".dockerconfigjson"
APP: Final = "pull-login"
"""``app.kubernetes.io/name`` of these Secrets; guard ``jil-operator-secrets`` knows them by it."""


class SecretClient(Protocol):
    """The part of the client that this file uses."""

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Manifest:
        """GET."""

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """POST."""

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """PUT."""


@dataclass(frozen=True)
class LoginOf:
    """Whose login: the JILNode and what is known of it. ``uid`` is its UID, ``owned`` whether the Secret goes with it."""

    node: str
    namespace: str
    uid: str
    node_id: str
    network: str
    owned: bool = True


@dataclass(frozen=True)
class Ensured:
    """``written``: a login was made now, and is a new one; the Secret of a login that was kept may have been mended."""

    login: PullLogin
    written: bool


class PullLogins:
    """Makes the Secrets equal to what they should be. ``make_id`` returns an id that was never used."""

    def __init__(
        self,
        client: SecretClient,
        key: LoginKey,
        terms: LoginTerms,
        make_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._client = client
        self._key = key
        self.terms = terms
        self._make_id = make_id

    async def ensure(self, whose: LoginOf, now: datetime) -> Ensured:
        """The login that is there if it is right and young enough, else a new one.

        Raises LoginKeyError, NotOurs for a Secret of that name that somebody else made, Conflict, and what the client
        raises.
        """
        name = labels.pull_secret(whose.node)
        live = await self._read(whose.namespace, name)
        present = self._present(live, whose.node_id) if live else None
        if present is not None and keeps(present, self.terms, whose.node_id, now):
            login, written = present, False
        else:
            login, written = new_login(self.terms, whose.node_id, now, self._make_id()), True
        wanted = self._secret(whose, name, login)
        if live is None:
            try:
                await self._client.create(kinds.SECRET, wanted)
            except AlreadyExists:
                live = await self._client.get(kinds.SECRET, name, whose.namespace)
                _refuse_foreign(live)
        if live is not None:
            made = _merged(live, wanted)
            if made != live:
                await self._client.replace(kinds.SECRET, made)
        return Ensured(login, written)

    async def _read(self, namespace: str, name: str) -> Manifest | None:
        try:
            live = await self._client.get(kinds.SECRET, name, namespace)
        except NotFound:
            return None
        _refuse_foreign(live)
        return live

    def _present(self, live: Manifest, node_id: str) -> PullLogin | None:
        """The login in the Secret, if we would write the very same bytes for it; None for everything else."""
        login = _parse(live, node_id, self.terms.registry)
        if login is None or live.get("data") != self._data(login):
            return None
        return login

    def _data(self, login: PullLogin) -> dict[str, str]:
        pair = base64.b64encode(f"{login.user}:{self._key.sign(login.claims())}".encode()).decode()
        config = json.dumps({"auths": {login.registry: {"auth": pair}}}, separators=(",", ":"))
        return {CONFIG: base64.b64encode(config.encode()).decode()}

    def _secret(self, whose: LoginOf, name: str, login: PullLogin) -> Manifest:
        owner = {"apiVersion": labels.API_VERSION, "kind": kinds.JIL_NODE.kind, "name": whose.node, "uid": whose.uid}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": SECRET_TYPE,
            "metadata": {
                "name": name,
                "namespace": whose.namespace,
                "labels": {
                    labels.APP_NAME: APP,
                    labels.APP_INSTANCE: whose.node,
                    labels.APP_MANAGED_BY: labels.MANAGED_BY,
                    labels.APP_PART_OF: labels.PART_OF,
                    labels.NETWORK: whose.network,
                    labels.NODE: whose.node,
                    labels.NODE_UID: whose.uid,
                },
                "ownerReferences": [owner] if whose.owned else [],
            },
            "data": self._data(login),
        }


def _refuse_foreign(live: Manifest) -> None:
    marks = live["metadata"].get("labels") or {}
    ours = marks.get(labels.APP_MANAGED_BY) == labels.MANAGED_BY and marks.get(labels.APP_NAME) == APP
    if not ours or live.get("type") != SECRET_TYPE:
        raise NotOurs(f"Secret {live['metadata']['namespace']}/{live['metadata']['name']}")


def _merged(live: Manifest, wanted: Manifest) -> Manifest:
    """The live Secret with our part as it should be. Metadata is everybody's: what others added to it stays."""
    meta = dict(live["metadata"])
    meta["labels"] = {**(meta.get("labels") or {}), **wanted["metadata"]["labels"]}
    others = [o for o in meta.get("ownerReferences") or [] if o.get("kind") != kinds.JIL_NODE.kind]
    owners: list[Any] = [*others, *wanted["metadata"]["ownerReferences"]]
    if owners:
        meta["ownerReferences"] = owners
    else:
        meta.pop("ownerReferences", None)
    return {**live, "metadata": meta, "data": wanted["data"]}


def _parse(live: Manifest, node_id: str, registry: str) -> PullLogin | None:
    try:
        config = json.loads(base64.b64decode((live.get("data") or {})[CONFIG], validate=True))
        pair = base64.b64decode(config["auths"][registry]["auth"], validate=True).decode()
        user, _, token = pair.partition(":")
        payload = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (KeyError, IndexError, TypeError, ValueError, RecursionError, binascii.Error):
        return None
    login = read_login(found) if isinstance(found, dict) else None
    return login if login is not None and (login.node_id, login.user) == (node_id, user) else None
