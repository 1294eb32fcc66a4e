"""Debian root file systems made with mmdebstrap, kept in the cache under the hash of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testbed import archive, fingerprint, paths
from testbed.locking import exclusive
from testbed.processes import run
from testbed.progress import stage
from testbed.provision import find

SUITE = "bookworm"
"""systemd 252 still boots where the host has cgroup v1; newer suites do not."""


@dataclass(frozen=True)
class RootFs:
    """A recipe: mmdebstrap's variant, the packages on top, and further options."""

    name: str
    variant: str
    packages: tuple[str, ...]
    options: tuple[str, ...] = ()

    def key(self) -> str:
        """Hash of the recipe (not of what the package servers hold today)."""
        return fingerprint.of_text(SUITE, self.variant, *self.packages, *self.options, archive.architecture())

    def tar(self) -> Path:
        """The root file system as a tar; made when the cache does not have it (25-40 s, needs root)."""
        file = paths.built() / f"rootfs-{self.name}-{self.key()}" / "root.tar"
        if not file.exists():
            with exclusive(f"rootfs-{self.name}"):
                if not file.exists():
                    self._make(file)
        return file

    def _make(self, file: Path) -> None:
        with paths.FreshFolder(file.parent) as folder, stage(f"making the {self.name} root file system"):
            command: list[str | Path] = [
                find("mmdebstrap") or "mmdebstrap",
                f"--variant={self.variant}",
                f"--include={','.join(self.packages)}",
                '--aptopt=APT::Install-Recommends "false"',
                # Nobody loses anything when the machine crashes halfway: the folder takes its name only at the end.
                "--dpkgopt=force-unsafe-io",
                *self.options,
                SUITE,
                folder / file.name,
            ]
            run(command, timeout_s=1200, env={"DEBIAN_FRONTEND": "noninteractive"})


_WITHOUT_DOCS = ("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*")
_WITHOUT_LOCALES = ("--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/info/*")

NODE = RootFs(
    "node",
    "minbase",
    (
        "systemd",
        "dbus",
        "conntrack",
        "iptables",
        "nftables",
        "iproute2",
        "ethtool",
        "mount",
        "kmod",
        "procps",
        "ca-certificates",
        "curl",
        "jq",
        "containerd",
        "runc",
        "containernetworking-plugins",
        "hostname",
        "gawk",
    ),
    (*_WITHOUT_DOCS, *_WITHOUT_LOCALES),
)
"""What a kind node runs on."""

COMPONENT = RootFs(
    "component",
    "extract",
    ("busybox-static", "iptables", "iproute2", "conntrack"),
    ("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--dpkgopt=path-exclude=/usr/share/*"),
)
"""Base layer of the control plane's images: busybox and iptables, about 24 MB."""

BASE = RootFs("base", "minbase", ("ca-certificates",), (*_WITHOUT_DOCS, *_WITHOUT_LOCALES))
"""Stands in for debian:bookworm-slim where no registry can be reached."""
