"""A kind node image without any registry: Debian packages, kind's own files from its Go module, and our binaries.

What kind's images/base/Dockerfile and ``kind build node-image`` do, in one pass on the host (needs root). The
control plane's images are thin layers over one binary and are put into the node's containerd store here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from testbed import archive, binaries, fingerprint, paths, rootfs
from testbed.archive import Image
from testbed.errors import BedError
from testbed.locking import exclusive
from testbed.processes import run, succeeds, tail, wait_until
from testbed.progress import stage
from testbed.provision import find

FILES = Path(__file__).with_name("nodeimage")
_KIND = next(tool for tool in binaries.TOOLS if tool.name == "kind")
_KUBERNETES_COMPONENTS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubectl",
    "etcd",
)
_USELESS_ON_A_NODE = (
    "usr/share/zoneinfo",
    "usr/bin/containerd-stress",
    "usr/bin/containerd-shim",
    "usr/bin/containerd-shim-runc-v1",
    "var/cache/apt",
    "var/lib/apt/lists",
)


def reference() -> str:
    """Name and tag of the node image; the tag holds the hash of everything it is made from."""
    return f"kindest/node:{binaries.KUBERNETES}-jil-{_key()}"


def tar() -> Path:
    """The node image as an archive for ``docker load``; built when the cache does not have it (about a minute)."""
    file = paths.built() / f"nodeimage-{_key()}" / "image.tar"
    if not file.exists():
        with exclusive("nodeimage"):
            if not file.exists():
                if os.geteuid() != 0:
                    raise BedError(
                        "the kind node image cannot be pulled here, and building it needs root: "
                        "run as root once, or make a registry with kindest/node reachable"
                    )
                sources = {name: binaries.tool(name) for name in ("coredns", "local-path-provisioner")}
                sources |= {"kubebox": binaries.kubebox(), "pause": binaries.pause()}
                trees = {"node": rootfs.NODE.tar(), "component": rootfs.COMPONENT.tar()}
                with paths.FreshFolder(file.parent) as folder, stage("building the kind node image"):
                    _Build(folder, sources, trees).write(folder / file.name)
                paths.forget_older(file.parent, keep=0)
    return file


def _key() -> str:
    return fingerprint.of_text(
        binaries.kubebox_key(),
        *(tool.key for tool in binaries.TOOLS if tool.name in ("kind", "coredns", "local-path-provisioner")),
        fingerprint.of_tree(FILES),
        *(fingerprint.of_file(Path(str(module.__file__))) for module in (archive, rootfs)),
        fingerprint.of_file(Path(__file__)),
    )


class _Build:
    """One build in ``folder``; everything but the result is removed again."""

    def __init__(self, folder: Path, sources: dict[str, Path], trees: dict[str, Path]) -> None:
        self.sources, self.trees = sources, trees
        self.work = folder / "work"
        self.node = self.work / "node"
        self.work.mkdir()

    def write(self, result: Path) -> None:
        preload = self._component_images()
        self._node_tree()
        self._fill_image_store(preload)
        layer = self._layer("node-layer", self.node)
        config = {
            "Entrypoint": ["/usr/local/bin/entrypoint", "/sbin/init"],
            "StopSignal": "SIGRTMIN+3",
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=docker"],
        }
        archive.write(result, [Image([reference()], [layer], config)])
        shutil.rmtree(self.work)

    # ---- the images of the control plane

    def _component_images(self) -> Path:
        base = self._layer("component-layer", self._component_tree())
        tools = self.work / "tools" / "usr" / "local" / "bin"
        tools.mkdir(parents=True)
        shutil.copy2(self.sources["kubebox"], tools / "kubebox")
        for name in _KUBERNETES_COMPONENTS:
            (tools / name).symlink_to("kubebox")
        shutil.copy2(FILES / "node-network", tools / "node-network")
        (tools / "node-network").chmod(0o755)
        kubernetes = self._layer("kubernetes-layer", self.work / "tools")
        coredns = self._layer("coredns-layer", self._single("coredns", ""))
        provisioner = self._layer("provisioner-layer", self._single("local-path-provisioner", "usr/local/bin"))
        pause = self._layer("pause-layer", self._single("pause", ""))

        kubeadm: list[str | Path] = [self.sources["kubebox"].with_name("kubeadm"), "config", "images", "list"]
        wanted = run([*kubeadm, "--kubernetes-version", binaries.KUBERNETES]).split()

        def named(part: str) -> list[str]:
            return [name for name in wanted if name.rsplit(":", 1)[0].endswith(part)]

        main = [name for part in ("apiserver", "manager", "scheduler", "proxy", "etcd") for name in named(part)]
        if len(main) != 5 or not named("coredns") or not named("pause"):
            raise BedError(f"kubeadm asks for images this build does not know: {wanted}")
        images = [
            Image([*main, "docker.io/kindest/kindnetd:testbed"], [base, kubernetes]),
            Image(named("coredns"), [base, coredns], {"Entrypoint": ["/coredns"]}),
            # kind's containerd configuration names the sandbox image itself, in the version it was written for.
            Image([*named("pause"), "registry.k8s.io/pause:3.10"], [pause], {"Entrypoint": ["/pause"]}),
            Image(["docker.io/kindest/local-path-provisioner:testbed"], [base, provisioner]),
            Image(["docker.io/kindest/local-path-helper:testbed"], [base]),
        ]
        preload = self.work / "preload.tar"
        archive.write(preload, images)
        return preload

    def _component_tree(self) -> Path:
        tree = self._unpacked("component")
        for name in ("proc", "sys", "run", "tmp", "dev", "root", "usr/local/sbin", "etc/ssl/certs"):
            (tree / name).mkdir(parents=True, exist_ok=True)
        (tree / "tmp").chmod(0o1777)
        run(["chroot", tree, "/usr/bin/busybox", "--install", "-s", "/usr/local/sbin"])
        _link(tree / "usr/bin/sh", "/usr/local/sbin/sh")
        for family in ("ip", "ip6"):
            for suffix in ("", "-save", "-restore"):
                _link(tree / f"usr/sbin/{family}tables{suffix}", "xtables-nft-multi")
        (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (tree / "etc/group").write_text("root:x:0:\n")
        _remove(tree, ("var/cache", "var/lib/apt", "var/lib/dpkg"))
        _remove_gconv(tree)
        return tree

    def _single(self, name: str, folder: str) -> Path:
        """A tree that holds one program."""
        tree = self.work / f"only-{name}"
        (tree / folder).mkdir(parents=True)
        shutil.copy2(self.sources[name], tree / folder / name)
        return tree

    # ---- the node itself

    def _node_tree(self) -> None:
        node = self._unpacked("node")
        kind = binaries.module_folder(_KIND.module, _KIND.version) / "images" / "base" / "files"
        for name in ("etc", "kind"):
            run(["cp", "-r", "--no-preserve=mode,ownership", f"{kind / name}/.", node / name])
        for name in (
            "kind/manifests",
            "opt/cni",
            "etc/cni/net.d",
            "etc/kubernetes/manifests",
            "etc/containerd/certs.d",
        ):
            (node / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kind / "usr/local/bin/entrypoint", node / "usr/local/bin/entrypoint")
        for program in [node / "usr/local/bin/entrypoint", *(node / "kind/bin").iterdir()]:
            program.chmod(0o755)
        shutil.copy2(self.sources["kubebox"], node / "usr/local/bin/kubebox")
        for name in ("kubelet", "kubeadm", "kubectl"):
            _link(node / "usr/bin" / name, "/usr/local/bin/kubebox")
        _link(node / "usr/local/bin/containerd", "/usr/bin/containerd")
        _link(node / "opt/cni/bin", "/usr/lib/cni")
        _link(node / "sbin/init", "/usr/lib/systemd/systemd")
        for file in (node / "etc/cni/net.d").iterdir():
            file.unlink()
        self._units(node)
        self._runtime(node)
        (node / "kind/version").write_text(binaries.KUBERNETES)
        for name in ("default-cni.yaml", "default-storage.yaml"):
            shutil.copyfile(FILES / name, node / "kind/manifests" / name)
        _remove(node, _USELESS_ON_A_NODE)
        _remove_gconv(node)

    def _units(self, node: Path) -> None:
        """Only what a node needs is started at boot: kind's Dockerfile removes the same links."""
        units = node / "lib/systemd/system"
        patterns = ["sysinit.target.wants/systemd-tmpfiles-setup.service", "sockets.target.wants/*udev*"]
        patterns += ["sockets.target.wants/*initctl*"]
        patterns += [f"{target}.target.wants/*" for target in ("multi-user", "local-fs", "basic")]
        links = [link for pattern in patterns for link in units.glob(pattern)]
        links += list((node / "etc/systemd/system").glob("*.wants/*"))
        for link in links:
            link.unlink()
        with (node / "etc/systemd/journald.conf").open("a") as configuration:
            configuration.write("ReadKMsg=no\n")
        run(["chroot", node, "systemctl", "-q", "enable", "kubelet", "containerd", "undo-mount-hacks"])
        run(["chroot", node, "systemctl", "-q", "mask", "systemd-binfmt"])

    def _runtime(self, node: Path) -> None:
        specification = json.loads(run(["chroot", node, "ctr", "oci", "spec"]))
        specification["hooks"] = {"createContainer": [{"path": "/kind/bin/mount-product-files.sh"}]}
        specification["process"].pop("rlimits", None)
        (node / "etc/containerd/cri-base.json").write_text(json.dumps(specification))
        configuration = node / "etc/containerd/config.toml"
        text = configuration.read_text()
        # A host that may not lower oom scores fails every sandbox otherwise ("can't get final child's PID from pipe").
        wanted = "restrict_oom_score_adj = false"
        if wanted not in text:
            raise BedError(
                f"kind {_KIND.version}'s containerd configuration has no '{wanted}': adapt testbed/nodeimage.py"
            )
        text = text.replace(wanted, "restrict_oom_score_adj = true")
        text += '\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'
        configuration.write_text(text)
        # kubelet >= 1.35 refuses cgroup v1 unless told otherwise.
        flags = "--runtime-cgroups=/system.slice/containerd.service --fail-cgroupv1=false"
        (node / "etc/default/kubelet").write_text(f"KUBELET_EXTRA_ARGS={flags}\n")

    def _fill_image_store(self, preload: Path) -> None:
        """Import the images with the host's containerd, straight into the node's store; nodes unpack at first use."""
        scratch = self.work / "containerd"
        scratch.mkdir()
        configuration, log = scratch / "config.toml", scratch / "log"
        # A unix socket's path may have 108 bytes at most: it cannot live in a cache of any depth.
        socket = Path("/run") / f"jil-testbed-import-{os.getpid()}.sock"
        configuration.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        command = [find("containerd") or "containerd", "-c", configuration, "--root", self.node / "var/lib/containerd"]
        command += ["--state", scratch / "state", "--address", socket]
        ctr: list[str | Path] = ["ctr", "-a", socket, "-n", "k8s.io"]
        with log.open("wb") as sink, subprocess.Popen(list(map(str, command)), stdout=sink, stderr=sink) as daemon:
            try:
                wait_until(lambda: daemon.poll() is not None or succeeds([*ctr, "version"]), "containerd", 30, 0.1)
                if daemon.poll() is not None:
                    raise BedError(f"containerd ended with status {daemon.returncode}: {tail(log, 800)}")
                run([*ctr, "images", "import", "--all-platforms", "--no-unpack", "--digests", preload], timeout_s=300)
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait(30)
                for rest in (socket, socket.with_name(f"{socket.name}.ttrpc")):
                    rest.unlink(missing_ok=True)

    # ---- trees and layers

    def _unpacked(self, name: str) -> Path:
        tree = self.work / name
        tree.mkdir()
        run(["tar", "-C", tree, "-xf", self.trees[name], "--exclude=./dev/*"], timeout_s=300)
        return tree

    def _layer(self, name: str, tree: Path) -> Path:
        file = self.work / f"{name}.tar"
        run(["tar", "-C", tree, "--numeric-owner", "--sort=name", "-cf", file, "."], timeout_s=300)
        return file


def _link(path: Path, target: str) -> None:
    if path.is_symlink() or path.exists():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    path.symlink_to(target)


def _remove(tree: Path, names: Sequence[str]) -> None:
    for name in names:
        path = tree / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _remove_gconv(tree: Path) -> None:
    for folder in (tree / "usr/lib").glob("*-linux-gnu/gconv"):
        shutil.rmtree(folder)
