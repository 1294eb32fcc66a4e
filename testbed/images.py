"""The project's images: built by content hash, pushed to the local registry, known by digest.

``images/<name>/Containerfile`` is built with the folder itself as context, plus whatever ``images/<name>/prepare.sh``
puts into ``$OUT`` on the host (compiled programs, wheels, jars: a build inside a container would need the host's
package indexes and certificates). prepare.sh reads the checkout only through paths it names as ``$REPO/…``; those
paths are its inputs: it runs again when one of them changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from testbed import binaries, engine, fingerprint, paths, provision, registry, rootfs, toolchain, virtualenv
from testbed.engine import Engine
from testbed.errors import BedError
from testbed.locking import exclusive
from testbed.processes import run
from testbed.progress import say, stage

SOURCE = paths.CHECKOUT / "images"
PUBLIC_BASE = "debian:bookworm-slim"

_DEADLINE_S = 1800.0
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Base:
    """The image that Containerfiles start from: the name for ``--build-arg BASE`` and what identifies its content."""

    name: str
    identity: str


def listing() -> Path:
    """The file with the result: JSON, image name -> reference by digest as the cluster pulls it."""
    return paths.state() / "images.json"


def names() -> list[str]:
    """The images of this checkout."""
    return sorted(file.parent.name for file in SOURCE.glob("*/Containerfile"))


@dataclass(frozen=True)
class Destination:
    """Where images go: the prefix the host pushes to, and the prefix the cluster pulls from."""

    push: str
    pull: str
    local: bool
    login: dict[str, str] = field(default_factory=dict)
    """Environment of a docker client that is to push there; {} where it is the user's own login."""

    def digest(self, repository: str, tag: str) -> str | None:
        """Digest of a tag, None when it is not there."""
        return (
            registry.digest(self.push, repository, tag)
            if self.local
            else _crane_digest(f"{self.push}/{repository}:{tag}")
        )


def build_and_push(wanted: list[str] | None = None, *, registry: str | None = None) -> dict[str, str]:
    """Build and push what the registry does not have yet; returns name -> ``prefix/jil/name@sha256:…``.

    Without ``registry`` it is the local registry (which must run) and the result is also written to listing();
    with it, ``host[:port][/path]`` of a registry the docker client is logged in to. With ``wanted`` only those images
    are brought up to date. Raises BedError naming every image that failed and its log; the others are kept.
    """
    unknown = set(wanted or ()) - set(names())
    if unknown:
        raise BedError(f"no such image: {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    with exclusive("images"):
        host, destination = _destination(registry)
        base = _base(host)
        chosen = wanted or names()
        # Two at a time: builds mostly wait for package servers, and the machine may have two cores.
        with ThreadPoolExecutor(2) as pool:
            pending = {name: pool.submit(_one, host, destination, base, name) for name in chosen}
        failed = {name: job.exception() for name, job in pending.items() if job.exception()}
        built = {name: job.result() for name, job in pending.items() if name not in failed}
        complete = _record(built) if destination.local else built
        for problem in failed.values():
            if problem and not isinstance(problem, BedError):
                raise problem
        if failed:
            raise BedError("\n".join(f"image {name}: {problem}" for name, problem in failed.items()))
        return complete


def push(image: str, repository: str | None = None) -> str:
    """Push an image of the engine, or of a `docker save` archive, to the local registry; returns it by digest.

    ``repository`` defaults to the image's own name without registry and tag. Raises BedError when it is not there.
    """
    with exclusive("images"):
        host, destination = _destination(None)
        if image.endswith(".tar"):
            if not Path(image).is_file():
                raise BedError(f"there is no file {image}; `docker save --output FILE.tar IMAGE` makes one")
            loaded = host.docker("load", "--quiet", "--input", image, timeout_s=600).strip()
            image = loaded.splitlines()[-1].partition(": ")[2]
        if not host.has(image):
            raise BedError(f"the engine has no image '{image}'; `docker images` lists what it has")
        name = repository or _repository_of(image)
        identity = host.docker("image", "inspect", "--format", "{{.Id}}", image).strip().removeprefix("sha256:")[:16]
        tag = f"{destination.push}/{name}:{identity}"
        host.docker("tag", image, tag)
        host.docker("push", "--quiet", tag, timeout_s=600, env=destination.login)
        digest = destination.digest(name, identity)
        if not digest:
            raise BedError(f"it was pushed, but {destination.push} does not know {name}:{identity}")
        return f"{destination.pull}/{name}@{digest}"


def _repository_of(image: str) -> str:
    """The path of an image's name: ``ghcr.io/team/app:1`` is ``team/app``. Raises BedError for a bare id."""
    name = image.partition("@")[0]
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        name = rest
    name = name.partition(":")[0]
    if image.startswith("sha256:") or re.fullmatch(r"[0-9a-f]{12,64}", name):
        raise BedError(f"'{image}' is an id, not a name: say which repository it is to be (--as NAME)")
    return name


def _destination(prefix: str | None) -> tuple[Engine, Destination]:
    if prefix:
        return engine.up(), Destination(prefix.rstrip("/"), prefix.rstrip("/"), local=False)
    host = engine.find()
    if not host or not registry.running(host):
        raise BedError("the local registry does not run; `python3 -m testbed up` starts it")
    login = registry.client_environment(host)
    return host, Destination(registry.push_address(host), registry.NAME, local=True, login=login)


def _record(built: dict[str, str]) -> dict[str, str]:
    """Write the listing: what was built now, and for the other images of this checkout what was known before."""
    known = json.loads(listing().read_text()) if listing().exists() else {}
    result = {name: built.get(name) or known.get(name) for name in names()}
    complete = {name: reference for name, reference in result.items() if reference}
    part = listing().with_suffix(".part")
    part.write_text(json.dumps(complete, indent=1) + "\n")
    part.rename(listing())
    return complete


def _one(host: Engine, destination: Destination, base: Base, name: str) -> str:
    prepared = _prepared(name)
    context_key = [fingerprint.of_tree(SOURCE / name), fingerprint.of_tree(prepared) if prepared else ""]
    key = fingerprint.of_text(*context_key, base.identity)
    repository = f"jil/{name}"
    digest = destination.digest(repository, key)
    if not digest:
        with stage(f"building image {name}"):
            _build(host, destination, base, name, prepared, f"{destination.push}/{repository}:{key}")
        digest = destination.digest(repository, key)
        if not digest:
            raise BedError(f"it was pushed, but {destination.push} does not know {repository}:{key}")
    return f"{destination.pull}/{repository}@{digest}"


def _build(host: Engine, destination: Destination, base: Base, name: str, prepared: Path | None, tag: str) -> None:
    logs = paths.cache_root() / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"image-{name}.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.cache_root(), prefix=f"context-{name}-") as scratch:
        context = Path(scratch) / "context"
        shutil.copytree(SOURCE / name, context, symlinks=True)
        if prepared:
            shutil.copytree(prepared, context, symlinks=True, dirs_exist_ok=True)
        options = ["--build-arg", f"BASE={base.name}", "--tag", tag, "--file", str(context / "Containerfile")]
        # The host's own network: its resolver and its proxy are the ones that work.
        options += ["--network", "host"]
        for variable in (*_PROXIES, *map(str.upper, _PROXIES)):
            if os.environ.get(variable):
                options += ["--build-arg", variable]
        environment = {**host.environment, **_builder(host)}
        command = ["nice", "-n", "5", provision.find("docker") or "docker"]
        run([*command, "build", *options, context], timeout_s=_DEADLINE_S, env=environment, log=log)
        login = {**host.environment, **destination.login}
        run([*command, "push", "--quiet", tag], timeout_s=600, env=login, log=log)
    if host.private:
        # Every edit makes an image: the youngest few keep the build cache warm, the others only take room.
        listed = host.docker("images", "--format", "{{.Repository}}:{{.Tag}}", tag.rpartition(":")[0]).split()
        for old in listed[3:]:
            host.succeeds("image", "rm", old)


def _builder(host: Engine) -> dict[str, str]:
    """BuildKit where the client has it, else the old builder. No attestations: an image is one manifest."""
    try:
        host.docker("buildx", "version")
    except BedError:
        return {"DOCKER_BUILDKIT": "0"}
    return {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def _prepared(name: str) -> Path | None:
    """What prepare.sh made of its present inputs; runs it when the cache does not have that."""
    script = SOURCE / name / "prepare.sh"
    if not script.exists():
        return None
    inputs = sorted(_inputs(script))
    hashes = [fingerprint.of_tree(path) if path.is_dir() else fingerprint.of_file(path) for path in inputs]
    key = fingerprint.of_text(*(str(path.relative_to(paths.CHECKOUT)) for path in inputs), *hashes)
    folder = paths.built() / f"prepared-{name}-{key}"
    if not folder.exists():
        with paths.FreshFolder(folder) as out, stage(f"preparing image {name}"):
            environment = {
                "OUT": str(out),
                "REPO": str(paths.CHECKOUT),
                "GO": str(toolchain.go()),
                "PYTHON": str(virtualenv.python_with_pip()),
                # Stays from run to run: for what is dear to make and keyed by prepare.sh itself.
                "KEEP": str(_keep(name)),
                "MVN": provision.find("mvn") or "mvn",
                "GOFLAGS": "-buildvcs=false",
                "GOWORK": "off",
            }
            run(["nice", "-n", "5", "sh", script], timeout_s=_DEADLINE_S, env=environment, cwd=out)
        paths.forget_older(folder, keep=3)
    return folder


def _keep(name: str) -> Path:
    folder = paths.cache_root() / "keep" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _inputs(script: Path) -> Iterator[Path]:
    """The script, its folder, and every path of the checkout it names as $REPO/…, through sourced scripts too.

    A path with a variable in it counts up to the variable: `$REPO/requirements/$lock` is all of `requirements`.
    """
    yield script.parent
    seen: set[Path] = set()
    waiting = [script]
    while waiting:
        text = waiting.pop().read_text()
        for named in re.findall(r"\$\{?REPO\}?/([\w./-]*)", text):
            path = (paths.CHECKOUT / named).resolve()
            if not path.exists():
                path = path.parent
            if path in seen or not path.is_relative_to(paths.CHECKOUT) or path == paths.CHECKOUT:
                continue
            seen.add(path)
            yield path
            if path.suffix == ".sh":
                waiting.append(path)


def _base(host: Engine) -> Base:
    """debian:bookworm-slim where it can be pulled, else its stand-in made with mmdebstrap."""
    own = f"jil-testbed/base:{rootfs.BASE.key()}"
    if host.has(own):
        return Base(own, own)
    if not host.has(PUBLIC_BASE):
        try:
            with stage(f"pulling {PUBLIC_BASE}"):
                host.docker("pull", "--quiet", PUBLIC_BASE, timeout_s=300)
        except BedError:
            say(f"{PUBLIC_BASE} cannot be pulled here; a stand-in is made from Debian packages")
            tar = rootfs.BASE.tar()
            with stage("importing the base image"):
                host.docker("import", "--change", 'CMD ["bash"]', tar, own, timeout_s=300)
            return Base(own, own)
    return Base(PUBLIC_BASE, host.docker("image", "inspect", "--format", "{{.Id}}", PUBLIC_BASE).strip())


def _crane_digest(reference: str) -> str | None:
    try:
        return run([binaries.program_for("crane"), "digest", reference], timeout_s=60).strip()
    except BedError as problem:
        if "MANIFEST_UNKNOWN" in str(problem) or "NAME_UNKNOWN" in str(problem) or "404" in str(problem):
            return None
        raise
