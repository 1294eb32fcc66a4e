"""For every CEL rule: an object that the rule refuses, and a twin that differs in nothing but that fault.

A case names its rule by kind, path and the beginning of the rule's message. ``fault`` is what is wrong. A case of a
transition rule also has ``before``: the stored object is the base with ``context`` and ``before``, the refused update
is that with ``fault``; its twin is the same new object on a name that nothing is stored under.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.cluster.api import trust_cases
from tests.cluster.api.case import (
    ADDRESS,
    BASES,
    DIGEST,
    ELSEWHERE,
    HERE,
    KEY_A,
    KEY_B,
    LATER,
    PEER_A,
    PEER_B,
    SERVICE,
    TRUST,
    UNSET,
    Case,
    Manifest,
    changed,
    image,
)
from tests.cluster.api.operation_cases import operation_cases

__all__ = ["BASES", "CASES", "DIGEST", "ELSEWHERE", "HERE", "LATER", "TRUST", "UNSET", "Case", "changed", "image"]


def _names() -> Iterator[Case]:
    network = "becomes a label value: use at most 63 lower-case letters, digits and hyphens"
    for bad in ("a.b", "a" * 64):
        for kind in ("JILNetwork", "JILJurisdiction"):
            yield Case(
                kind,
                "",
                f"the name of a {kind} becomes",
                {"metadata/name": bad},
                says=f"name {bad} {network}, beginning and ending with a letter or digit.",
            )
        yield Case(
            "JILRelease",
            "",
            "the name of a JILRelease",
            {"metadata/name": bad},
            says=f"name {bad} must be at most 63 lower-case letters, digits and hyphens, beginning and ending with a "
            "letter or digit, such as jil-1-4-0.",
        )
    for bad in ("1-zug", "ch.zug", "a" * 31):
        yield Case(
            "JILNode",
            "",
            "the name of a JILNode",
            {"metadata/name": bad},
            says=f"name {bad} begins the names of the node's Services: use at most 30 lower-case letters, digits and "
            "hyphens, beginning with a letter and ending with a letter or digit, such as ch-zug-01.",
        )
    yield Case("JILNodeRecord", "", "the name of a record", {"metadata/name": "ch-zug-02"})


def _formats() -> Iterator[Case]:
    network, member = "JILNetwork", "spec/members/1/"
    yield Case(network, "spec.chainId", "chainId must be", {"spec/chainId": "JIL_1"})
    yield Case(network, "spec.members[].nodeId", "nodeId must be", {"spec/members/2/nodeId": "ROGUE-01"})
    yield Case(network, "spec.members[].zone", "zone must be", {"spec/members/2/zone": "CH-FINMA"})
    yield Case(network, "spec.members[].namespace", "namespace must be", {"spec/members/2/namespace": "jil_ch"})
    yield Case(network, "spec.members[].publicKey", "publicKey must be", {member + "publicKey": "A" * 44})
    yield Case(network, "spec.members[].peerId", "peerId must be", {member + "peerId": "A" * 40})
    yield Case(network, "spec.members[].address", "address must be", {member + "address": "validator.example.com"})

    release = "JILRelease"
    yield Case(release, "spec.version", "version must", {"spec/version": "-1"})
    for name in ("database", "cache", "broker", "validator", "health"):
        at, path = f"spec/images/{name}/", f"spec.images.{name}."
        yield Case(release, path + "image", "image must be pinned", {at + "image": f"registry.example.com/{name}:1.0"})
        yield Case(release, path + "tag", "tag must be", {at + "tag": "a b"})
    service = "spec/services/0/"
    for bad in (f"registry.example.com/a:1.0@{DIGEST}", f"{DIGEST}", f"registry.example.com/A@{DIGEST}", "a@sha256:ab"):
        yield Case(release, "spec.services[].image.image", "image must be pinned", {service + "image/image": bad})
    yield Case(release, "spec.services[].image.tag", "tag must be", {service + "image/tag": "/"})
    yield Case(release, "spec.services[].name", "name of a service", {service + "name": "Transfers"})

    jurisdiction = "JILJurisdiction"
    yield Case(jurisdiction, "spec.zone", "zone must be", {"spec/zone": "ch/finma"})
    yield Case(jurisdiction, "spec.network", "network must be", {"spec/network": "jil.devnet"})
    yield Case(jurisdiction, "spec.release", "release must be", {"spec/release": "jil_1"})
    yield Case(jurisdiction, "spec.compliance", "a key of compliance", {"spec/compliance": {"k" * 65: "v"}})

    node = "JILNode"
    yield Case(node, "spec.nodeId", "nodeId must be", {"spec/nodeId": "CH-ZUG-1"})
    yield Case(node, "spec.region", "region must be", {"spec/region": "ch-"})
    yield Case(node, "spec.country", "country must be", {"spec/country": "ch"})
    yield Case(node, "spec.datacenter", "datacenter must be", {"spec/datacenter": "Zug 1"})
    selector = "spec.placement.nodeSelector"
    yield Case(node, selector, "a key of placement", {"spec/placement/nodeSelector": {"k" * 318: "v"}})
    yield Case(node, selector + "[*]", "must be a label value", {"spec/placement/nodeSelector/disk": "-"})
    yield Case(node, "spec.services[].name", "name of a service", {service + "name": "a."})

    for kind in (release, node):
        for what in ("cpu", "memory"):
            path = f"spec.services[].resources.{what}"
            for bad in ("0", "-1", "1 Gi", "much"):
                yield Case(kind, path, "must be a positive", {f"{service}resources/{what}": bad})
    for volume in ("database", "cache", "broker", "validator"):
        for bad in ("0Gi", "-1Gi", "10GB"):
            yield Case(node, f"spec.storage.{volume}", "must be a positive", {f"spec/storage/{volume}": bad})


def _cross_field() -> Iterator[Case]:
    network = "JILNetwork"
    yield Case(
        network,
        "spec",
        "a network needs at least one",
        {"spec/members/0/founder": False},
        context={"spec/members": [HERE, LATER]},
    )
    one_of = "a member needs exactly one"
    yield Case(
        network,
        "spec.members[]",
        one_of,
        {"spec/members/1/namespace": "jil-sg-mas"},
        says="member SG-MAS-01 has both namespace and publicKey: keep namespace if this cluster runs it, publicKey if "
        "another one does.",
    )
    yield Case(
        network,
        "spec.members[]",
        one_of,
        {"spec/members/2/namespace": UNSET},
        says="member CH-ZUG-02 has neither namespace nor publicKey: set namespace if this cluster runs it; for a "
        "member of another cluster set publicKey, peerId and address.",
    )
    for fault in ({"spec/members/1/peerId": UNSET}, {"spec/members/1/address": UNSET}):
        yield Case(
            network,
            "spec.members[]",
            "publicKey, peerId and address",
            fault,
            says="member SG-MAS-01: publicKey, peerId and address come together for a member that another cluster "
            "runs, and all three stay away for one that this cluster runs.",
        )
    yield Case(
        network,
        "spec.members[]",
        "publicKey, peerId and address",
        {"spec/members/2/address": ADDRESS},
        says="member CH-ZUG-02: publicKey, peerId and address come together",
    )
    second = {**ELSEWHERE, "nodeId": "SG-MAS-02", "publicKey": KEY_B, "peerId": PEER_B}
    two = {"spec/members": [HERE, ELSEWHERE, second]}
    yield Case(network, "spec", "two members have the same publicKey", {"spec/members/2/publicKey": KEY_A}, two)
    yield Case(network, "spec", "two members have the same peerId", {"spec/members/2/peerId": PEER_A}, two)
    yield Case(
        network,
        "spec",
        "disruption.allowHalt",
        {"spec/track": "testnet"},
        context={"spec/disruption": {"allowHalt": True}, "spec/trust": TRUST},
        says="disruption.allowHalt is for track devnet only, and this network is on testnet: remove it; planned work "
        "then waits until the network can spare the node.",
    )
    yield Case(
        network,
        "spec",
        "disruption.allowHalt",
        {"spec/disruption": {"allowHalt": True}},
        context={"spec/track": "mainnet", "spec/trust": TRUST},
        says="disruption.allowHalt is for track devnet only, and this network is on mainnet",
    )
    for taken in ("database", "cache", "broker", "validator", "health", "rpc", "p2p"):
        yield Case(
            "JILRelease",
            "spec.services[]",
            "the name of a service must not",
            {"spec/services/0/name": taken},
            says=f"service name {taken} is taken by a part that every node has (database, cache, broker, validator, "
            "health, rpc, p2p): choose another.",
        )


def _transitions() -> Iterator[Case]:
    network, trust = "JILNetwork", {"spec/trust": TRUST}
    yield Case(network, "spec.chainId", "chainId cannot", {"spec/chainId": "jil-devnet-2"}, before={})
    yield Case(network, "spec.track", "track cannot", {"spec/track": "testnet"}, trust, before={})
    yield Case(network, "spec.genesis.time", "genesis.time", {"spec/genesis/time": "2026-01-02T00:00:00Z"}, before={})
    founders = "founders are part of the genesis"
    for fault in (
        {"spec/members/2/founder": True},
        {"spec/members/1/founder": False},
        {"spec/members/1": UNSET},
        {"spec/members/3": {**HERE, "nodeId": "DE-NUE-01"}},
        {"spec/members/0/power": 11},
        {"spec/members/0/zone": "CH/OTHER"},
        {"spec/members/1/publicKey": KEY_B},
    ):
        more = {"spec/members": [HERE, ELSEWHERE, LATER, {**LATER, "nodeId": "CH-ZUG-03"}]}
        yield Case(network, "spec", founders, fault, more if "spec/members/3" in fault else {}, before={})
    moved = "namespace of a member"
    yield Case(network, "spec.members[]", moved, {"spec/members/2/namespace": "jil-other"}, before={})
    outside = {"publicKey": KEY_B, "peerId": PEER_B, "address": ADDRESS}
    out = {f"spec/members/2/{name}": value for name, value in outside.items()}
    yield Case(network, "spec.members[]", moved, {"spec/members/2/namespace": UNSET, **out}, before={})
    yield Case(
        network,
        "spec.members[]",
        moved,
        {"spec/members/2/namespace": "jil-ch-finma"} | dict.fromkeys(out, UNSET),
        before={"spec/members/2/namespace": UNSET, **out},
    )

    for fault in (
        {"spec/version": "1.0.1"},
        {"spec/images/database/image": f"registry.example.com/jil/database@{DIGEST}"},
        {"spec/services/0/replicas": 2},
        {"spec/services": UNSET},
    ):
        yield Case("JILRelease", "", "a JILRelease cannot", fault, before={})
    yield Case("JILRelease", "", "a JILRelease cannot", {"spec/services": [SERVICE]}, before={"spec/services": UNSET})
    at = "spec/envelopes"
    for fault in ({at: UNSET}, {at: []}, {at: ["{}"]}, {f"{at}/1": '{"c":1}'}, {at: ['{"a":1}', "{}", "[]"]}):
        yield Case("JILRelease", "", "envelopes of a JILRelease", fault, before={at: ['{"a":1}', '{"b":1}']})

    yield Case("JILJurisdiction", "spec.zone", "zone cannot", {"spec/zone": "CH/OTHER"}, before={})
    yield Case("JILJurisdiction", "spec.network", "network cannot", {"spec/network": "jil-other"}, before={})

    node = "JILNode"
    yield Case(node, "spec.nodeId", "nodeId cannot", {"spec/nodeId": "CH-ZUG-02"}, before={})
    enabled = "spec/validator/enabled"
    yield Case(node, "spec.validator.enabled", "validator.enabled", {enabled: False}, before={})
    # Taking the field away brings its default back: no way round the rule.
    yield Case(node, "spec.validator.enabled", "validator.enabled", {"spec/validator": UNSET}, before={enabled: False})
    storage_class = "spec/storage/storageClassName"
    fixed = ("spec.storage", "storage.storageClassName")
    yield Case(node, *fixed, {storage_class: "slow"}, before={storage_class: "fast"})
    yield Case(node, *fixed, {storage_class: "fast"}, before={"spec/storage": {}})
    yield Case(node, *fixed, {storage_class: UNSET}, before={storage_class: "fast"})
    yield Case(node, *fixed, {"spec/storage": UNSET}, before={storage_class: "fast"})
    for volume in ("database", "cache", "broker", "validator"):
        at = f"spec/storage/{volume}"
        for before, after in (("20Gi", "19Gi"), ("1Gi", "1G"), ("1.5Ti", "1536Mi")):
            yield Case(
                node,
                f"spec.storage.{volume}",
                "storage cannot shrink",
                {at: after},
                before={at: before},
                says=f"storage cannot shrink from {before} to {after}: volumes only grow. Keep {before} or ask for "
                "more.",
            )
    yield Case(
        node,
        "spec.storage.database",
        "storage cannot shrink",
        {"spec/storage": UNSET},
        before={"spec/storage/database": "20Gi"},
        says="storage cannot shrink from 20Gi to 10Gi",
    )

    record = "JILNodeRecord"
    yield Case(record, "spec.network", "network cannot", {"spec/network": "jil-other"}, before={})
    hash_a, hash_b = {"spec/genesisHash": "a" * 64}, {"spec/genesisHash": "b" * 64}
    for fault in (hash_b, {"spec/genesisHash": UNSET}):
        yield Case(record, "spec", "genesisHash", fault, before=hash_a)
    for fault in ({"spec/bootstrapped": False}, {"spec/bootstrapped": UNSET}):
        yield Case(record, "spec", "bootstrapped", fault, before={"spec/bootstrapped": True})
    for fault in ({"spec/highestSignedHeight": 41}, {"spec/highestSignedHeight": UNSET}):
        yield Case(record, "spec", "highestSignedHeight", fault, before={"spec/highestSignedHeight": 42})
    facts: Mapping[str, tuple[str, Manifest, str]] = {
        "validator": (
            "the record of the consensus key",
            {"publicKey": KEY_A, "address": "A" * 40, "fingerprint": "a" * 64},
            "publicKey",
        ),
        "node": ("the record of the p2p key", {"peerId": PEER_A, "fingerprint": "a" * 64}, "peerId"),
        "credentials": ("the record of the credentials", {"fingerprint": "a" * 64}, "fingerprint"),
    }
    others = {"publicKey": KEY_B, "peerId": PEER_B, "fingerprint": "b" * 64}
    for name, (message, recorded, other) in facts.items():
        at = f"spec/keys/{name}"
        for fault in ({f"{at}/{other}": others[other]}, {at: UNSET}, {"spec/keys": UNSET}):
            yield Case(record, "spec.keys", message, fault, before={at: recorded})


CASES: tuple[Case, ...] = (
    *_names(),
    *_formats(),
    *_cross_field(),
    *_transitions(),
    *trust_cases.cases(),
    *operation_cases(),
)
