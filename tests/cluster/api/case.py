"""What a case of a CEL rule is, and the objects that cases differ from.

A case names its rule by kind, path and the beginning of the rule's message. ``fault`` is what is wrong. A case of a
transition rule also has ``before``: the stored object is the base with ``context`` and ``before``, the refused update
is that with ``fault``; its twin is the same new object on a name that nothing is stored under.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Manifest = dict[str, Any]


class _Unset:
    def __repr__(self) -> str:  # part of test ids, which have to be the same in every process
        return "unset"


#: As a value: take the field away.
UNSET: Final = _Unset()

DIGEST = "sha256:" + "ab" * 32
KEY_A = "A" * 43 + "="
KEY_B = "B" * 43 + "="
PEER_A = "a" * 40
PEER_B = "b" * 40
ADDRESS = "validator.example.com:26656"


def image(name: str) -> Manifest:
    """An image reference as a release has it."""
    return {"image": f"registry.example.com:5000/jil/{name}@{DIGEST}", "tag": "1.0.0"}


SERVICE = {"name": "transfers", "image": image("node"), "resources": {"cpu": "50m", "memory": "64Mi"}}
HERE = {"nodeId": "CH-ZUG-01", "zone": "CH/FINMA", "founder": True, "namespace": "jil-ch-finma"}
ELSEWHERE = {
    "nodeId": "SG-MAS-01",
    "zone": "SG/MAS",
    "founder": True,
    "publicKey": KEY_A,
    "peerId": PEER_A,
    "address": ADDRESS,
}
LATER = {"nodeId": "CH-ZUG-02", "zone": "CH/FINMA", "namespace": "jil-ch-finma"}

#: Made for these tests and for nothing else; the private halves were thrown away.
ED25519_A, ED25519_B, P256_A, P256_B = (
    f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"
    for body in (
        "MCowBQYDK2VwAyEAXeR1TjPR9FLru1Hdrzd2YQkvmiSXkQwJWjpvpDAL0rI=",
        "MCowBQYDK2VwAyEAZJQP+Ypw7LFmUFBaQsNH5L9VsObJzBP6oyKweQaunq0=",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEOAke03e1y1u0tHkRNSHOS+uVwblK\n"
        "K1iqnxjqA6w3W5IMW4MfkYB9O/1n8Ysrxg/bNWUWEIjoilAzeNfttZdOEA==",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErK5d2i9Mnf0NlLWmz7DDQHke6mBS\n"
        "VQmFDCD9106y+B70KJU9fA9VsELoLp0nQfBds29YTZdjJ4gkfp7aMmithA==",
    )
)


def trust_key(name: str, owner: str, pem: str, *roles: str) -> Manifest:
    """A key of a trust policy."""
    algorithm = "Ed25519" if "MCowBQYDK2VwAyEA" in pem else "ECDSA-P256"
    return {"id": name, "owner": owner, "algorithm": algorithm, "publicKey": pem, "roles": list(roles)}


TRUST: Manifest = {
    "keys": [
        trust_key("release-2026", "release@example.com", ED25519_A, "signer"),
        trust_key("ops-lead", "ops@example.com", P256_A, "approver"),
        trust_key("security-lead", "security@example.com", P256_B, "approver"),
    ],
    "tracks": [
        {"track": "devnet", "approvals": 0},
        {"track": "testnet", "approvals": 1},
        {"track": "mainnet", "approvals": 2, "custody": "hsm", "maxAgeDays": 90},
    ],
    "repositories": ["registry.example.com:5000/jil/"],
}

BASES: Mapping[str, Manifest] = {
    "JILNetwork": {
        "metadata": {"name": "rules"},
        "spec": {
            "chainId": "jil-devnet-1",
            "track": "devnet",
            "genesis": {"time": "2026-01-01T00:00:00Z"},
            "members": [HERE, ELSEWHERE, LATER],
        },
    },
    "JILRelease": {
        "metadata": {"name": "rules"},
        "spec": {
            "version": "1.0.0",
            "broker": {"flavour": "kafka"},
            "images": {name: image(name) for name in ("database", "cache", "broker", "validator", "health")},
            "services": [SERVICE],
        },
    },
    "JILJurisdiction": {
        "metadata": {"name": "rules"},
        "spec": {
            "zone": "CH/FINMA",
            "network": "jil-devnet",
            "release": "jil-1-0-0",
            "compliance": {"transfer.limit": "1000"},
        },
    },
    "JILNode": {
        "metadata": {"name": "ch-zug-01"},
        "spec": {
            "nodeId": "CH-ZUG-01",
            "region": "ch-zug",
            "country": "CH",
            "datacenter": "zug-1",
            "placement": {"nodeSelector": {"disk": "fast"}},
            "services": [{"name": "transfers", "resources": {"cpu": "50m", "memory": "64Mi"}}],
        },
    },
    "JILNodeRecord": {
        "metadata": {"name": "ch-zug-01"},
        "spec": {
            "nodeId": "CH-ZUG-01",
            "network": "jil-devnet",
            "owner": {"namespace": "jil-ch-finma", "name": "ch-zug-01", "uid": "2f0c"},
            "clusterUID": "77aa",
            "templateVersion": 1,
        },
    },
    "JILOperation": {
        "metadata": {"name": "inc-1234"},
        "spec": {
            "type": "BreakGlass",
            "requestId": "INC-1234",
            "requestedBy": "ops-lead",
            "reason": "the signer is down and the validator must be replaced",
            "breakGlass": {"digest": DIGEST, "until": "2026-01-01T12:00:00Z"},
        },
    },
    "JILImageAllowList": {
        "metadata": {"name": "jil-ch-finma"},
        "spec": {
            "network": "jil-devnet",
            "digests": {DIGEST: {"image": image("node")["image"], "releases": ["jil-1-0-0"]}},
        },
    },
}


@dataclass(frozen=True)
class Case:
    """One refusal of one rule; see the module's text."""

    kind: str
    path: str
    rule: str
    fault: Mapping[str, Any]
    context: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    #: What the error says when it is not the rule's fixed message.
    says: str | None = None

    @property
    def is_transition(self) -> bool:
        """Whether it takes a stored object to be refused."""
        return self.before is not None

    @property
    def old(self) -> Manifest:
        """The twin of a creation; what is stored before an update."""
        return changed(BASES[self.kind], {**self.context, **(self.before or {})})

    @property
    def new(self) -> Manifest:
        """What is refused."""
        return changed(self.old, self.fault)


def changed(manifest: Manifest, changes: Mapping[str, Any]) -> Manifest:
    """A copy with ``changes`` (dotted path -> value or UNSET); missing objects on the way are made."""
    result = copy.deepcopy(manifest)
    for path, value in changes.items():
        *way, last = path.split("/")
        place: Any = result
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        key: Any = int(last) if isinstance(place, list) else last
        if value is UNSET:
            del place[key]
        else:
            place[key] = copy.deepcopy(value)
    return result
