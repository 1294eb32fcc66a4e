"""The genesis document, from the network's founders only."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC

from jil.api import labels
from jil.api.network import NetworkSpec
from jil.render.context import Object


def consensus_address(public_key: bytes) -> str:
    """CometBFT's address of an ed25519 key: the first 20 bytes of its SHA-256, upper-case hex."""
    return hashlib.sha256(public_key).hexdigest()[:40].upper()


def genesis_document(network: NetworkSpec, public_keys: Mapping[str, str]) -> bytes:
    """genesis.json for CometBFT 0.38, byte-identical wherever it is rendered.

    ``public_keys``: base64 ed25519 key per founder nodeId. Raises KeyError when a founder's key is missing: the caller
    waits for all of them. Founders are sorted by nodeId, so the order in the spec does not matter.
    """
    validators = []
    for member in network.founders:
        key = public_keys[member.node_id]
        validators.append(
            {
                "address": consensus_address(base64.b64decode(key)),
                "pub_key": {"type": "tendermint/PubKeyEd25519", "value": key},
                "power": str(member.power),
                "name": member.node_id,
            }
        )
    document = {
        "genesis_time": network.genesis.time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "chain_id": network.chain_id,
        "initial_height": "1",
        "consensus_params": {
            "block": {"max_bytes": "4194304", "max_gas": "-1"},
            "evidence": {
                "max_age_num_blocks": "100000",
                "max_age_duration": "172800000000000",
                "max_bytes": "1048576",
            },
            "validator": {"pub_key_types": ["ed25519"]},
            "version": {"app": "0"},
            "abci": {"vote_extensions_enable_height": "0"},
        },
        "validators": validators,
        "app_hash": "",
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def genesis_hash(document: bytes) -> str:
    """SHA-256 of the exact bytes, lower-case hex."""
    return hashlib.sha256(document).hexdigest()


def config_map(network_name: str, namespace: str, document: str, extra_labels: Mapping[str, str]) -> Object:
    """The frozen genesis: immutable, created by POST and never replaced."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": labels.genesis_config_map(network_name),
            "namespace": namespace,
            "labels": {
                labels.APP_MANAGED_BY: labels.MANAGED_BY,
                labels.APP_PART_OF: labels.PART_OF,
                labels.APP_NAME: "genesis",
                labels.NETWORK: network_name,
                **extra_labels,
            },
        },
        "immutable": True,
        "data": {labels.GENESIS_KEY: document},
    }
