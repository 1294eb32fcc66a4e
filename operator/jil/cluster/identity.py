"""Identity Secrets: made once, copied, compared, never replaced (I4, I5).

The master copy lives beside the record in the system namespace; the node's namespace has a copy made from it. A Secret
is only ever POSTed, immutable: server-side apply with force would silently replace a key. What the record says decides
between "new" and "lost": a fingerprint without its Secret is a lost key, and nothing starts.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from jil.api import kinds, labels
from jil.api.conditions import Reason
from jil.api.record import Keys, RecordSpec
from jil.cluster.client import KubeClient, Manifest
from jil.cluster.errors import AlreadyExists, NotFound
from jil.cluster.keys import KeyRole, MalformedKeyError, PublicFacts, generate, public_facts
from jil.cluster.together import side_by_side

log = logging.getLogger(__name__)
audit = logging.getLogger("jil.audit")

IDENTITY_LABEL = "jil.io/identity"
"""On every identity Secret; the deletion guard selects by it."""
CLUSTER_UID = "jil.io/cluster-uid"
"""Annotation: the cluster that the key was made in. A key that came from elsewhere may still sign elsewhere."""

_MASTER_NAME: Mapping[KeyRole, Callable[[str], str]] = {
    KeyRole.VALIDATOR: labels.master_validator_key_secret,
    KeyRole.NODE: labels.master_node_key_secret,
    KeyRole.CREDENTIALS: labels.master_credentials_secret,
}
_COPY_NAME: Mapping[KeyRole, Callable[[str], str]] = {
    KeyRole.VALIDATOR: labels.validator_key_secret,
    KeyRole.NODE: labels.node_key_secret,
    KeyRole.CREDENTIALS: labels.credentials_secret,
}


class IdentityProblem(Exception):  # noqa: N818  (a finding that ends the pass)
    """A key is lost, foreign or altered. Nothing is started and nothing is overwritten."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        self.message = message
        super().__init__(message)


@dataclass(frozen=True)
class IdentityRequest:
    """Whose identity: ``node`` is the JILNode's name, ``child_labels`` go onto the copies. Without ``validator`` there
    are credentials only."""

    record: RecordSpec
    node: str
    namespace: str
    system_namespace: str
    cluster_uid: str
    child_labels: Mapping[str, str]
    validator: bool


def roles(*, validator: bool) -> tuple[KeyRole, ...]:
    """The Secrets that a node has."""
    return (KeyRole.VALIDATOR, KeyRole.NODE, KeyRole.CREDENTIALS) if validator else (KeyRole.CREDENTIALS,)


def _recorded(keys: Keys, role: KeyRole) -> str | None:
    facts = getattr(keys, role.value)
    return facts.fingerprint if facts else None


def _decode(secret: Manifest) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in (secret.get("data") or {}).items()}


async def _read(client: KubeClient, namespace: str, name: str) -> Manifest | None:
    try:
        return await client.get(kinds.SECRET, name, namespace)
    except NotFound:
        return None


def _secret(
    name: str, namespace: str, data: Mapping[str, bytes], cluster_uid: str, extra: Mapping[str, str]
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {labels.APP_MANAGED_BY: labels.MANAGED_BY, IDENTITY_LABEL: "true", **extra},
            "annotations": {CLUSTER_UID: cluster_uid},
        },
        "immutable": True,
        "data": {key: base64.b64encode(value).decode() for key, value in sorted(data.items())},
    }


async def _post(client: KubeClient, secret: Manifest) -> Manifest:
    """POST; where the name is taken, what is there counts and ours is thrown away."""
    meta = secret["metadata"]
    try:
        created = await client.create(kinds.SECRET, secret)
    except AlreadyExists:
        return await client.get(kinds.SECRET, meta["name"], meta["namespace"])
    audit.info(
        "identity secret created",
        extra={"audit": {"action": "key.create", "secret": f"{meta['namespace']}/{meta['name']}"}},
    )
    return created


def _check_home(secret: Manifest, request: IdentityRequest) -> None:
    stamped = (secret["metadata"].get("annotations") or {}).get(CLUSTER_UID)
    if stamped != request.cluster_uid:
        where = f"{secret['metadata']['namespace']}/{secret['metadata']['name']}"
        raise IdentityProblem(
            Reason.KEY_FOREIGN,
            f"Secret {where} was made in another cluster (stamp {stamped or 'missing'}, this cluster is"
            f" {request.cluster_uid}): the same key may still be signing there. Nothing is started. Prove that the other"
            f" cluster is gone, then set the annotation {CLUSTER_UID} of the Secret to this cluster's UID",
        )


@dataclass(frozen=True)
class Master:
    """A key's master copy as it was read or made, and what of it may be known to everybody."""

    secret: Manifest
    facts: PublicFacts


async def _master(client: KubeClient, request: IdentityRequest, role: KeyRole) -> Master:
    name = _MASTER_NAME[role](request.record.node_id)
    recorded = _recorded(request.record.keys, role)
    if recorded is None:
        # New, or made before a crash that came before the record: the POST finds out, and only one can succeed.
        extra = {labels.NETWORK: request.record.network}
        fresh = _secret(name, request.system_namespace, generate(role), request.cluster_uid, extra)
        secret = await _post(client, fresh)
    else:
        read = await _read(client, request.system_namespace, name)
        secret = read or await _restore_master(client, request, role, name, recorded)
    _check_home(secret, request)
    facts = _facts(role, secret)
    if recorded is not None and facts.fingerprint != recorded:
        raise IdentityProblem(
            Reason.KEY_FOREIGN,
            f"Secret {request.system_namespace}/{name} does not hold the key that the record of"
            f" {request.record.node_id} names (fingerprint {facts.fingerprint[:12]}…, recorded {recorded[:12]}…):"
            " somebody replaced it. Put the right key back from a backup; the operator starts nothing with another one",
        )
    return Master(secret, facts)


def _facts(role: KeyRole, secret: Manifest) -> PublicFacts:
    try:
        return public_facts(role, _decode(secret))
    except MalformedKeyError as error:
        where = f"{secret['metadata']['namespace']}/{secret['metadata']['name']}"
        raise IdentityProblem(
            Reason.KEY_FOREIGN, f"Secret {where}: {error}. Put the right content back from a backup"
        ) from None


async def _restore_master(
    client: KubeClient, request: IdentityRequest, role: KeyRole, name: str, recorded: str
) -> Manifest:
    """The master is gone. The node's own copy serves if it is the recorded key to the byte; otherwise it is lost."""
    copy = await _read(client, request.namespace, _COPY_NAME[role](request.node))
    if copy is not None and _facts(role, copy).fingerprint == recorded:
        _check_home(copy, request)
        log.warning("master copy of %s restored from the node's namespace", name)
        extra = {labels.NETWORK: request.record.network}
        return await _post(client, _secret(name, request.system_namespace, _decode(copy), request.cluster_uid, extra))
    raise IdentityProblem(
        Reason.KEY_LOST,
        f"the {role.value} key of {request.record.node_id} is lost: its record has fingerprint {recorded[:12]}…, but"
        f" Secret {request.system_namespace}/{name} is gone and the node's namespace has no copy of it. Nothing is"
        f" started and no new key is made. Restore the Secret from a backup (kubectl apply -n {request.system_namespace})",
    )


async def _copy(client: KubeClient, request: IdentityRequest, role: KeyRole, master: Master, *, first: bool) -> None:
    name, facts = _COPY_NAME[role](request.node), master.facts
    copy = None if first else await _read(client, request.namespace, name)
    if copy is None:
        data = _decode(master.secret)
        copy = await _post(client, _secret(name, request.namespace, data, request.cluster_uid, request.child_labels))
    if _facts(role, copy).fingerprint != facts.fingerprint:
        raise IdentityProblem(
            Reason.KEY_FOREIGN,
            f"Secret {request.namespace}/{name} holds another key than the node's record (fingerprint"
            f" {facts.fingerprint[:12]}… expected). It is never overwritten: delete it after making sure that nothing"
            f" signs with it (kubectl annotate -n {request.namespace} secret {name} {labels.CONFIRM_DELETE}={name} &&"
            f" kubectl delete -n {request.namespace} secret {name}); the operator then makes the right copy",
        )


async def ensure_masters(client: KubeClient, request: IdentityRequest) -> dict[KeyRole, Master]:
    """The master copies of a node's identity exist and are the recorded ones.

    The caller writes their facts into the record and hands out copies afterwards. Killed between the POST and the record,
    the next run meets the master, sees no fingerprint and takes it up: the key is not made twice. Raises IdentityProblem
    and the client's errors.
    """
    wanted = roles(validator=request.validator)
    return dict(zip(wanted, await side_by_side(_master(client, request, role) for role in wanted), strict=True))


async def ensure_copies(
    client: KubeClient, request: IdentityRequest, masters: Mapping[KeyRole, Master], *, first: Collection[KeyRole] = ()
) -> None:
    """The node's namespace has a copy of each master. Raises IdentityProblem and the client's errors.

    ``request.record`` names the keys already (ValueError if not): nothing is handed out that could be made again.
    ``first``: recorded just now, so that a copy is not expected to be there and is made without being looked for.
    """
    for role, master in masters.items():
        if _recorded(request.record.keys, role) != master.facts.fingerprint:
            raise ValueError(f"the {role.value} key of {request.record.node_id} is not recorded: no copy of it (I5)")
    await side_by_side(_copy(client, request, role, master, first=role in first) for role, master in masters.items())
