"""Renders the charts with helm and picks objects out of what comes back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from testbed.binaries import program_for

CHARTS = Path(__file__).parents[3] / "charts"
KUBERNETES = "1.36.3"
"""Given to helm: one that is built from its Go module believes that every cluster is v1.20."""

IMAGE = "registry.example/jil/operator@sha256:" + "a" * 64

Manifest = dict[str, Any]


@cache
def helm_program() -> Path:
    """The helm of the test bed, built on first use when PATH has none that is new enough."""
    return program_for("helm")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs helm; the caller looks at the return code."""
    return subprocess.run([str(helm_program()), *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(chart: str, *arguments: str, namespace: str = "jil-system") -> list[Manifest]:
    """Objects of ``helm template``. Raises ValueError with helm's message when it refuses."""
    text = _rendered(chart, arguments, namespace)
    # The C parser: the CRDs are long, and the pure Python one needs ten times as long as helm.
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


@cache
def _rendered(chart: str, arguments: tuple[str, ...], namespace: str) -> str:
    command = ("template", "jil", str(CHARTS / chart), "--namespace", namespace, "--kube-version", KUBERNETES)
    result = helm(*command, *arguments)
    if result.returncode:
        raise ValueError(result.stderr.strip())
    return result.stdout


def operator(*arguments: str, namespace: str = "jil-system") -> list[Manifest]:
    """Chart jil-operator with an image, which has no default."""
    return template("jil-operator", "--set", f"image.ref={IMAGE}", *arguments, namespace=namespace)


def jurisdiction(*arguments: str, namespace: str = "jil-ch-finma") -> list[Manifest]:
    """Chart jil-jurisdiction for CH/FINMA in ``namespace``."""
    values = f"namespace.name={namespace},network=jil-devnet,jurisdiction.name=ch-finma"
    return template("jil-jurisdiction", "--set", values, *arguments)


def of_kind(manifests: Sequence[Manifest], kind: str) -> Iterator[Manifest]:
    return (manifest for manifest in manifests if manifest["kind"] == kind)


def only(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The one object of that kind and name."""
    (found,) = (manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name)
    return found
