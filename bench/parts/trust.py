"""What it costs to trust: a release of 200 images verified through the operator, cold and warm, beside ``cosign verify``.

Images, signatures and the registry are real (CNCF distribution on loopback, TLS and a login); there are no nodes.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench import images
from bench.cluster import JIL, Operator, Rig, rig, until
from bench.images import Keys
from bench.report import Reporter
from jil.api.trust import Track, TrustSpec
from jil.observe.registry import media
from jil.trust.claim import verify_named
from jil.trust.decide import decide, policy_of
from jil.trust.evidence import Evidence
from jil.trust.keys import with_low_s
from jil.trust.sign import EcdsaSigner, Ed25519Signer, approve_image, sign_image
from testbed import binaries
from testbed.binaries import GoTool
from testbed.errors import BedError
from tests.cluster.registry import rig as registries
from tests.cluster.registry.rig import Registry

IMAGES = 200
#: Processes of cosign that the loop starts; the median is taken.
LOOPS = 20
COSIGN = GoTool("cosign", "github.com/sigstore/cosign/v3", "v3.1.3", "github.com/sigstore/cosign/v3/cmd/cosign")


def run(report: Reporter, count: int = IMAGES) -> None:
    """Signatures per second first, then the release of ``count`` images in two formats."""
    keys = Keys.fresh()
    _signatures(report, keys)
    with tempfile.TemporaryDirectory(prefix="jil-bench-") as scratch, rig() as bench:
        folder = Path(scratch)
        with registries.distribution(folder) as registry:
            login = folder / "docker"
            login.mkdir()
            config = login / "config.json"
            config.write_text(images.docker_config(registry.host, registries.USER, registries.PASSWORD))
            settings = {"JIL_REGISTRY_CONFIG": str(config), "JIL_REGISTRY_CA": str(registry.ca)}
            operator = bench.operator(**settings)
            bench.leading(operator)
            _cold(report, bench, operator, registry, keys, count, with_cosign=False)
            cold = _cold(report, bench, operator, registry, keys, count, with_cosign=True)
            _warm(report, bench, operator, registry, ["signed-jil", "signed-cosign"], settings)
            _cosign(report, registry, keys, login, cold)


# -- arithmetic ------------------------------------------------------------------------------------------------------
def _signatures(report: Reporter, keys: Keys) -> None:
    """One thread, in this process: what the operator does to a signature, and to an image with all that it has."""
    payload = os.urandom(600)
    policy = policy_of(TrustSpec.model_validate(keys.policy("registry.example")))
    signers: tuple[Ed25519Signer | EcdsaSigner, ...] = (keys.pipeline, keys.cosign)
    for signer in signers:
        key, made = policy.key(signer.key_id), signer.sign(payload)
        made = with_low_s(made) if isinstance(signer, EcdsaSigner) else made

        def verify(signer: Any = signer, key: Any = key, made: bytes = made) -> None:
            verify_named(key, signer.key_id, signer.algorithm, payload, made)

        rate = images.per_second(verify, time.perf_counter)
        report.tell(f"signatures verified, {signer.algorithm.value}", rate, "1/s", "one thread, with all strict checks")
    manifest = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}'
    evidence, image = _evidence(keys, manifest)

    def judge() -> None:
        decide(image, evidence, policy, track=Track.TESTNET, release="r", platform=None, now=images.now())

    verdict = decide(image, evidence, policy, track=Track.TESTNET, release="r", platform=None, now=images.now())
    if type(verdict).__name__ != "Verified":
        raise RuntimeError(f"the image that is measured is not admitted: {verdict}")
    rate = images.per_second(judge, time.perf_counter)
    report.tell("images decided", rate, "1/s", "one thread; a signature and an approval each, nothing fetched")


def _evidence(keys: Keys, manifest: bytes) -> tuple[Evidence, str]:
    """Of an image as the registry would give it, and its name."""
    digest, repository, moment = media.digest_of(manifest), "registry.example/test/one", images.now()
    image: dict[str, Any] = {"repository": repository, "digest": digest, "track": Track.TESTNET, "now": moment}
    signed = sign_image(keys.pipeline, commit=images.COMMIT, **image)
    approved = approve_image(keys.approver, release="r", expires=moment + timedelta(days=1), **image)
    made = Evidence(repository, digest, media.OCI_MANIFEST, manifest, envelopes=(signed, approved))
    return made, f"{repository}@{digest}"


# -- through the operator --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cold:
    """The images, and what it took to verify them for the first time: seconds, and CPU seconds of the operator."""

    images: list[str]
    wall: float
    cpu: float


def _cold(
    report: Reporter, bench: Rig, operator: Operator, registry: Registry, keys: Keys, count: int, *, with_cosign: bool
) -> Cold:
    kind = "cosign" if with_cosign else "jil"
    name = f"signed-{kind}"
    pushed = images.push(registry, keys, name, count, with_cosign=with_cosign)
    body = images.release(keys, name, pushed, with_cosign=with_cosign)
    _network(bench, name, keys.policy(registry.host), "devnet" if with_cosign else "testnet")
    until(lambda: operator.metric("jil_queue_depth") == 0, "an empty queue", 60)
    asked, cpu, began = len(registry.requests()), operator.cpu(), time.monotonic()
    bench.api.create(f"{JIL}/jilreleases", body)
    until(lambda: _trusted(bench, name), f"release {name} to be verified", 300, now=lambda: _said(bench, name))
    wall, spent = time.monotonic() - began, operator.cpu() - cpu
    requests = len(registry.requests()) - asked
    what = "one cosign signature each" if with_cosign else "a JIL signature and an approval each"
    report.tell(f"cold, {kind}: release verified", wall, "s", f"{count} images, {what}")
    report.tell(f"cold, {kind}: images per second", count / wall, "1/s", "8 at a time")
    report.tell(f"cold, {kind}: CPU per image", spent / count * 1000, "ms", "of the operator")
    report.tell(f"cold, {kind}: requests per image", requests / count, "requests", "to the registry")
    return Cold(pushed, wall, spent)


def _network(bench: Rig, name: str, trust: dict[str, Any], track: str) -> None:
    """A network with a policy, and one namespace that wants the release of that name; no nodes."""
    head = {"apiVersion": "jil.io/v1alpha1", "kind": "JILNetwork", "metadata": {"name": name}}
    member = {"nodeId": "CH-TRU-01", "zone": "CH/FINMA", "namespace": name, "founder": True}
    spec = {"chainId": name, "track": track, "genesis": {"time": "2026-01-01T00:00:00Z"}, "members": [member]}
    bench.api.create(f"{JIL}/jilnetworks", head | {"spec": spec | {"trust": trust}})
    bench.jurisdiction(name, network=name, release=name)


def _condition(bench: Rig, name: str) -> dict[str, Any]:
    status = bench.api.get(f"{JIL}/jilreleases/{name}").get("status", {})
    return next((c for c in status.get("conditions", []) if c["type"] == "ImageTrust"), {})


def _trusted(bench: Rig, name: str) -> bool:
    found = _condition(bench, name)
    if found.get("reason") == "ImageRefused":
        raise RuntimeError(f"release {name} is refused: {found['message']}")
    return found.get("status") == "True"


def _said(bench: Rig, name: str) -> str:
    return str(_condition(bench, name).get("message"))


def _warm(
    report: Reporter, bench: Rig, operator: Operator, registry: Registry, releases: list[str], settings: dict[str, str]
) -> None:
    """What is known is not asked for again: neither when a release is looked at, nor by another process."""
    asked, cpu, looks = len(registry.requests()), operator.cpu(), _looks(operator)
    for name in releases:
        bench.api.merge(f"{JIL}/jilreleases/{name}", {"metadata": {"labels": {"bench": "touched"}}})
    until(lambda: _looks(operator) - looks >= len(releases), "the releases to be looked at", 60)
    until(lambda: operator.metric("jil_queue_depth") == 0, "an empty queue", 60)
    looked, spent = _looks(operator) - looks, operator.cpu() - cpu
    report.tell("warm: requests to the registry", len(registry.requests()) - asked, "requests", "its access log", 0)
    report.tell("warm: CPU per look at a release", spent / looked * 1000, "ms", f"{looked:.0f} looks")
    operator.end()
    asked = len(registry.requests())
    fresh = bench.operator(**settings)
    bench.leading(fresh, 120)
    until(lambda: _looks(fresh) >= len(releases), "the releases to be looked at", 120)
    until(lambda: fresh.metric("jil_queue_depth") == 0, "an empty queue", 60)
    trusted = [name for name in releases if _trusted(bench, name)]
    if trusted != releases:
        raise RuntimeError(f"after a restart only {trusted} of {releases} are verified")
    report.tell("after a restart: requests to the registry", len(registry.requests()) - asked, "requests", "", 0)
    fresh.end()


def _looks(operator: Operator) -> float:
    return operator.metric("jil_reconcile_total", kind="JILRelease")


# -- beside cosign ---------------------------------------------------------------------------------------------------
def _cosign(report: Reporter, registry: Registry, keys: Keys, login: Path, cold: Cold) -> None:
    try:
        program = shutil.which("cosign") or str(binaries.built(COSIGN))
    except BedError as error:
        report.tell("cosign verify", 0, "", f"not measured: cosign cannot be built here ({str(error)[:100]})")
        return
    key = login / "cosign.pub"
    key.write_text(images.public_pem(keys.cosign))
    verify = [program, "verify", "--key", str(key), "--insecure-ignore-tlog=true", "--new-bundle-format=false"]
    verify += ["--registry-cacert", str(registry.ca)]
    environment = os.environ | {"DOCKER_CONFIG": str(login), "HOME": str(login)}

    def measure(names: list[str]) -> tuple[float, float]:
        """(seconds, CPU seconds)."""
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            [*verify, *names], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            raise RuntimeError(f"cosign verify failed: {done.stderr[-500:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return time.monotonic() - began, cpu

    measure(cold.images[:1])  # warm: the program's pages
    each = [measure([name]) for name in cold.images[:LOOPS]]
    loop_wall, loop_cpu = statistics.median(t for t, _ in each), statistics.median(c for _, c in each)
    at_once_wall, at_once_cpu = measure(cold.images)
    wall, cpu, count = cold.wall / len(cold.images), cold.cpu / len(cold.images), len(cold.images)
    report.tell("cosign verify, a process per image", loop_wall * 1000, "ms", f"median of {LOOPS}; one after the other")
    report.tell(
        "cosign verify, one process for all", at_once_wall / count * 1000, "ms", "per image, one after the other"
    )
    report.tell(
        "cold, operator / cosign loop", wall / loop_wall, "ratio", "wall time per image, the same signatures", 1
    )
    report.tell("cold, operator / one cosign", wall / (at_once_wall / count), "ratio", "wall time per image")
    report.tell("cold CPU, operator / cosign loop", cpu / loop_cpu, "ratio", "CPU of the client per image")
    report.tell("cold CPU, operator / one cosign", cpu / (at_once_cpu / count), "ratio", "CPU of the client per image")
