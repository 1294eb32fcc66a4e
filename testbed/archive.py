"""Writing a docker-archive (what ``docker save`` writes) from layer tars, without any container engine."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed import fingerprint
from testbed.errors import BedError

_CREATED = "2026-01-01T00:00:00Z"
"""A fixed time: the same content gives the same image id."""
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """One image: its names, its uncompressed layer tars from the bottom up, and its run configuration."""

    names: Sequence[str]
    layers: Sequence[Path]
    config: Mapping[str, Any] = field(default_factory=dict)


def architecture() -> str:
    """This machine's architecture as images call it."""
    try:
        return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    except KeyError:
        raise BedError(f"no node image for {platform.machine()}: only x86_64 and aarch64 are supported") from None


def write(archive: Path, images: Sequence[Image]) -> None:
    """Write all images into one archive; a layer that several share is in it once."""
    known: dict[Path, str] = {}
    manifest = []
    with tarfile.open(archive, "w") as out:
        for image in images:
            for layer in image.layers:
                if layer not in known:
                    known[layer] = fingerprint.of_file(layer)
                    out.add(layer, f"{known[layer]}/layer.tar")
            ids = [known[layer] for layer in image.layers]
            content = _configuration(image, ids)
            name = hashlib.sha256(content).hexdigest() + ".json"
            _add(out, name, content)
            layers = [f"{each}/layer.tar" for each in ids]
            manifest.append({"Config": name, "RepoTags": list(image.names), "Layers": layers})
        _add(out, "manifest.json", json.dumps(manifest).encode())


def _configuration(image: Image, ids: Sequence[str]) -> bytes:
    content = {
        "architecture": architecture(),
        "os": "linux",
        "created": _CREATED,
        "config": {"Env": [_PATH], "WorkingDir": "/", **image.config},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in ids]},
        "history": [{"created": _CREATED, "created_by": "testbed"} for _ in ids],
    }
    return json.dumps(content).encode()


def _add(out: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    out.addfile(entry, io.BytesIO(content))
