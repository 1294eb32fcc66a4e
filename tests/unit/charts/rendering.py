"""Renders the charts with helm, and keeps the golden files: ``python -m tests.unit.charts.rendering --write``.

A golden file holds the objects of one case, sorted and without comments, so that it depends on what the API server
would get and not on the version of helm. CRDs are left out of them: they are compared with crds/ one by one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from testbed.binaries import program_for

HERE = Path(__file__).parent
CHARTS = HERE.parents[2] / "charts"
GOLDEN = HERE / "golden"
KUBERNETES = "1.36.3"
"""Given to helm: one that is built from its Go module believes that every cluster is v1.20."""

IMAGE = "registry.example/jil/operator@sha256:" + "a" * 64

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One golden file: a chart with a file of values and a release namespace."""

    name: str
    chart: str
    namespace: str = "jil-system"

    @property
    def values(self) -> Path:
        return HERE / "values" / f"{self.name}.yaml"

    @property
    def golden(self) -> Path:
        return GOLDEN / f"{self.name}.yaml"

    def render(self) -> str:
        return normalised(template(self.chart, "--values", str(self.values), namespace=self.namespace))


CASES = (
    Case("operator-quickstart", "jil-operator"),
    Case("operator-everything", "jil-operator", namespace="platform"),
    Case("operator-guards-off", "jil-operator"),
    Case("jurisdiction-minimal", "jil-jurisdiction"),
    Case("jurisdiction-everything", "jil-jurisdiction"),
    Case("jurisdiction-own-namespace", "jil-jurisdiction"),
)


@cache
def helm_program() -> Path:
    """The helm of the test bed, built on first use when PATH has none that is new enough."""
    return program_for("helm")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs helm; the caller looks at the return code."""
    return subprocess.run(
        [str(helm_program()), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def template(chart: str, *arguments: str, namespace: str = "jil-system") -> list[Manifest]:
    """Objects of ``helm template``. Raises ValueError with helm's message when it refuses."""
    result = helm(
        "template", "jil", str(CHARTS / chart), "--namespace", namespace, "--kube-version", KUBERNETES, *arguments
    )
    if result.returncode:
        raise ValueError(result.stderr.strip())
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def operator(*arguments: str, namespace: str = "jil-system") -> list[Manifest]:
    """Chart jil-operator with an image, which has no default."""
    return template("jil-operator", "--set", f"image.ref={IMAGE}", *arguments, namespace=namespace)


def of_kind(manifests: Sequence[Manifest], kind: str) -> Iterator[Manifest]:
    return (manifest for manifest in manifests if manifest["kind"] == kind)


def only(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The one object of that kind and name."""
    (found,) = (manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name)
    return found


def normalised(manifests: Sequence[Manifest]) -> str:
    kept = [manifest for manifest in manifests if manifest["kind"] != "CustomResourceDefinition"]
    kept.sort(key=lambda m: (m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"]))
    return yaml.safe_dump_all(kept, sort_keys=True, width=120)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Compares the charts with their golden files.")
    parser.add_argument("--write", action="store_true", help="write the golden files anew; then read the diff")
    write = parser.parse_args(arguments).write
    stale = [case for case in CASES if not case.golden.exists() or case.golden.read_text() != case.render()]
    for case in stale:
        print(f"{'written' if write else 'differs'}: {case.golden.name}")
        if write:
            case.golden.write_text(case.render())
    return 0 if write or not stale else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
