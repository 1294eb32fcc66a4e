"""Interop with the real cosign in both directions; writes the vectors that the unit tests verify.

Not part of the tests: it needs a cosign binary and a registry on loopback without TLS (docs/image-trust.md has the
commands).

    python -m tests.unit.trust.cosign_interop --cosign PATH --registry 127.0.0.1:PORT
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import subprocess
import tempfile
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from jil.trust.cosign import SIGN_PREDICATE, TRACK
from jil.trust.sign import EcdsaSigner, Ed25519Signer, cosign_bundle, cosign_simple
from tests.unit.trust.scenario import ecdsa_signer, ed25519_signer

VECTORS = Path(__file__).with_name("vectors") / "cosign.json"
NAMED = "registry.example.com/jil/sample"
TYPES = "application/vnd.oci.image.index.v1+json,application/vnd.oci.image.manifest.v1+json"
IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIMPLE_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
QUIET = ["--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", "--yes"]


class Registry:
    """As much of the distribution API as this needs."""

    def __init__(self, address: str, repository: str) -> None:
        self.base = f"http://{address}/v2/{repository}"
        self.host = f"http://{address}"

    def call(self, method: str, url: str, data: bytes | None = None, **headers: str) -> Any:
        """The response. Raises urllib.error.HTTPError."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return urllib.request.urlopen(urllib.request.Request(url, data=data, method=method, headers=names))

    def get(self, path: str) -> bytes:
        """Body of a manifest or blob."""
        with self.call("GET", self.base + path, Accept=TYPES) as response:
            return bytes(response.read())

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Pushes; the descriptor."""
        digest = digest_of(data)
        location = self.call("POST", self.base + "/blobs/uploads/").headers["Location"]
        location = location if location.startswith("http") else self.host + location
        separator = "&" if "?" in location else "?"
        self.call("PUT", f"{location}{separator}digest={digest}", data, Content_Type="application/octet-stream")
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def manifest(self, reference: str, value: dict[str, Any]) -> bytes:
        """Pushes; the bytes."""
        data = json.dumps(value, separators=(",", ":")).encode()
        self.call("PUT", f"{self.base}/manifests/{reference}", data, Content_Type=value["mediaType"])
        return data


def digest_of(data: bytes) -> str:
    """sha256:..."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image(registry: Registry, name: str) -> bytes:
    """An image without layers; its manifest."""
    config = {"architecture": "amd64", "os": "linux", "author": name, "rootfs": {"type": "layers", "diff_ids": []}}
    descriptor = registry.blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    value = {"schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": descriptor, "layers": []}
    return registry.manifest(name, value)


def keys(folder: Path) -> dict[str, tuple[Path, str]]:
    """cosign's private key file, and the public key in PEM, by the name of the algorithm."""
    found = {}
    for name, signer in (("ecdsa", ecdsa_signer("cosign-ec")), ("ed25519", ed25519_signer("cosign-ed"))):
        private = signer._private
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(pem)
        run(folder, "import-key-pair", "--key", f"{name}.pem", "--output-key-prefix", name, "--yes")
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        (folder / f"{name}.pub").write_text(public)
        found[name] = (folder / f"{name}.key", public)
    return found


def hint_of(public: str) -> str:
    """How a bundle names a key."""
    der = load_pem_public_key(public.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


COSIGN = ""


def run(folder: Path, *arguments: str) -> str:
    """One call of cosign. Raises CalledProcessError."""
    done = subprocess.run(
        [COSIGN, *arguments],
        cwd=folder,
        env=os.environ | {"COSIGN_PASSWORD": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise SystemExit(f"cosign {' '.join(arguments)}\n{done.stderr}")
    return done.stdout


def theirs(registry: Registry, address: str, folder: Path, private: dict[str, tuple[Path, str]]) -> dict[str, Any]:
    """What cosign makes."""
    data = image(registry, "theirs")
    digest = digest_of(data)
    reference = f"{address}/jil/sample@{digest}"
    annotations = ["-a", f"{TRACK}=testnet", "-a", "jil.io/timestamp=2026-11-21T18:00:00Z"]
    result: dict[str, Any] = {"digest": digest, "manifest": data.decode(), "simple": {}, "bundle": {}, "provenance": {}}
    for key, _ in private.values():
        identity = ["--sign-container-identity", NAMED]
        for bundles in ("false", "true"):
            options = [*QUIET, *annotations, *(identity if bundles == "false" else [])]
            run(folder, "sign", "--key", str(key), f"--new-bundle-format={bundles}", *options, reference)
    signed = json.loads(registry.get(f"/manifests/{digest.replace(':', '-')}.sig"))
    for name, layer in zip(private, signed["layers"], strict=True):
        result["simple"][name] = {
            "payload": registry.get("/blobs/" + layer["digest"]).decode(),
            "signature": layer["annotations"]["dev.cosignproject.cosign/signature"],
        }
    predicate = {
        "buildDefinition": {
            "buildType": "https://example.com/build/v1",
            "externalParameters": {},
            "resolvedDependencies": [
                {"uri": "git+https://git.example.com/jil/sample@refs/heads/main", "digest": {"gitCommit": "5f3c" * 10}}
            ],
        },
        "runDetails": {
            "builder": {"id": "https://ci.example.com/builder"},
            "metadata": {"finishedOn": "2026-11-21T17:00:00Z"},
        },
    }
    (folder / "predicate.json").write_text(json.dumps(predicate))
    options = ["--predicate", "predicate.json", "--type", "slsaprovenance1", *QUIET]
    run(folder, "attest", "--key", str(private["ecdsa"][0]), "--new-bundle-format=true", *options, reference)
    index = json.loads(registry.get(f"/manifests/{digest.replace(':', '-')}"))
    found = [json.loads(registry.get("/manifests/" + entry["digest"])) for entry in index["manifests"]]
    texts = [registry.get("/blobs/" + entry["layers"][0]["digest"]).decode() for entry in found]
    for text in texts:
        stated = json.loads(base64.b64decode(json.loads(text)["dsseEnvelope"]["payload"]))
        kind = "bundle" if stated["predicateType"] == SIGN_PREDICATE else "provenance"
        made_with = json.loads(text)["verificationMaterial"]["publicKey"]["hint"]
        name = next(name for name, (_, public) in private.items() if hint_of(public) == made_with)
        result[kind][name] = text
    return result


def ours(registry: Registry, address: str, folder: Path) -> dict[str, Any]:
    """What we make, after cosign has verified it."""
    result: dict[str, Any] = {"simple": {}, "bundle": {}}
    signers: dict[str, EcdsaSigner | Ed25519Signer] = {
        "ecdsa": ecdsa_signer("cosign-ec"),
        "ed25519": ed25519_signer("cosign-ed"),
    }
    for name, signer in signers.items():
        data = image(registry, f"ours-{name}")
        digest = digest_of(data)
        subject = {"mediaType": IMAGE_TYPE, "digest": digest, "size": len(data)}
        simple = cosign_simple(signer, repository=NAMED, digest=digest, annotations={TRACK: "testnet"})
        layer = registry.blob(simple.payload, SIMPLE_TYPE)
        layer["annotations"] = {"dev.cosignproject.cosign/signature": simple.signature}
        config = registry.blob(b"{}", "application/vnd.oci.image.config.v1+json")
        value = {"schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": config, "layers": [layer]}
        registry.manifest(digest.replace(":", "-") + ".sig", value)
        bundle = cosign_bundle(signer, digest=digest, annotations={TRACK: "testnet"}, spki=signer.spki)
        value = {
            "schemaVersion": 2,
            "mediaType": IMAGE_TYPE,
            "artifactType": BUNDLE_TYPE,
            "config": registry.blob(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [registry.blob(bundle, BUNDLE_TYPE)],
            "subject": subject,
            "annotations": {
                "dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
                "org.opencontainers.image.created": "2026-11-21T18:00:00Z",
            },
        }
        pushed = registry.manifest(f"bundle-{name}", value)
        entry = {"mediaType": IMAGE_TYPE, "digest": digest_of(pushed), "size": len(pushed), "artifactType": BUNDLE_TYPE}
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
        registry.manifest(digest.replace(":", "-"), index)
        for bundles in ("false", "true"):
            options = ["--insecure-ignore-tlog=true", f"--new-bundle-format={bundles}", "--allow-http-registry"]
            options += ["-a", f"{TRACK}=testnet"]
            run(folder, "verify", "--key", f"{name}.pub", *options, f"{address}/jil/sample@{digest}")
            print(f"cosign verified our {'bundle' if bundles == 'true' else 'simple signing'} by {name}")
        result["simple"][name] = {"payload": simple.payload.decode(), "signature": simple.signature, "digest": digest}
        result["bundle"][name] = {"bundle": bundle.decode(), "digest": digest}
    return result


def main() -> None:
    """Both directions, then the file."""
    global COSIGN
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cosign", required=True)
    parser.add_argument("--registry", required=True)
    arguments = parser.parse_args()
    COSIGN = str(Path(arguments.cosign).resolve())
    registry = Registry(arguments.registry, "jil/sample")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        version = json.loads(run(folder, "version", "--json"))["gitVersion"]
        private = keys(folder)
        value = {
            "cosign": version,
            "made": datetime.now(UTC).strftime("%Y-%m-%d"),
            "repository": NAMED,
            "keys": {name: public for name, (_, public) in private.items()},
            "theirs": theirs(registry, arguments.registry, folder, private),
            "ours": ours(registry, arguments.registry, folder),
        }
    VECTORS.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    print(f"wrote {VECTORS}")


if __name__ == "__main__":
    main()
