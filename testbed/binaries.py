"""The programs of the test bed, built from Go modules into the cache under the hash of what they are made from.

Nothing is built twice: the folder's name is the content hash, it appears by an atomic rename, and builds of one
cache are serialised by a lock. The whole set is linked into one folder that can be put in front of PATH.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from testbed import fingerprint, paths, toolchain
from testbed.errors import BedError
from testbed.locking import exclusive
from testbed.processes import run
from testbed.progress import stage

KUBERNETES = "v1.36.3"
"""Version that kubebox reports; its go.mod pins the same."""

KUBEBOX_SOURCE = Path(__file__).with_name("kubebox")
PAUSE_SOURCE = Path(__file__).with_name("nodeimage") / "pause"
HTPASSWD_SOURCE = Path(__file__).with_name("htpasswd")
REGISTRY_SOURCE = paths.CHECKOUT / "images" / "registry"
KUBEBOX_NAMES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubeadm",
    "kubectl",
    "kubelet",
)

_BUILD_DEADLINE_S = 3600.0
"""Cold on 2 cores kubebox takes 8-10 minutes; six times that is stuck."""


@dataclass(frozen=True)
class GoTool:
    """One program of the Go module proxy. ``module`` may differ from ``package`` when the command is in a subfolder."""

    name: str
    module: str
    version: str
    package: str

    @property
    def key(self) -> str:
        return f"{self.name}-{fingerprint.of_text(self.module, self.version, self.package, _target())}"


TOOLS = (
    GoTool("kind", "sigs.k8s.io/kind", "v0.33.0", "sigs.k8s.io/kind"),
    GoTool("helm", "helm.sh/helm/v3", "v3.22.0", "helm.sh/helm/v3/cmd/helm"),
    GoTool(
        "crane",
        "github.com/google/go-containerregistry",
        "v0.22.1",
        "github.com/google/go-containerregistry/cmd/crane",
    ),
    GoTool("coredns", "github.com/coredns/coredns", "v1.15.0", "github.com/coredns/coredns"),
    GoTool(
        "local-path-provisioner",
        "github.com/rancher/local-path-provisioner",
        "v0.0.30",
        "github.com/rancher/local-path-provisioner",
    ),
)


def tool(name: str) -> Path:
    """Path of one of TOOLS; builds it when the cache does not have it."""
    return built(next(entry for entry in TOOLS if entry.name == name))


def built(wanted: GoTool) -> Path:
    """Path of any program of the proxy, also of one that no part of the test bed needs; built when the cache lacks it."""
    program = paths.built() / wanted.key / wanted.name
    if not program.exists():
        with exclusive("build"):
            if not program.exists():
                _build_tool(wanted, program)
    return program


def kubebox() -> Path:
    """Path of kubebox; the folder also holds a link for every component and for kubectl."""
    program = paths.built() / f"kubebox-{kubebox_key()}" / "kubebox"
    if not program.exists():
        with exclusive("build"):
            if not program.exists():
                _build_kubebox(program)
    return program


def component(name: str) -> Path:
    """Path of a Kubernetes component, e.g. ``kube-apiserver``: a link to kubebox."""
    if name not in KUBEBOX_NAMES:
        raise BedError(f"kubebox holds no '{name}'; it holds {', '.join(KUBEBOX_NAMES)}")
    return kubebox().with_name(name)


def pause() -> Path:
    """Path of the pause program, the one that holds a pod's namespaces."""
    return _own("pause", PAUSE_SOURCE)


def htpasswd() -> Path:
    """Path of the program that makes the registry's password file."""
    return _own("htpasswd", HTPASSWD_SOURCE)


def registry() -> Path:
    """Path of the registry: CNCF distribution with node logins."""
    return _own("registry", REGISTRY_SOURCE)


def _own(name: str, source: Path) -> Path:
    """A program of ours; built when the cache does not have it."""
    program = paths.built() / f"{name}-{fingerprint.of_text(fingerprint.of_tree(source), _target())}" / name
    if not program.exists():
        with exclusive("build"):
            if not program.exists():
                with paths.FreshFolder(program.parent) as folder, stage(f"building {name}"):
                    command: list[str | Path] = [*_nice(), toolchain.go(), "build", "-mod=readonly", "-trimpath"]
                    command += ["-ldflags", "-s -w", "-o", folder / name, "."]
                    run(command, timeout_s=_BUILD_DEADLINE_S, env=_environment(), cwd=source)
    return program


def all_programs() -> dict[str, Path]:
    """Every program by the name it is called by; builds what is missing."""
    programs = {"kubebox": kubebox()}
    programs |= {name: component(name) for name in KUBEBOX_NAMES}
    programs |= {entry.name: tool(entry.name) for entry in TOOLS}
    programs |= {"pause": pause(), "htpasswd": htpasswd(), "registry": registry()}
    return programs


def search_path() -> Path:
    """A folder of links to the programs people call (kubectl, kind, helm, crane), to put in front of PATH."""
    programs = {name: program_for(name) for name in ("kubectl", "kind", "helm", "crane")}
    folder = paths.built() / f"path-{fingerprint.of_text(*map(str, programs.values()))}"
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for name, program in programs.items():
            (part / name).symlink_to(program)
        try:
            part.rename(folder)
        except OSError:  # another run was quicker
            shutil.rmtree(part)
    return folder


_GOOD_ENOUGH = {
    "kubectl": (("version", "--client"), (1, 33)),
    "kind": (("version",), (0, 29)),
    # Up to 3.17 a wrong value is told in other words than our charts' documentation has (another schema library).
    "helm": (("version", "--short"), (3, 18)),
}
"""How to ask a program of PATH for its version, and the oldest one that does."""


def program_for(name: str) -> Path:
    """A program of PATH when it is good enough, else ours, built when needed."""
    found = on_path(name)
    if found:
        return found
    return component(name) if name in KUBEBOX_NAMES else tool(name)


def on_path(name: str) -> Path | None:
    """The program of PATH when its version is good enough; never a version-picking dispatcher (gcloud's kubectl)."""
    found = shutil.which(name)
    if not found or name not in _GOOD_ENOUGH:
        return None
    arguments, minimum = _GOOD_ENOUGH[name]
    try:
        text = run([found, *arguments], timeout_s=20)
    except BedError:
        return None
    match = re.search(r"v(\d+)\.(\d+)\.\d+", text)
    if not match or "dispatcher" in text or (int(match[1]), int(match[2])) < minimum:
        return None
    return Path(found)


def kubebox_key() -> str:
    """Content hash of kubebox: its three source files, the version stamp and the target."""
    sources = [fingerprint.of_file(KUBEBOX_SOURCE / name) for name in ("go.mod", "go.sum", "main.go")]
    return fingerprint.of_text(*sources, KUBERNETES, _target())


def module_folder(module: str, version: str) -> Path:
    """The unpacked source of a Go module, downloaded when it is not there (checked against the checksum database)."""
    go = toolchain.go()
    run([go, "mod", "download", f"{module}@{version}"], timeout_s=600, env=_environment(), cwd=Path("/"))
    cache = run([go, "env", "GOMODCACHE"], cwd=Path("/")).strip()
    escaped = re.sub(r"[A-Z]", lambda match: "!" + match[0].lower(), module)
    return Path(cache) / f"{escaped}@{version}"


def _build_kubebox(program: Path) -> None:
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    stamp = "k8s.io/component-base/version"
    flags = f"-s -w -X {stamp}.gitVersion={KUBERNETES} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    # Built from a copy: the go command must never write into the checkout.
    with (
        paths.FreshFolder(program.parent) as folder,
        stage("building kubebox (8-10 minutes the first time, 1 minute after)"),
    ):
        source = folder / "source"
        shutil.copytree(KUBEBOX_SOURCE, source)
        command: list[str | Path] = [
            *_nice(),
            toolchain.go(),
            "build",
            "-mod=readonly",
            "-trimpath",
            "-tags",
            "providerless",
        ]
        command += ["-ldflags", flags, "-o", folder / "kubebox", "."]
        run(command, timeout_s=_BUILD_DEADLINE_S, env=_environment(), cwd=source)
        shutil.rmtree(source)
        for name in KUBEBOX_NAMES:
            (folder / name).symlink_to("kubebox")


def _build_tool(wanted: GoTool, program: Path) -> None:
    with paths.FreshFolder(program.parent) as folder, stage(f"building {wanted.name} {wanted.version}"):
        command: list[str | Path] = [
            *_nice(),
            toolchain.go(),
            "install",
            "-trimpath",
            "-ldflags",
            "-s -w",
            f"{wanted.package}@{wanted.version}",
        ]
        environment = {**_environment(), "GOBIN": str(folder)}
        run(command, timeout_s=_BUILD_DEADLINE_S, env=environment, cwd=Path("/"))


def _environment() -> dict[str, str]:
    # -buildvcs=false: a build must not depend on the git state of a folder above it.
    return {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}


def _nice() -> list[str]:
    return ["nice", "-n", "10"] if shutil.which("nice") else []


def _target() -> str:
    return f"{platform.system().lower()}/{platform.machine()}"
