"""Making signatures: payloads, their signing bytes and envelopes. Where the private key is, is the `Signer`'s business.

Everything that is made here is read back by the verifier's own parser first, so nothing is signed that it would refuse
for its form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jil.api.release import ReleaseSpec
from jil.api.trust import Track
from jil.trust import cosign, keys, provenance
from jil.trust.evidence import SimpleSignature
from jil.trust.formats import base64_strict, bundle, canonical, dsse, in_toto, statement
from jil.trust.formats.release_manifest import manifest_digest
from jil.trust.formats.statement import Kind, Statement
from jil.trust.policy import Algorithm


class Signer(Protocol):
    """A private key, wherever it is: file, environment, Secret, PKCS#11."""

    @property
    def key_id(self) -> str:
        """Id of the key in the policy."""
        ...

    @property
    def algorithm(self) -> Algorithm:
        """What it signs with."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Signature of the whole message (not of a hash): pure Ed25519, or ECDSA over SHA-256 in DER, any S."""
        ...


class Ed25519Signer:
    """An Ed25519 key in memory."""

    algorithm = Algorithm.ED25519

    def __init__(self, key_id: str, private: ed25519.Ed25519PrivateKey) -> None:
        self.key_id = key_id
        self._private = private

    def sign(self, message: bytes) -> bytes:
        """Pure Ed25519 (RFC 8032)."""
        return self._private.sign(message)

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo in DER."""
        return self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class EcdsaSigner:
    """A P-256 key in memory."""

    algorithm = Algorithm.ECDSA_P256

    def __init__(self, key_id: str, private: ec.EllipticCurvePrivateKey) -> None:
        self.key_id = key_id
        self._private = private

    def sign(self, message: bytes) -> bytes:
        """ECDSA over SHA-256, in DER."""
        return self._private.sign(message, ec.ECDSA(hashes.SHA256()))

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo in DER."""
        return self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign_image(
    signer: Signer,
    *,
    repository: str,
    digest: str,
    track: Track,
    commit: str,
    now: datetime,
    release: str | None = None,
    provenance_digest: str | None = None,
) -> bytes:
    """A JIL envelope (JSON): ``signer`` vouches for ``repository@digest`` on ``track``, for one release or any.

    ``provenance_digest`` is `Provenance.digest` of what the signer verified. Raises Fault when a value is not well
    formed.
    """
    stated = Statement(
        Kind.IMAGE,
        signer.key_id,
        signer.algorithm,
        now,
        track,
        image=repository,
        digest=digest,
        release=release,
        commit=commit,
        provenance=provenance_digest,
    )
    return _seal(signer, stated)


def approve_image(
    signer: Signer, *, repository: str, digest: str, track: Track, release: str, expires: datetime, now: datetime
) -> bytes:
    """A JIL envelope: ``signer`` approves exactly this digest on ``track`` in ``release`` until ``expires``."""
    stated = Statement(
        Kind.APPROVAL,
        signer.key_id,
        signer.algorithm,
        now,
        track,
        image=repository,
        digest=digest,
        release=release,
        expires=expires,
    )
    return _seal(signer, stated)


def sign_release(signer: Signer, *, name: str, spec: ReleaseSpec, track: Track, now: datetime) -> bytes:
    """A JIL envelope: ``signer`` vouches for the whole content of the JILRelease ``name`` on ``track``."""
    stated = Statement(
        Kind.RELEASE,
        signer.key_id,
        signer.algorithm,
        now,
        track,
        release=name,
        manifest=manifest_digest(name, spec),
    )
    return _seal(signer, stated)


def approve_release(
    signer: Signer, *, name: str, spec: ReleaseSpec, track: Track, expires: datetime, now: datetime
) -> bytes:
    """A JIL envelope: ``signer`` approves the whole content of the JILRelease ``name`` until ``expires``."""
    stated = Statement(
        Kind.RELEASE_APPROVAL,
        signer.key_id,
        signer.algorithm,
        now,
        track,
        release=name,
        manifest=manifest_digest(name, spec),
        expires=expires,
    )
    return _seal(signer, stated)


def cosign_simple(signer: Signer, *, repository: str, digest: str, annotations: Mapping[str, str]) -> SimpleSignature:
    """A signature in cosign's older storage: the blob of one layer, and its annotation."""
    payload = {
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": digest},
            "type": cosign.SIMPLE_TYPE,
        },
        "optional": dict(annotations) or None,
    }
    data = canonical.encode(payload)
    return SimpleSignature(data, base64_strict.encode(signer.sign(data)))


def cosign_bundle(signer: Signer, *, digest: str, annotations: Mapping[str, str], spki: bytes) -> bytes:
    """A sigstore bundle (JSON) such as ``cosign sign --key`` makes. ``spki`` is the signer's public key."""
    subject: dict[str, Any] = {"digest": {"sha256": digest.removeprefix("sha256:")}}
    if annotations:
        subject["annotations"] = dict(annotations)
    content = {
        "_type": in_toto.STATEMENT_TYPE,
        "predicate": {},
        "predicateType": cosign.SIGN_PREDICATE,
        "subject": [subject],
    }
    envelope = _sign_payload(signer, in_toto.PAYLOAD_TYPE, canonical.encode(content), key_id="")
    material = {
        "dsseEnvelope": dsse.to_json(envelope),
        "mediaType": bundle.MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": keys.hint(spki)}},
    }
    return json.dumps(material, separators=(",", ":")).encode("ascii")


def sign_provenance(
    signer: Signer, *, repository: str, digest: str, source: str, commit: str, builder: str, finished: datetime
) -> bytes:
    """A DSSE envelope with SLSA v1 provenance: ``builder`` (a URI) made ``repository@digest`` from ``source``.

    ``source`` is the URL of the git repository, such as ``https://git.example.com/jil/transfers``.
    """
    content = {
        "_type": in_toto.STATEMENT_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": "https://jil.io/trust/build/v1",
                "externalParameters": {"source": source},
                "resolvedDependencies": [{"digest": {"gitCommit": commit}, "uri": f"git+{source}"}],
            },
            "runDetails": {
                "builder": {"id": builder},
                "metadata": {"finishedOn": statement.write_time(finished)},
            },
        },
        "predicateType": provenance.PREDICATE,
        "subject": [{"digest": {"sha256": digest.removeprefix("sha256:")}, "name": repository}],
    }
    return dsse.serialize(_sign_payload(signer, in_toto.PAYLOAD_TYPE, canonical.encode(content), key_id=signer.key_id))


def _seal(signer: Signer, stated: Statement) -> bytes:
    # Whole seconds, in UTC: what the statement can say. A time is cut, never rounded up into the future.
    stated = replace(
        stated,
        timestamp=stated.timestamp.astimezone(UTC).replace(microsecond=0),
        expires=stated.expires and stated.expires.astimezone(UTC).replace(microsecond=0),
    )
    return dsse.serialize(_sign_payload(signer, stated.kind, stated.payload(), key_id=signer.key_id))


def _sign_payload(signer: Signer, payload_type: str, payload: bytes, *, key_id: str) -> dsse.Envelope:
    signature = signer.sign(dsse.pae(payload_type, payload))
    if signer.algorithm is Algorithm.ECDSA_P256:
        signature = keys.with_low_s(signature)
    return dsse.Envelope(str(payload_type), payload, key_id, signature)
